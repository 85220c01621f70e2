// tftpclient.go: a TFTP client: RFC 1350, 2347, 2348 and 7440 from the
// receiving side. It shares no code with the server and compares every byte.

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	blockSize  = 1468 // one Ethernet frame
	maxSilence = 5    // answerTimes
)

var errNoWindow = errors.New("server does not take the windowsize option")

// transfer is one file on its way to a client.
type transfer struct {
	fd     int
	name   string
	want   []byte
	window int           // blocks
	think  time.Duration // before each ACK

	in     [blockSize + 4]byte
	ack    [4]byte
	opened bool // the server's port is known, and the socket is connected to it
	got    int  // blocks in order
	acked  int  // the last of them that was acknowledged
	gap    bool // a block is missing and was asked for again
	silent int
}

func (t *transfer) socket() int { return t.fd }

func (t *transfer) begin() error {
	rrq := fmt.Appendf([]byte{0, 1}, "%s\x00octet\x00blksize\x00%d\x00", t.name, blockSize)
	if t.window > 1 {
		rrq = fmt.Appendf(rrq, "windowsize\x00%d\x00", t.window)
	}
	if err := unix.Sendto(t.fd, rrq, 0, serverSocket(69)); err != nil {
		return fmt.Errorf("send the request: %w", err)
	}
	return nil
}

func (t *transfer) silence() error {
	if t.silent++; t.silent == maxSilence {
		return fmt.Errorf("silence after block %d", t.got)
	}
	if !t.opened {
		return t.begin()
	}
	return t.say()
}

func (t *transfer) say() error {
	// It spins: a sleep cannot be this short. It would also let the processor
	// go idle, and the server would pay for the wake-up.
	for start := time.Now(); time.Since(start) < t.think; {
	}
	t.acked = t.got
	t.ack[1] = 4
	binary.BigEndian.PutUint16(t.ack[2:], uint16(t.got))
	if _, err := quick(unix.SYS_SENDTO, t.fd, t.ack[:], 0); err != nil {
		return fmt.Errorf("send ACK %d: %w", t.got, err)
	}
	return nil
}

// read takes up to a window of packets.
func (t *transfer) read(flags int) (done bool, err error) {
	for range t.window {
		var n int
		var from unix.Sockaddr
		var err error
		if t.opened {
			n, err = quick(unix.SYS_RECVFROM, t.fd, t.in[:], flags)
		} else {
			n, from, err = receive(t.fd, t.in[:], flags)
		}
		if errors.Is(err, unix.EAGAIN) {
			return false, err
		}
		if err != nil {
			return false, fmt.Errorf("receive after block %d: %w", t.got, err)
		}
		if done, err := t.take(t.in[:n], from); done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// quick is a system call that bypasses Go's scheduler, on a thread that has
// nothing else to do, so that the client's own cost is small.
func quick(call uintptr, fd int, b []byte, flags int) (int, error) {
	for {
		n, _, e := unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(flags), 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}

func (t *transfer) take(p []byte, from unix.Sockaddr) (done bool, err error) {
	if len(p) < 4 {
		return false, nil
	}
	switch binary.BigEndian.Uint16(p) {
	case 5:
		return false, fmt.Errorf("server says: %s", bytes.Trim(p[4:], "\x00"))
	case 6: // OACK
		if t.got > 0 {
			return false, nil
		}
		if !bytes.Contains(p, fmt.Appendf(nil, "blksize\x00%d\x00", blockSize)) {
			return false, errors.New("server does not take the blksize")
		}
		if !t.opened {
			if err := connect(t.fd, from); err != nil {
				return false, fmt.Errorf("connect: %w", err)
			}
			t.opened = true
		}
		if t.window > 1 && !bytes.Contains(p, fmt.Appendf(nil, "windowsize\x00%d\x00", t.window)) {
			_, _ = unix.Write(t.fd, []byte{0, 5, 0, 8, 0}) // so that the server does not wait for us
			return false, errNoWindow
		}
		return false, t.say()
	case 3: // DATA
		return t.data(int(binary.BigEndian.Uint16(p[2:])), p[4:])
	}
	return false, nil
}

func (t *transfer) data(block int, p []byte) (done bool, err error) {
	if !t.opened {
		return false, errors.New("server ignores options")
	}
	if block != (t.got+1)&0xffff {
		// In lock-step the client waits: one extra ACK would double every
		// packet after it (RFC 1123 4.2.3.1).
		if t.window == 1 || t.gap {
			return false, nil
		}
		t.gap = true
		return false, t.say()
	}
	off := t.got * blockSize
	if off+len(p) > len(t.want) || !bytes.Equal(p, t.want[off:off+len(p)]) {
		return false, fmt.Errorf("block %d is not the file's", t.got+1)
	}
	t.got++
	t.gap, t.silent = false, 0
	last := len(p) < blockSize
	if last && off+len(p) != len(t.want) {
		return false, fmt.Errorf("file ends after %d of %d bytes", off+len(p), len(t.want))
	}
	if last || t.got-t.acked == t.window {
		err = t.say()
	}
	return last, err
}
