// stream.go: an image on its way to an appliance.

package images

import (
	"archive/tar"
	"fmt"
	"io"
)

// Stream writes the files of an image into an archive; sent is told how many bytes of them
// have gone.
func (s *Source) Stream(t *tar.Writer, sent func(n int)) error {
	buf := make([]byte, 1<<20)
	for i := range s.Entries {
		e := &s.Entries[i]
		h := &tar.Header{Name: e.Name, Mode: 0o644, Size: e.Size, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if e.Link != "" {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, e.Link, 0
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if e.Link != "" {
			continue
		}
		f, err := e.Open()
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(told{t, sent}, struct{ io.Reader }{io.LimitReader(f, e.Size)}, buf)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
	}
	return nil
}

// told counts what was written and reports it.
type told struct {
	io.Writer
	fn func(int)
}

func (t told) Write(b []byte) (int, error) {
	n, err := t.Writer.Write(b)
	t.fn(n)
	return n, err
}
