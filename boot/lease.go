// lease.go: one address and who holds it.

package boot

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Lease binds an address to a holder. The record outlives its time, so a
// machine that comes back finds its last address, and the least recently used
// one is found first.
type Lease struct {
	Network string     `json:"network"`
	Addr    netip.Addr `json:"addr"`
	Holder  Holder     `json:"holder"`
	MAC     MAC        `json:"mac,omitzero"` // MAC of the machine, where the holder is known by something else
	Host    HostID     `json:"host,omitempty"`
	Kind    LeaseKind  `json:"kind"`
	Name    string     `json:"name,omitempty"` // what the client called itself, option 12
	Starts  time.Time  `json:"starts"`
	Expires time.Time  `json:"expires"`
}

// LeaseKind says why an address is taken.
type LeaseKind string

// A declined lease is a quarantine: its holder found another machine on the address.
// An occupied lease is what a probe found: its holder answers on the address but was
// not given it. An unknown lease is a dynamic one of a machine that is not admitted.
const (
	Dynamic  LeaseKind = "dynamic"
	Unknown  LeaseKind = "unknown"
	Reserved LeaseKind = "reserved"
	Declined LeaseKind = "declined"
	Occupied LeaseKind = "occupied"
)

// strange reports an address that counts against the ration of machines that are not
// admitted: leased to one, or declined by one.
func (l *Lease) OfUnknown() bool { return l.Kind == Unknown || l.Kind == Declined && l.Host == 0 }

// Given reports a lease that its holder was granted.
func (l *Lease) Given() bool { return l.Kind != Declined && l.Kind != Occupied }

// Active reports whether the address is taken at t.
func (l *Lease) Active(t time.Time) bool {
	return l != nil && t.Before(l.Expires) && l.Starts.Sub(t) < FalseTime
}

// FalseTime is how far in the future a lease may have begun: by more, it is of a time
// in which the clock was wrong, and would keep its address until that comes.
const FalseTime = 24 * time.Hour

// MaxPool bounds the addresses of one network's ranges, and with them memory:
// twelve bytes an address.
const MaxPool = 1 << 20

// Range is an inclusive run of addresses.
type Range struct {
	From, To netip.Addr
}

// Contains reports whether a lies in the range.
func (r Range) Contains(a netip.Addr) bool {
	return a.IsValid() && a.BitLen() == r.From.BitLen() && !a.Less(r.From) && !r.To.Less(a)
}

func (r Range) String() string { return r.From.String() + "-" + r.To.String() }

// Size counts the addresses of a range, up to 1<<63; 0 if it is no run of
// addresses of one family and, in IPv6, of one /64.
func (r Range) Size() uint64 {
	if !r.From.IsValid() || r.From.BitLen() != r.To.BitLen() || r.To.Less(r.From) || high(r.From) != high(r.To) {
		return 0
	}
	return min(low(r.To)-low(r.From), 1<<63-1) + 1
}

// Offset is the position of an address in the range that contains it, from 0.
func (r Range) Offset(a netip.Addr) uint64 { return low(a) - low(r.From) }

// At is the address at a position, which is below Size.
func (r Range) At(i uint64) netip.Addr {
	n := low(r.From) + i
	if r.From.Is4() {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(n))
		return netip.AddrFrom4(b)
	}
	b := r.From.As16()
	binary.BigEndian.PutUint64(b[8:], n)
	return netip.AddrFrom16(b)
}

// high and low are the halves of an address; IPv4 has the low one alone.
func high(a netip.Addr) uint64 {
	if a.Is4() {
		return 0
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8])
}

func low(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[8:])
}
