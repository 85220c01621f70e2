package script

// This file is what scripts and their machine have to do with each other: what a
// script reaches, and how it ends.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// A World is what a script of iPXE reaches of the machine and its network.
type World interface {
	// Setting is a value of the machine or its lease, raw.
	Setting(name string) (raw []byte, typ string, ok bool)
	DHCP(ctx context.Context) error
	// Load fetches a URI as a step of that name. It keeps the bytes of what may
	// be a script.
	Load(ctx context.Context, step, uri string, form url.Values) (*File, error)
	// Exists looks whether a disc image is there.
	Exists(ctx context.Context, step, uri string) error
	Pause(ctx context.Context, d time.Duration)
}

// Firmware is what a configuration of GRUB reaches of its machine.
type Firmware interface {
	// Load fetches a URL as a step of that name, and keeps the bytes of what may
	// be a configuration.
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

// A Refusal is the error of a load that a server answered: it is there, and the
// file is not to be had.
type Refusal interface {
	error
	Status() int // of HTTP, else 0
}

// Refused tells a file that is not there from a server that is not.
func Refused(err error) bool {
	var r Refusal
	return errors.As(err, &r)
}

// A File was loaded.
type File struct {
	URI   string
	Bytes int64
	Sum   string // SHA-256, hexadecimal
	Head  []byte // all of it, where it is short
}

// Script reports that it is one of iPXE, as a whole.
func (l *File) Script() bool {
	return bytes.HasPrefix(l.Head, scriptMagic) && l.Bytes == int64(len(l.Head))
}

// An Image is a file with the words that it is started with.
type Image struct {
	*File
	Name string
	Args string
}

// A Plan is what a script came to: a kernel to start, or a program.
type Plan struct {
	Kernel  *Image
	Initrds []*Image
}

// Booting is the error that carries a plan up.
type Booting struct{ Plan }

func (*Booting) Error() string { return "booting" }

// leaving ends one script, with its status.
type leaving struct{ code int }

func (e *leaving) Error() string { return fmt.Sprintf("exit %d", e.code) }

// An End is where a machine got to.
type End string

// Ends of a script that boots nothing.
const (
	Local  End = "local" // it was sent to its own disk
	Held   End = "hold"  // the server keeps it waiting, for a person
	Broken End = "failed"
)

// A Stop is an error that ends a machine's boot: where it got to, why, and what a
// person should do.
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
