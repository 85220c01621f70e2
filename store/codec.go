// codec.go: records to bytes and back.

package store

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/musterboot/muster/boot"
)

// Encodings, the first byte of every value.
const (
	encJSON  = 'j'
	encLease = 1
)

func encodeJSON(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append([]byte{encJSON}, b...), nil
}

func decodeJSON(b []byte, v any) error {
	if len(b) == 0 || b[0] != encJSON {
		return fmt.Errorf("record has an unknown encoding")
	}
	return json.Unmarshal(b[1:], v)
}

func be64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func fromBE64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func netKey(network string, tail []byte) []byte {
	k := make([]byte, 0, len(network)+1+len(tail))
	k = append(k, network...)
	k = append(k, 0)
	return append(k, tail...)
}

func leaseKey(network string, a netip.Addr) []byte { return netKey(network, a.AsSlice()) }

// Leases are the hot record: a JSON round trip would cost more than the packet.
func encodeLease(l *boot.Lease) []byte {
	b := make([]byte, 0, 64+len(l.Name))
	b = append(b, encLease)
	b = appendString(b, string(l.Kind))
	b = appendString(b, l.Holder)
	b = appendString(b, l.Name)
	b = binary.AppendUvarint(b, uint64(l.Host))
	b = binary.AppendVarint(b, l.Starts.UnixMilli())
	b = binary.AppendVarint(b, l.Expires.UnixMilli())
	if !l.MAC.IsZero() && l.Holder != l.MAC.String() {
		b = append(b, l.MAC[:]...)
	}
	return b
}

func decodeLease(network string, addr netip.Addr, b []byte) (*boot.Lease, error) {
	d := leaseReader{b: b}
	if len(b) == 0 || b[0] != encLease {
		return nil, fmt.Errorf("lease of %s has an unknown encoding", addr)
	}
	d.b = d.b[1:]
	l := &boot.Lease{Network: network, Addr: addr}
	l.Kind = boot.LeaseKind(d.string())
	l.Holder = d.string()
	l.Name = d.string()
	l.Host = boot.HostID(d.uvarint())
	l.Starts = time.UnixMilli(d.varint()).UTC()
	l.Expires = time.UnixMilli(d.varint()).UTC()
	if d.bad || len(d.b) != 0 && len(d.b) != len(l.MAC) {
		return nil, fmt.Errorf("lease of %s is damaged", addr)
	}
	if len(d.b) == 0 {
		l.MAC, _ = boot.ParseMAC(l.Holder)
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
