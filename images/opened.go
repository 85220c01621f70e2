// opened.go: files that are being read. All readers of a file share one
// descriptor, so a thousand machines that boot one image need only one. The
// fronts compare the descriptor to see that two transfers send the same bytes.

package images

import (
	"io/fs"
	"os"
	"sync"

	"github.com/musterboot/muster/boot"
)

// Opened are the files that are open at the moment. The zero value is ready.
type Opened struct {
	mu    sync.Mutex
	files map[string]*openFile
}

type openFile struct {
	file    *os.File
	info    fs.FileInfo
	readers int
}

// section opens a file for one more reader. now describes the file at that path
// at this moment. If it differs from the open one, the file is opened again,
// and older readers keep theirs. now is nil for a file that cannot change.
func (o *Opened) section(name string, now fs.FileInfo, open func() (*os.File, error)) (*boot.Section, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	x := o.files[name]
	if x == nil || now != nil && !(os.SameFile(x.info, now) && x.info.Size() == now.Size() && x.info.ModTime().Equal(now.ModTime())) {
		f, err := open()
		if err != nil {
			return nil, err
		}
		st, err := f.Stat()
		if err == nil && !st.Mode().IsRegular() {
			err = &os.PathError{Op: "open", Path: f.Name(), Err: boot.ErrNoFile}
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		x = &openFile{file: f, info: st}
		if o.files == nil {
			o.files = map[string]*openFile{}
		}
		o.files[name] = x
	}
	x.readers++
	return boot.NewSection(x.file, 0, x.info.Size(), func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if x.readers--; x.readers > 0 {
			return
		}
		x.file.Close()
		if o.files[name] == x {
			delete(o.files, name)
		}
	}), nil
}

// forget has the next reader open a file again; who has it open reads on.
func (o *Opened) forget(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.files, name)
}

// File opens a regular file of this host, which a person may replace.
func (o *Opened) File(path string) (*boot.Section, error) {
	st, err := os.Stat(path)
	if err == nil && !st.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: path, Err: boot.ErrNoFile}
	}
	if err != nil {
		return nil, err
	}
	return o.section(path, st, func() (*os.File, error) { return os.Open(path) })
}
