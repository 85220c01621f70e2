// port.go: what the fronts hold: who answers a Sighting, and who is told how the
// answer went out.

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
	Left   bool // the last byte left, whether or not anybody said that it came
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
	Sent(bytes int64) // so many have left by now
	End()             // takes it off the list
}

// Check asks the outside to see whether somebody answers on an address.
type Check struct {
	Network string
	Addr    netip.Addr
	For     MAC // who was offered it; its own answer is none
}
