// port.go: the interfaces that the fronts call: to have a Sighting answered, and to
// say how the answer went out.

package boot

import (
	"context"
	"net/netip"
	"time"
)

// Decider is what a front holds.
type Decider interface {
	Next(ctx context.Context, in Sighting) (Decision, error)
	Done(ctx context.Context, in Sighting, d Decision, o Outcome) error
}

// Outcome says how a reply with bytes ended.
type Outcome struct {
	Result Result
	Bytes  int64
	Left   bool // the last byte was sent, whether or not its arrival was confirmed
	Took   time.Duration
	Err    string
}

// Result of a transfer.
type Result string

// A probe asked for the size and left; edk2 does it before every file.
const (
	Complete Result = "complete"
	Probe    Result = "probe"
	CutShort Result = "short"
	TimedOut Result = "timeout"
	UnderWay Result = "under way" // of a transfer that has not ended
)

// Fetcher is what the fronts that send files hold.
type Fetcher interface {
	Decider
	// Begin notes that a file of size bytes starts to leave. The caller ends
	// it, and calls Done as for every reply with bytes.
	Begin(in Sighting, d Decision, size int64) Transfer
}

// Transfer is one file on its way.
type Transfer interface {
	Sent(bytes int64) // number of bytes sent so far
	End()             // takes it off the list
}

// Check is a request to probe an address: does a machine answer on it?
type Check struct {
	Network string
	Addr    netip.Addr
	For     MAC // the machine that was offered it; an answer of its own does not count
}
