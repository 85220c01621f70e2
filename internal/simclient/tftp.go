package simclient

// This file loads by TFTP. It makes the size probes itself, because firmware
// aborts them in a way that no library does. It reads whole files with
// pin/tftp.

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/pin/tftp/v3"
)

// tftpRefusal is an error packet of the server.
type tftpRefusal struct {
	code uint16
	text string
}

func (e *tftpRefusal) Status() int { return 0 }

func (e *tftpRefusal) Error() string {
	return fmt.Sprintf("the server refuses it (error %d: %s)", e.code, shown(e.text))
}

var errNoTFTP = errors.New("no answer by TFTP")

const (
	tftpTimeout = 4 * sec // of edk2
	tftpTries   = 6
)

// tftpSocket is bound to the machine's address.
func tftpSocket(src netip.Addr) (*net.UDPConn, error) {
	return net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(src, 0)))
}

// probe asks for a file's size and aborts with an error packet: with code 8
// like edk2, or with 0 like iPXE and a Raspberry Pi.
func probeTFTP(ctx context.Context, src netip.Addr, server netip.AddrPort, name string, blksize int, scale float64) (size int64, err error) {
	c, err := tftpSocket(src)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })()
	ask := append([]byte{0, 1}, name+"\x00octet\x00tsize\x000\x00"...)
	if blksize > 0 {
		ask = append(ask, "blksize\x00"+strconv.Itoa(blksize)+"\x00"...)
	}
	b := make([]byte, 2048)
	for range tftpTries {
		if _, err := c.WriteToUDPAddrPort(ask, server); err != nil {
			return 0, err
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		c.SetReadDeadline(time.Now().Add(scaled(tftpTimeout, scale)))
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			if err != nil {
				break
			}
			if from.Addr().Unmap() != server.Addr() || n < 4 {
				continue
			}
			switch op := binary.BigEndian.Uint16(b); op {
			case 5:
				text, _, _ := bytes.Cut(b[4:n], []byte{0})
				return 0, &tftpRefusal{binary.BigEndian.Uint16(b[2:]), string(text)}
			case 3, 6:
				c.WriteToUDPAddrPort([]byte("\x00\x05\x00\x08User aborted the transfer\x00"), from)
				if op == 3 {
					return -1, nil // the server knows no options, and sends the file
				}
				f := strings.Split(string(b[2:n]), "\x00")
				for i := 0; i+1 < len(f); i += 2 {
					if v, err := strconv.ParseInt(f[i+1], 10, 64); err == nil && v >= 0 && strings.EqualFold(f[i], "tsize") {
						return v, nil
					}
				}
				return -1, nil
			}
		}
	}
	return 0, errNoTFTP
}

// readTFTP reads a whole file into w.
func readTFTP(ctx context.Context, src netip.Addr, server netip.AddrPort, name string, blksize int, w io.Writer, scale float64) (n int64, err error) {
	if len(name) > 400 {
		return 0, fmt.Errorf("a file name of %d bytes does not fit a TFTP request", len(name))
	}
	type result struct {
		n   int64
		err error
	}
	done := make(chan result, 1)
	// The library takes no context. When ctx ends, the transfer goes on until
	// its next packet or its last time-out.
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("a TFTP packet that the client cannot take: %v", p)
			}
			done <- r
		}()
		cl, err := tftp.NewClient(server.String())
		if err != nil {
			r.err = err
			return
		}
		if src.IsValid() {
			if r.err = cl.SetLocalAddr(src.String()); r.err != nil {
				return
			}
		}
		cl.SetTimeout(scaled(tftpTimeout, scale))
		cl.SetRetries(tftpTries)
		cl.SetBackoff(func(int) time.Duration { return 0 })
		if blksize > 0 {
			cl.SetBlockSize(blksize)
		}
		from, err := cl.Receive(name, "octet")
		if err != nil {
			r.err = refusal(err)
			return
		}
		r.n, r.err = from.WriteTo(untilDone{ctx, w})
		r.err = refusal(r.err)
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// refusal recovers the error code from the library's text of an error packet.
func refusal(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errNoTFTP
	}
	if err == nil {
		return nil
	}
	rest, ok := strings.CutPrefix(err.Error(), "code: ")
	code, text, ok2 := strings.Cut(rest, ", message: ")
	n, bad := strconv.ParseUint(code, 10, 16)
	if !ok || !ok2 || bad != nil {
		return err
	}
	return &tftpRefusal{uint16(n), text}
}

// untilDone ends a transfer when ctx ends.
type untilDone struct {
	ctx context.Context
	w   io.Writer
}

func (u untilDone) Write(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.w.Write(b)
}

// scaled shortens a wait, but leaves enough time for a real network.
func scaled(d time.Duration, scale float64) time.Duration {
	if scale >= 1 || d == 0 {
		return d
	}
	return max(time.Duration(float64(d)*scale), min(d, 100*ms))
}
