// counter.go: the numbers that are kept beside the records.

package boot

import "strconv"

// Counter is a number kept under a key, because a limit is never a count over
// a range. There are the counters of this file and no others: a store refuses
// the zero Counter, and nobody else can make one.
type Counter struct{ key string }

// Counters of the whole appliance.
var (
	LastHost     = Counter{"last-host"}
	LastTemplate = Counter{"last-template"}
	PendingHosts = Counter{"pending-hosts"}
	AutoHosts    = Counter{"auto-hosts"}  // let in by a rule
	LastEvent    = Counter{"last-event"}  // the store's own
	FirstEvent   = Counter{"first-event"} // the store's own: the oldest kept; 0 is not counted yet
)

// ApprovedBy counts the machines that a rule let in.
func ApprovedBy(rule string) Counter { return Counter{"rule " + rule} }

// NamedBy counts the hosts that name a template. It is the store's own, which keeps
// it with every host that is put and deleted.
func NamedBy(template string) Counter { return Counter{"hosts of template " + template} }

// InstallSlot is when the installation that took slot i of a network's ring
// began, in Unix seconds.
func InstallSlot(network string, i uint64) Counter {
	return Counter{"installs " + network + " " + strconv.FormatUint(i, 10)}
}

// NextInstall is the slot of that ring that the next installation takes.
func NextInstall(network string) Counter { return Counter{"installs " + network} }

// Delivered is the first event that a receiver, "webhook chat", has not been told
// of yet; 0 is a new receiver.
func Delivered(receiver string) Counter { return Counter{receiver} }

// Undelivered is the oldest letter about an event that a receiver could not be
// told of; 0 is none.
func Undelivered(receiver string) Counter { return Counter{receiver + " dead"} }

// Key is what a store keeps it under; "" is no counter.
func (c Counter) Key() string { return c.key }
