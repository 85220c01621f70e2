// content.go: the one port that turns a File or Script reply into bytes, for
// TFTP and HTTP alike, so that the two can never serve different things.

package boot

import (
	"context"
	"errors"
	"io"
)

// Content opens what a Decision refers to. The wiring builds it from templates and
// images. ErrNoFile means that the client asked for a file that the template does
// not have; any other error is a failure of the server.
type Content interface {
	Open(ctx context.Context, ref Ref) (*Object, error)
}

// ErrNoFile says that a reference names no file.
var ErrNoFile = errors.New("no such file")

// ErrLater says that a file cannot be had now and perhaps in a while: it is asked for
// again.
var ErrLater = errors.New("not now")

// Ref names bytes without holding them.
type Ref struct {
	Kind     RefKind
	Name     string    // loader, file inside the template, or image/file
	Template *Template // for RefTemplate and RefGenerated
	Dialect  Dialect   // of a script
	Blob     Blob      // for RefImage
	Upstream string    // for RefImage: the URL of the same bytes, where they may not be stored yet
	Machine  Machine   // what a rendered file may see
	Placed   string    // served as an archive that puts the bytes under this name, "/proxmox.iso"
}

// RefKind says where the bytes come from.
type RefKind string

// Kinds of reference.
const (
	RefLoader    RefKind = "loader"    // images: boot loaders of the distribution or of the operator
	RefTemplate  RefKind = "template"  // a template's file, rendered where its name asks for it
	RefGenerated RefKind = "generated" // a template's boot script
	RefBuiltin   RefKind = "builtin"   // a script that ships: ask, hold, local, stranger
	RefImage     RefKind = "image"     // images: immutable bytes by image name
	RefTree      RefKind = "tree"      // images: a file inside a disc image, which is not unpacked
)

// Machine is all that a template may see: plain values, no methods, so that a
// template can call nothing.
type Machine struct {
	Name        string
	Known       bool
	State       string
	MAC         string // colon form
	MACDash     string // 01-aa-bb-…
	UUID        string
	Disks       []Disk // as it last reported them, where its template asks for that; nil: it never did
	Serial      string // as the machine says it, which may be anything: hostile until quoted
	Platform    string
	UEFI        bool
	Network     string
	Address     string // its own, where known
	Prefix      int    // length of its network's prefix
	Netmask     string // the same as a mask; IPv4 only
	Gateway     string // the first router of its network
	DNS         []string
	Domain      string
	NTP         []string
	VLAN        int    // of its network, where the configuration knows it
	BOOTIF      string // MACDash, as kernels and installers call it
	Server      string // our address on its network
	BaseURL     string // http://server/boot/<token>
	ScriptURL   string // the script that asks again
	ReportURL   string
	LogHost     string // where its log may go (syslog); "" where nobody listens
	LogPort     int
	Boot        int
	HoldSeconds int // until the holding script boots the local disk; 0 waits for ever
	WaitSeconds int // until it asks again
	Note        string
	Loader      string // iPXE for it, beneath BaseURL
	GRUBBase    string // BaseURL as GRUB reads it: over TFTP
	TFTPPath    string // boot/<token>, the same as U-Boot reads it
	Template    string
	Version     int
	Params      map[string]string
	Unclear     map[string]string // parameters that have no value because tags differ, and what they say
	Sealed      map[string]Sealed // secret parameters; nil in a file that holds none
}

// Masked stands for a secret that is not shown.
const Masked = "********"

// Sealed is a secret parameter as the store keeps it.
type Sealed struct {
	Place string // that it is sealed for
	Data  []byte
	Set   string // command that gives it anew, up to the parameter's name
}

// Section is a part of an open file that others may be reading too. It has a
// position of its own and never moves the file's, so one open file serves any
// number of machines, and the fronts can send it without copying (sendfile).
type Section struct {
	File      io.ReaderAt // where it is an *os.File, the kernel can send it
	Off, Size int64       // bytes
	pos       int64
	done      func()
}

// NewSection returns the part of f from off on; done, where not nil, is called
// by Close.
func NewSection(f io.ReaderAt, off, size int64, done func()) *Section {
	return &Section{File: f, Off: off, Size: size, done: done}
}

func (s *Section) Read(b []byte) (int, error) {
	n, err := s.ReadAt(b, s.pos)
	s.pos += int64(n)
	return n, err
}

// ReadAt implements io.ReaderAt.
func (s *Section) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= s.Size {
		return 0, io.EOF
	}
	short := false
	if left := s.Size - off; int64(len(b)) > left {
		b, short = b[:left], true
	}
	n, err := s.File.ReadAt(b, s.Off+off)
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// Descriptor returns the descriptor of the section's file, if that is an open file of
// the operating system.
func (s *Section) Descriptor() (fd uintptr, ok bool) {
	f, ok := s.File.(interface{ Fd() uintptr })
	if !ok {
		return 0, false
	}
	return f.Fd(), true
}

// Seek implements io.Seeker.
func (s *Section) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += s.pos
	case io.SeekEnd:
		off += s.Size
	}
	if off < 0 {
		return s.pos, errors.New("seek before the beginning")
	}
	s.pos = off
	return off, nil
}

// Close gives the file back.
func (s *Section) Close() error {
	if s.done != nil {
		s.done()
		s.done = nil
	}
	return nil
}

// Object is an open file. Body of a stored file is a *Section.
type Object struct {
	Body interface {
		io.ReadSeeker
		io.ReaderAt
		io.Closer
	}
	// Whole waits until all of the file is here and right; nil is a file that is. Before, its
	// body waits for bytes that have not come, until the context it was opened with ends.
	Whole func(context.Context) error

	Disk bool   // Body is no *Section, but reading it may wait for a disk
	Name string // base name, for the content type
	Size int64
	ETag string // strong, quoted, the same after a restart
}
