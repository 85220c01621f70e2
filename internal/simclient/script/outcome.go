package script

// This file is the interface between a script and its machine: what a script
// can reach, and how it ends.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// A World is the machine and its network as an iPXE script reaches them.
type World interface {
	// Setting is a value of the machine or its lease, raw.
	Setting(name string) (raw []byte, typ string, ok bool)
	DHCP(ctx context.Context) error
	// Load fetches a URI as a step of that name. It keeps the bytes of a file
	// that may be a script.
	Load(ctx context.Context, step, uri string, form url.Values) (*File, error)
	// Exists checks whether a disc image exists.
	Exists(ctx context.Context, step, uri string) error
	Pause(ctx context.Context, d time.Duration)
}

// Firmware is the machine as a GRUB configuration reaches it.
type Firmware interface {
	// Load fetches a URL as a step of that name. It keeps the bytes of a file
	// that may be a configuration.
	Load(ctx context.Context, step, uri string) (*File, error)
	Pause(ctx context.Context, d time.Duration)
	// Explained says what to do about a load that failed.
	Explained(err error, name string) error
	// Fail notes a failed step and returns its error.
	Fail(step string, err error) error
}

// Facts are what GRUB knows of its machine.
type Facts struct {
	CPU, MAC, IP, UUID, Serial string
}

// A Refusal is the error of a load that the server answered: the server is up,
// but does not give out the file.
type Refusal interface {
	error
	Status() int // of HTTP, else 0
}

// Refused distinguishes a missing file from a server that does not answer.
func Refused(err error) bool {
	var r Refusal
	return errors.As(err, &r)
}

// A File is a loaded file.
type File struct {
	URI   string
	Bytes int64
	Sum   string // SHA-256, hexadecimal
	Head  []byte // all of it, where it is short
}

// Script reports whether it is a complete iPXE script.
func (l *File) Script() bool {
	return bytes.HasPrefix(l.Head, scriptMagic) && l.Bytes == int64(len(l.Head))
}

// An Image is a file with its command line.
type Image struct {
	*File
	Name string
	Args string
}

// A Plan is a script's result: a kernel to start, or a program.
type Plan struct {
	Kernel  *Image
	Initrds []*Image
}

// Booting is the error that returns a plan to the caller.
type Booting struct{ Plan }

func (*Booting) Error() string { return "booting" }

// leaving ends one script, with its status.
type leaving struct{ code int }

func (e *leaving) Error() string { return fmt.Sprintf("exit %d", e.code) }

// An End is how a boot ended.
type End string

// Ends of a script that boots nothing.
const (
	Local  End = "local" // it was sent to its own disk
	Held   End = "hold"  // the server keeps it waiting, for a person
	Broken End = "failed"
)

// A Stop is an error that ends a machine's boot. It says how the boot ended,
// why, and what a person should do.
type Stop struct {
	End  End
	Text string
	Hint string
}

func (e *Stop) Error() string { return e.Text }

// Fault is a step that failed, with what to do about it.
func Fault(hint, format string, args ...any) *Stop {
	return &Stop{Broken, fmt.Sprintf(format, args...), hint}
}
