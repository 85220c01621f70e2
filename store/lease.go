// lease.go: leases, the record that is written most. It is binary: encoding it as
// JSON would cost more than handling the packet.

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/musterboot/muster/boot"
)

// leaseID is the network and address of a lease.
type leaseID struct {
	network string
	addr    netip.Addr
}

func (id leaseID) String() string { return id.addr.String() + " on " + id.network }

// netKey begins keys with the network, so that a network's records are together.
func netKey(network, tail string) []byte {
	k := make([]byte, 0, len(network)+1+len(tail))
	k = append(k, network...)
	k = append(k, 0)
	return append(k, tail...)
}

func leaseKey(id leaseID) []byte {
	k := make([]byte, 0, len(id.network)+1+16)
	k = append(k, id.network...)
	k = append(k, 0)
	switch {
	case id.addr.Is4():
		a := id.addr.As4()
		k = append(k, a[:]...)
	case id.addr.Is6():
		a := id.addr.As16()
		k = append(k, a[:]...)
	}
	return k
}

func parseLeaseKey(b []byte) (id leaseID, ok bool) {
	network, tail, ok := bytes.Cut(b, []byte{0})
	if ok {
		id.network = string(network)
		id.addr, ok = netip.AddrFromSlice(tail)
	}
	return id, ok
}

// leaseByHolder leads to the last address that a holder was given. A declined or
// occupied address is not found by its holder.
var leaseByHolder = &lookup[leaseID, *boot.Lease]{table: "holder",
	ref: func(id leaseID) []byte { return id.addr.AsSlice() },
	keys: func(keys [][]byte, l *boot.Lease) [][]byte {
		if !l.Given() {
			return keys
		}
		return append(keys, netKey(l.Network, l.Holder.String()))
	},
	is: func(l *boot.Lease, key []byte) bool {
		n := len(l.Network)
		return l.Given() && len(key) > n && string(key[:n]) == l.Network && key[n] == 0 && string(key[n+1:]) == l.Holder.String()
	},
	newer: func(r source, id leaseID, entry []byte, l *boot.Lease) bool {
		a, ok := netip.AddrFromSlice(entry)
		if !ok {
			return true
		}
		b := r.get("lease", leaseKey(leaseID{id.network, a}))
		other, err := decodeLease(leaseID{id.network, a}, b)
		return err != nil || !other.Given() || l.Starts.After(other.Starts)
	}}

var leases = declare(kind[leaseID, *boot.Lease]{
	what: "lease of", table: "lease",
	key:   keys[leaseID]{to: leaseKey, from: parseLeaseKey},
	codec: codec[leaseID, *boot.Lease]{encode: encodeLease, decode: decodeLease},
	check: func(l *boot.Lease) error {
		if !l.Addr.IsValid() || l.Network == "" || l.Holder.IsZero() {
			return fmt.Errorf("lease of %s on %q to %q is incomplete", l.Addr, l.Network, l.Holder)
		}
		return nil
	},
	lookups: []*lookup[leaseID, *boot.Lease]{leaseByHolder},
})

func (r records) Lease(network string, a netip.Addr) (*boot.Lease, error) {
	l, _, err := leases.get(r, leaseID{network, a})
	return l, err
}

func (r records) LeaseByHolder(network string, holder boot.Holder) (*boot.Lease, error) {
	key := netKey(network, holder.String())
	a, ok := netip.AddrFromSlice(r.get(leaseByHolder.table, key))
	if !ok {
		return nil, nil
	}
	l, _, err := leases.agreed(r, leaseByHolder, key, leaseID{network, a})
	return l, err
}

func (r *readTx) Leases(network string, after netip.Addr, n int) ([]boot.Lease, error) {
	prefix := netKey(network, "")
	start := prefix
	if after.IsValid() {
		start = leaseKey(leaseID{network, after})
	}
	l, err := leases.list(r.s, prefix, start, n)
	if len(l) == 0 {
		return nil, err
	}
	out := make([]boot.Lease, len(l))
	for i := range l {
		out[i] = *l[i]
	}
	return out, err
}

func (w *writeTx) PutLease(l boot.Lease) error {
	return leases.put(w, leaseID{l.Network, l.Addr}, &l)
}

// encLease is the first byte of a lease.
const encLease = 1

func encodeLease(l *boot.Lease) ([]byte, error) {
	b := make([]byte, 0, 64+len(l.Name))
	b = append(b, encLease)
	b = appendString(b, string(l.Kind))
	b = appendString(b, l.Holder.String())
	b = appendString(b, l.Name)
	b = binary.AppendUvarint(b, uint64(l.Host))
	b = binary.AppendVarint(b, l.Starts.UnixMilli())
	b = binary.AppendVarint(b, l.Expires.UnixMilli())
	if !l.MAC.IsZero() && l.Holder != boot.HeldBy(l.MAC) {
		b = append(b, l.MAC[:]...)
	}
	return b, nil
}

func decodeLease(id leaseID, b []byte) (*boot.Lease, error) {
	if len(b) == 0 || b[0] != encLease {
		return nil, errors.New("record has an unknown encoding")
	}
	d := leaseReader{b: b[1:]}
	l := &boot.Lease{Network: id.network, Addr: id.addr}
	l.Kind = boot.LeaseKind(d.string())
	l.Holder = boot.ReadHolder(d.string())
	l.Name = d.string()
	l.Host = boot.HostID(d.uvarint())
	l.Starts = time.UnixMilli(d.varint()).UTC()
	l.Expires = time.UnixMilli(d.varint()).UTC()
	if d.bad || len(d.b) != 0 && len(d.b) != len(l.MAC) {
		return nil, errors.New("record is damaged")
	}
	if len(d.b) == 0 {
		l.MAC, _ = l.Holder.MAC()
	}
	copy(l.MAC[:], d.b)
	return l, nil
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

type leaseReader struct {
	b   []byte
	bad bool
}

func (d *leaseReader) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *leaseReader) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *leaseReader) string() string {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}
