// archive.go: a stored file as an archive that Linux unpacks into its initial
// file system. The archive is made while it is read, so nothing is stored
// twice.

package images

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strings"

	"github.com/musterboot/muster/boot"
)

// Archive returns an object as a cpio archive in the "newc" format (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst), in which the
// file has the path at. It takes over the object and closes it.
func Archive(o *boot.Object, at string) (*boot.Object, error) {
	if o.Size > math.MaxUint32 {
		o.Body.Close()
		return nil, fmt.Errorf("%s has %d bytes: a file in an initial file system has less than 4 GiB", o.Name, o.Size)
	}
	name := strings.TrimPrefix(at, "/")
	var head, tail bytes.Buffer
	for i, c := range name {
		if c == '/' {
			entry(&head, name[:i], 0o040755, 0)
		}
	}
	entry(&head, name, 0o100644, o.Size)
	tail.Write(make([]byte, -o.Size&3))
	entry(&tail, "TRAILER!!!", 0, 0)
	size := int64(head.Len()) + o.Size + int64(tail.Len())
	whole := &archive{head: head.Bytes(), tail: tail.Bytes(), file: o.Body, size: o.Size}
	return &boot.Object{
		Body: struct {
			*io.SectionReader
			io.Closer
		}{io.NewSectionReader(whole, 0, size), o.Body},
		Disk: true,
		Name: path.Base(name) + ".cpio", Size: size, ETag: strings.TrimSuffix(o.ETag, `"`) + "-" + strings.ReplaceAll(name, "/", "-") + `"`,
	}, nil
}

// entry writes a header and a name, and fills up to a multiple of four bytes.
func entry(w *bytes.Buffer, name string, mode uint32, size int64) {
	fmt.Fprintf(w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		0, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
	w.Write(make([]byte, -(headerSize+len(name)+1)&3))
}

const headerSize = 6 + 13*8

// archive is head, file and tail as one.
type archive struct {
	head, tail []byte
	file       io.ReaderAt
	size       int64 // of the file
}

// ReadAt implements io.ReaderAt, for reads that begin inside.
func (a *archive) ReadAt(b []byte, off int64) (n int, err error) {
	for _, part := range []struct {
		io.ReaderAt
		size int64
	}{{bytes.NewReader(a.head), int64(len(a.head))}, {a.file, a.size}, {bytes.NewReader(a.tail), int64(len(a.tail))}} {
		if off >= part.size {
			off -= part.size
			continue
		}
		want := min(int64(len(b)-n), part.size-off)
		k, err := part.ReadAt(b[n:int64(n)+want], off)
		if n += k; int64(k) < want {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // a file that became shorter
			}
			return n, err
		}
		if off = 0; n == len(b) {
			return n, nil
		}
	}
	return n, io.EOF
}
