// counter.go: the numbers that are kept beside the records.

package boot

import (
	"strconv"
	"strings"
)

// Counter names a number that is kept under a key, so that checking a limit never
// means counting records. Only this file makes counters, and a store refuses the
// zero Counter.
type Counter struct{ key string }

// Counters of the whole appliance.
var (
	Checked      = Counter{"checked"} // when a write was last tried, in Unix seconds
	LastHost     = Counter{"last-host"}
	LastTemplate = Counter{"last-template"}
	PendingHosts = Counter{"pending-hosts"} // kept by the store, with every host that is put or deleted
	AutoHosts    = Counter{"auto-hosts"}    // likewise: a rule decided about them, and no person yet
	Users        = Counter{"users"}
	Tokens       = Counter{"tokens"}      // of the API
	LastEvent    = Counter{"last-event"}  // kept by the store
	LastAudit    = Counter{"last-audit"}  // kept by the store
	FirstEvent   = Counter{"first-event"} // kept by the store: the oldest event that is left; 0: not counted yet
)

// ApprovedBy counts the machines that a rule let in.
func ApprovedBy(rule string) Counter { return Counter{"rule " + rule} }

// NamedBy counts the hosts that name a template. The store keeps it.
func NamedBy(template string) Counter { return Counter{namedBy + template} }

const namedBy = "hosts of template "

// Tally reports the key of a counter that the store can make anew from its hosts.
func Tally(key string) bool {
	return key == PendingHosts.key || key == AutoHosts.key || strings.HasPrefix(key, namedBy)
}

// InstallSlot is when the installation that took slot i of a network's ring
// began, in Unix seconds.
func InstallSlot(network string, i uint64) Counter {
	return Counter{"installs " + network + " " + strconv.FormatUint(i, 10)}
}

// NextInstall is the slot of that ring that the next installation takes.
func NextInstall(network string) Counter { return Counter{"installs " + network} }

// Delivered is the first event that a receiver (like "webhook chat") has not been
// told of yet; 0 means a new receiver.
func Delivered(receiver string) Counter { return Counter{receiver} }

// Undelivered is the oldest event that records a delivery to a receiver which was
// given up; 0 means none.
func Undelivered(receiver string) Counter { return Counter{receiver + " dead"} }

// Key is what a store keeps it under; "" is no counter.
func (c Counter) Key() string { return c.key }
