// httpclient.go: an HTTP client that makes the kernel discard the body, which
// costs next to nothing.

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/sys/unix"
)

const maxQuiet = 30 // answerTimes

// nowhere only has a length: the kernel copies nothing into it.
var nowhere = make([]byte, 4<<20)

// download is one file on its way to a client that counts its bytes.
type download struct {
	fd   int
	path string
	size int

	head  []byte // of the response, as far as it has arrived
	body  bool   // the head is complete
	left  int    // bytes of the body
	quiet int
}

func (d *download) socket() int { return d.fd }

func (d *download) begin() error {
	if _, err := unix.Write(d.fd, fmt.Appendf(nil, "GET /%s HTTP/1.1\r\nHost: %s\r\n\r\n", d.path, serverAddr)); err != nil {
		return fmt.Errorf("send the request: %w", err)
	}
	return nil
}

func (d *download) silence() error {
	if d.quiet++; d.quiet == maxQuiet {
		return fmt.Errorf("silence for %v, %d of %d bytes are missing", maxQuiet*answerTime, d.left, d.size)
	}
	return nil
}

func (d *download) read(flags int) (done bool, err error) {
	to := nowhere
	if !d.body {
		to = make([]byte, 4096)
	} else {
		to = to[:min(d.left, len(to))]
		flags |= unix.MSG_TRUNC | unix.MSG_WAITALL
	}
	n, _, err := receive(d.fd, to, flags)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return false, err
	case err != nil:
		return false, fmt.Errorf("receive, %d of %d bytes missing: %w", d.left, d.size, err)
	case n == 0:
		return false, fmt.Errorf("connection ended, %d of %d bytes missing", d.left, d.size)
	}
	d.quiet = 0
	if d.body {
		d.left -= n
		return d.left == 0, nil
	}
	d.head = append(d.head, to[:n]...)
	return d.parse()
}

// parse looks for the end of the head and checks what it says.
func (d *download) parse() (done bool, err error) {
	head, rest, found := bytes.Cut(d.head, []byte("\r\n\r\n"))
	if !found {
		return false, nil
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(d.head[:len(head)+4])), nil)
	if err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusOK || resp.ContentLength != int64(d.size) {
		return false, fmt.Errorf("%s: %s, %d bytes instead of %d", d.path, resp.Status, resp.ContentLength, d.size)
	}
	d.body, d.left = true, d.size-len(rest)
	if d.left < 0 {
		return false, fmt.Errorf("%d bytes too many", -d.left)
	}
	return d.left == 0, nil
}
