// fault.go: errors as the caller gets them. The code is stable; the text is for a
// person and may change. HTTP status and exit code are tables over the codes; each
// table is in the package that uses it.

package boot

import (
	"errors"
	"fmt"
)

// Fault is an error that the caller can mend.
type Fault struct {
	Code FaultCode `json:"code"`
	Text string    `json:"error"`
	Hint string    `json:"hint,omitempty"` // a command or a page that helps
}

func (f *Fault) Error() string {
	if f.Hint == "" {
		return f.Text
	}
	return f.Text + " (" + f.Hint + ")"
}

// FaultCode names a fault.
type FaultCode string

// Codes of faults. Each has a status (internal/admin/fault.go) and a line in
// docs/api.md.
const (
	UnknownHost     FaultCode = "unknown-host"
	UnknownTemplate FaultCode = "unknown-template"
	UnknownImage    FaultCode = "unknown-image"
	UnknownLease    FaultCode = "unknown-lease"
	UnknownNetwork  FaultCode = "unknown-network"
	UnknownHook     FaultCode = "unknown-hook"
	UnknownPlan     FaultCode = "unknown-plan"  // or it has ended
	Unconfirmed     FaultCode = "unconfirmed"   // so much at once wants to be said twice
	Ambiguous       FaultCode = "ambiguous"     // the name is that of several machines
	Unheard         FaultCode = "unheard"       // nothing was ever heard of that machine
	NotThere        FaultCode = "not-there"     // any other thing that does not exist
	Taken           FaultCode = "taken"         // a name, MAC, address or the like is another's
	InUse           FaultCode = "in-use"        // something still needs it
	WrongState      FaultCode = "wrong-state"   // the order cannot be carried out in the host's present state
	IsProtected     FaultCode = "protected"     // from installation
	TicketOpen      FaultCode = "ticket-open"   // an installation may be running
	Changed         FaultCode = "changed"       // the host has changed since the caller read it
	HostsRefused    FaultCode = "hosts-refused" // some hosts of a list cannot be added, so none was
	Invalid         FaultCode = "invalid"       // a value that is not allowed
	Malformed       FaultCode = "malformed"     // the request is not understood
	TooLarge        FaultCode = "too-large"
	NoSpace         FaultCode = "no-space"     // the disk is full
	Stopping        FaultCode = "stopping"     // the server is stopping
	Unauthorized    FaultCode = "unauthorized" // who asks is not known, or may not come in
	Forbidden       FaultCode = "forbidden"    // who asks may not do that
	TooMany         FaultCode = "too-many"     // requests at once, or wrong passwords one after the other
	UnknownUser     FaultCode = "unknown-user"
	UnknownToken    FaultCode = "unknown-token"
	Internal        FaultCode = "internal" // a failure of the server; only the log says which
)

// maxFault bounds the text of a fault.
const maxFault = 2000

// NewFault makes a fault with a text for the caller. The text often quotes the
// request, which anybody can write, so it is cleaned: a terminal must not obey it.
func NewFault(code FaultCode, format string, args ...any) *Fault {
	return &Fault{Code: code, Text: CleanText(fmt.Sprintf(format, args...), maxFault)}
}

// Try adds a hint: a command or a page that helps.
func (f *Fault) Try(format string, args ...any) *Fault {
	f.Hint = CleanText(fmt.Sprintf(format, args...), maxFault)
	return f
}

// FaultOf returns the fault that an error is. It is nil for a failure of the server,
// whose text is for the log only.
func FaultOf(err error) *Fault {
	var f *Fault
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, ErrExists):
		return &Fault{Code: Taken, Text: err.Error()}
	case errors.Is(err, ErrNotFound):
		return &Fault{Code: NotThere, Text: err.Error()}
	case errors.Is(err, ErrClosed):
		return &Fault{Code: Stopping, Text: "muster is stopping"}
	}
	return nil
}
