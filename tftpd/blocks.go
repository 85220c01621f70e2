// blocks.go: a window of blocks, read from the file and sent with few system calls.

package tftpd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/musterboot/muster/boot"
	"golang.org/x/sys/unix"
)

// blocks returns a buffer with the first block of a step, and with more of its
// blocks where possible.
func (l *loop) blocks(f *flow, s step, alone bool) (*blocks, error) {
	if !alone {
		if o := l.shared.find(f, s.from, l.now); o != nil {
			return o, nil
		}
	}
	if l.out.hold(f, s.from) {
		return &l.out, nil
	}
	n := s.to - s.from + 1
	if alone && !(f.disk && f.warm) {
		n = maxOut // no other transfer needs the buffer; of what may wait only the step's own bytes are here
	}
	return &l.out, l.out.fill(f, s.from, n, !f.warm)
}

// blocks holds blocks that are being sent. All transfers of a loop share one
// buffer, so it stays in the processor's cache and a client costs no memory.
type blocks struct {
	of    *flow
	first int64  // block in the buffer
	count int64  // of them
	buf   []byte // 4 bytes of header before each block
	parts [][]byte
}

// maxOut is the size of the buffer in bytes: the most that the kernel segments
// in one call, and one block of the largest size.
const maxOut = 64 << 10

func (o *blocks) hold(f *flow, n int64) bool {
	return o.of == f && n >= o.first && n < o.first+o.count
}

// ahead reads the bytes of the next window in advance.
func (o *blocks) ahead(f *flow) {
	next := f.t.sent + 1
	if next > f.t.last || o.of == f && o.first == next || o.hold(f, next) && o.hold(f, min(f.t.sent+f.t.window, f.t.last)) {
		return
	}
	_ = o.fill(f, next, maxOut, true)
}

// fill reads up to n blocks from a number on. With cached it reads only what is
// in the page cache, and returns EAGAIN if something is not.
func (o *blocks) fill(f *flow, from, n int64, cached bool) error {
	if o.buf == nil {
		o.buf = make([]byte, maxOut)
	}
	o.of = nil
	step := int(f.t.blk) + 4
	n = max(1, min(n, int64(len(o.buf)/step), f.t.last-from+1))
	off := (from - 1) * f.t.blk
	want := min(n*f.t.blk, f.t.size-off)
	o.parts = o.parts[:0]
	for i := range n {
		slot := o.buf[int(i)*step:][:step]
		slot[0], slot[1] = 0, opDATA
		binary.BigEndian.PutUint16(slot[2:], uint16(from+i))
		if k := min(f.t.blk, want-i*f.t.blk); k > 0 {
			o.parts = append(o.parts, slot[4:4+k])
		}
	}
	var got int64
	var err error
	if f.file != nil {
		got, err = readParts(f.file, o.parts, off, cached)
	} else if f.disk && cached {
		return unix.EAGAIN // it cannot be known whether the bytes are in memory
	} else {
		for _, p := range o.parts {
			var k int
			k, err = f.body.ReadAt(p, off+got)
			got += int64(k)
			if k < len(p) {
				break
			}
			err = nil
		}
	}
	if got < want {
		if err == nil || errors.Is(err, io.EOF) {
			err = fmt.Errorf("file ends after %d of %d bytes", off+got, f.t.size)
		}
		return err
	}
	o.of, o.first, o.count = f, from, n
	return nil
}

// readParts reads a file's bytes directly into the send buffer. For a file in
// the page cache that is one system call.
func readParts(s *boot.Section, parts [][]byte, off int64, cached bool) (got int64, err error) {
	flags := 0
	fd, _ := s.Descriptor()
	if cached {
		flags = unix.RWF_NOWAIT
	}
	for len(parts) > 0 {
		n, err := preadv(int(fd), parts, s.Off+off+got, flags)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP) && flags != 0:
			flags = 0 // this file system does not support RWF_NOWAIT
			continue
		case err != nil:
			return got, err
		case n == 0 && flags != 0:
			// With RWF_NOWAIT, some file systems return no bytes where others return
			// EAGAIN.
			return got, unix.EAGAIN
		case n == 0:
			return got, io.ErrUnexpectedEOF
		}
		got += int64(n)
		for len(parts) > 0 && n >= len(parts[0]) {
			n -= len(parts[0])
			parts = parts[1:]
		}
		if n > 0 {
			parts[0] = parts[0][n:]
		}
	}
	return got, nil
}

// preadv reads into the first parts. A read that does not wait bypasses Go's
// scheduler.
func preadv(fd int, parts [][]byte, off int64, flags int) (int, error) {
	parts = parts[:min(len(parts), 64)] // the kernel takes 1,024
	if flags&unix.RWF_NOWAIT == 0 {
		return unix.Preadv2(fd, parts, off, flags)
	}
	var iov [64]unix.Iovec
	for i, p := range parts {
		iov[i].Base = &p[0]
		iov[i].SetLen(len(p))
	}
	// On machines of 32 bits the offset takes two words.
	n, _, e := unix.RawSyscall6(unix.SYS_PREADV2, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(parts)), uintptr(off), uintptr(off>>31>>1), uintptr(flags))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// send sends blocks from the buffer, with one system call if the kernel can
// segment them. Full socket buffers and unreachable clients show as time-outs.
func (o *blocks) send(f *flow, from, to int64) {
	size := int(f.t.blk) + 4
	lo := int(from-o.first) * size
	hi := int(to-o.first)*size + 4 + int(min(f.t.blk, f.t.size-(to-1)*f.t.blk))
	// The kernel cuts at most 64 packets and 64 KiB at once.
	per := min(64, (64<<10-128)/size)
	for lo < hi {
		n := min(hi-lo, size)
		if !f.noGSO && per > 1 {
			n = min(hi-lo, per*size)
		}
		var err error
		if n > size {
			err = f.sendCut(o.buf[lo:lo+n], size)
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIO) || errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.EOPNOTSUPP) {
				f.noGSO = true // a path with a small MTU, or a card without checksum offload
				continue
			}
		} else {
			err = f.send(o.buf[lo : lo+n])
		}
		if err != nil {
			return
		}
		lo += n
	}
}
