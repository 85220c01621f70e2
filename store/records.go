// records.go: typed look-ups and writes over the tables, with the indexes.

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/musterboot/muster/boot"
)

// records reads typed records through get, wherever that reads from.
type records struct {
	get func(Table, []byte) []byte
}

var _ boot.Reader = records{}

func (r records) Host(id boot.HostID) (*boot.Host, error) {
	b := r.get(tabHost, be64(uint64(id)))
	if b == nil {
		return nil, nil
	}
	h := new(boot.Host)
	if err := decodeJSON(b, h); err != nil {
		return nil, fmt.Errorf("host %d: %w", id, err)
	}
	return h, nil
}

// hostBy follows an index and believes it only if the record agrees.
func (r records) hostBy(t Table, key []byte, agrees func(*boot.Host) bool) (*boot.Host, error) {
	if len(key) == 0 {
		return nil, nil
	}
	b := r.get(t, key)
	if b == nil {
		return nil, nil
	}
	h, err := r.Host(boot.HostID(fromBE64(b)))
	if h == nil || err != nil || !agrees(h) {
		return nil, err
	}
	return h, nil
}

func (r records) HostByName(s string) (*boot.Host, error) {
	return r.hostBy(tabHostName, []byte(s), func(h *boot.Host) bool { return h.Name == s })
}

func (r records) HostByMAC(m boot.MAC) (*boot.Host, error) {
	return r.hostBy(tabHostMAC, m[:], func(h *boot.Host) bool { return h.HasMAC(m) })
}

func (r records) HostByUUID(u boot.UUID) (*boot.Host, error) {
	return r.hostBy(tabHostUUID, u[:], func(h *boot.Host) bool { return h.UUID == u })
}

func (r records) HostBySerial(s string) (*boot.Host, error) {
	return r.hostBy(tabHostSerial, []byte(s), func(h *boot.Host) bool { return h.Serial == s })
}

func (r records) HostByDUID(s string) (*boot.Host, error) {
	return r.hostBy(tabHostDUID, []byte(s), func(h *boot.Host) bool { return h.DUID == s })
}

func (r records) HostByAddress(a netip.Addr) (*boot.Host, error) {
	return r.hostBy(tabHostAddr, a.AsSlice(), func(h *boot.Host) bool { return a.IsValid() && (h.Address == a || h.Address6 == a) })
}

func (r records) HostByPort(s string) (*boot.Host, error) {
	return r.hostBy(tabHostPort, []byte(s), func(h *boot.Host) bool { return h.BoundPort == s })
}

func (r records) Lease(network string, a netip.Addr) (*boot.Lease, error) {
	b := r.get(tabLease, leaseKey(network, a))
	if b == nil {
		return nil, nil
	}
	return decodeLease(network, a, b)
}

func (r records) LeaseByHolder(network, holder string) (*boot.Lease, error) {
	b := r.get(tabHolder, netKey(network, []byte(holder)))
	if b == nil {
		return nil, nil
	}
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return nil, nil
	}
	l, err := r.Lease(network, a)
	if l == nil || err != nil || l.Holder != holder {
		return nil, err
	}
	return l, nil
}

func (r records) Template(id boot.TemplateID) (*boot.Template, error) {
	b := r.get(tabTemplate, be64(uint64(id)))
	if b == nil {
		return nil, nil
	}
	t := new(boot.Template)
	if err := decodeJSON(b, t); err != nil {
		return nil, fmt.Errorf("template %d: %w", id, err)
	}
	return t, nil
}

func (r records) TemplateByName(name string) (*boot.Template, error) {
	b := r.get(tabTemplateName, []byte(name))
	if b == nil {
		return nil, nil
	}
	t, err := r.Template(boot.TemplateID(fromBE64(b)))
	if t == nil || err != nil || t.Name != name {
		return nil, err
	}
	return t, nil
}

func (r records) Image(name string) (*boot.Image, error) {
	b := r.get(tabImage, []byte(name))
	if b == nil {
		return nil, nil
	}
	i := new(boot.Image)
	if err := decodeJSON(b, i); err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	return i, nil
}

func (r records) Counter(c boot.Counter) (uint64, error) {
	return fromBE64(r.get(tabCounter, []byte(c.Key()))), nil
}

func (r records) Secret(name string) ([]byte, error) {
	b := r.get(tabSecret, []byte(name))
	if len(b) == 0 {
		return nil, nil
	}
	return bytes.Clone(b[1:]), nil
}

// readTx is a state with its ranges.
type readTx struct {
	records
	s *Store
}

var _ boot.ReadTx = readTx{}

// list decodes at most n records of a range; it stops at the first error. A range
// reads the disk, so the writer need not wait for it meanwhile: it may hold what
// was committed since the View began.
func list[T any](s *Store, t Table, prefix, after []byte, n int, decode func(k, v []byte) (T, error)) (out []T, err error) {
	if n <= 0 {
		return nil, nil
	}
	s.state.RUnlock()
	defer s.state.RLock()
	verr := s.b.View(func(snap Snapshot) error {
		snap.Range(t, prefix, after, func(k, v []byte) bool {
			var x T
			if x, err = decode(k, v); err != nil {
				err = fmt.Errorf("table %s, key %x: %w", t, k, err)
				return false
			}
			out = append(out, x)
			return len(out) < n
		})
		return err
	})
	return out, verr
}

func jsonRecord[T any](_, v []byte) (*T, error) {
	x := new(T)
	return x, decodeJSON(v, x)
}

func (r readTx) Hosts(after boot.HostID, n int) ([]*boot.Host, error) {
	return list(r.s, tabHost, nil, be64(uint64(after)), n, jsonRecord[boot.Host])
}

func (r readTx) Templates(after boot.TemplateID, n int) ([]*boot.Template, error) {
	return list(r.s, tabTemplate, nil, be64(uint64(after)), n, jsonRecord[boot.Template])
}

func (r readTx) Images(after string, n int) ([]*boot.Image, error) {
	return list(r.s, tabImage, nil, []byte(after), n, jsonRecord[boot.Image])
}

func (r readTx) Inventory(id boot.HostID) (*boot.Inventory, error) {
	l, err := list(r.s, tabInventory, be64(uint64(id)), nil, 1, jsonRecord[boot.Inventory])
	if len(l) == 0 || err != nil {
		return nil, err
	}
	return l[0], nil
}

func (r readTx) Events(after uint64, n int) ([]boot.Event, error) {
	return list(r.s, tabEvent, nil, be64(after), n, func(k, v []byte) (e boot.Event, err error) {
		err = decodeJSON(v, &e)
		e.Seq = binary.BigEndian.Uint64(k)
		return e, err
	})
}

func (r readTx) Leases(network string, after netip.Addr, n int) ([]boot.Lease, error) {
	prefix := netKey(network, nil)
	start := prefix
	if after.IsValid() {
		start = leaseKey(network, after)
	}
	return list(r.s, tabLease, prefix, start, n, func(k, v []byte) (l boot.Lease, err error) {
		a, ok := netip.AddrFromSlice(k[len(prefix):])
		if !ok {
			return l, fmt.Errorf("lease key is damaged")
		}
		p, err := decodeLease(network, a, v)
		if err == nil {
			l = *p
		}
		return l, err
	})
}

// writeTx is one Update: reads see its own writes, and nothing is kept if it
// fails.
type writeTx struct {
	records
	under   func(Table, []byte) []byte
	changes overlay
	events  int
	after   []func()
}

var _ boot.Tx = (*writeTx)(nil)

func newWriteTx(under func(Table, []byte) []byte) *writeTx {
	w := &writeTx{under: under}
	w.records = records{get: w.lookup}
	return w
}

func (w *writeTx) reset() {
	w.changes.reset()
	w.events = 0
	clear(w.after)
	w.after = w.after[:0]
}

func (w *writeTx) lookup(t Table, key []byte) []byte {
	if v, ok := w.changes.get(t, key); ok {
		return v
	}
	return w.under(t, key)
}

func (w *writeTx) After(fn func()) { w.after = append(w.after, fn) }

// put writes; a nil value deletes.
func (w *writeTx) put(t Table, key, value []byte) { w.changes.put(Change{t, key, value}) }

// hostKeys are the index entries of a host, with what each is called when it
// is taken already.
func hostKeys(h *boot.Host) []struct {
	t    Table
	key  []byte
	what string
} {
	type entry = struct {
		t    Table
		key  []byte
		what string
	}
	keys := []entry{{tabHostName, []byte(h.Name), "name " + h.Name}}
	for _, m := range h.MACs {
		keys = append(keys, entry{tabHostMAC, m[:], "MAC " + m.String()})
	}
	if !h.UUID.IsZero() {
		keys = append(keys, entry{tabHostUUID, h.UUID[:], "UUID " + h.UUID.String()})
	}
	if h.Serial != "" {
		keys = append(keys, entry{tabHostSerial, []byte(h.Serial), "serial " + h.Serial})
	}
	if h.DUID != "" {
		keys = append(keys, entry{tabHostDUID, []byte(h.DUID), "DUID " + h.DUID})
	}
	if h.BoundPort != "" {
		keys = append(keys, entry{tabHostPort, []byte(h.BoundPort), "switch port " + h.BoundPort})
	}
	for _, a := range h.Reserved() {
		keys = append(keys, entry{tabHostAddr, a.AsSlice(), "address " + a.String()})
	}
	return keys
}

func (w *writeTx) PutHost(h *boot.Host) error {
	if err := h.Validate(); err != nil {
		return err
	}
	id := be64(uint64(h.ID))
	keys := hostKeys(h)
	for _, k := range keys {
		b := w.lookup(k.t, k.key)
		if b == nil || bytes.Equal(b, id) {
			continue
		}
		other, err := w.Host(boot.HostID(fromBE64(b)))
		if err != nil {
			return err
		}
		if other == nil {
			continue
		}
		for _, ok := range hostKeys(other) {
			if ok.t == k.t && bytes.Equal(ok.key, k.key) {
				return fmt.Errorf("%s %w: it belongs to host %s", k.what, boot.ErrExists, other.Name)
			}
		}
	}
	if err := w.dropKeys(h.ID); err != nil {
		return err
	}
	b, err := encodeJSON(h)
	if err != nil {
		return err
	}
	w.put(tabHost, id, b)
	for _, k := range keys {
		w.put(k.t, k.key, id)
	}
	return nil
}

func (w *writeTx) dropKeys(id boot.HostID) error {
	old, err := w.Host(id)
	if old == nil || err != nil {
		return err
	}
	for _, k := range hostKeys(old) {
		if bytes.Equal(w.lookup(k.t, k.key), be64(uint64(id))) {
			w.put(k.t, k.key, nil)
		}
	}
	return nil
}

func (w *writeTx) DeleteHost(h *boot.Host) error {
	if err := w.dropKeys(h.ID); err != nil {
		return err
	}
	w.put(tabHost, be64(uint64(h.ID)), nil)
	w.put(tabInventory, be64(uint64(h.ID)), nil)
	return nil
}

func (w *writeTx) PutInventory(id boot.HostID, v *boot.Inventory) error {
	b, err := encodeJSON(v)
	if err != nil {
		return err
	}
	w.put(tabInventory, be64(uint64(id)), b)
	return nil
}

func (w *writeTx) PutLease(l boot.Lease) error {
	if !l.Addr.IsValid() || l.Network == "" || l.Holder == "" {
		return fmt.Errorf("lease of %s on %q to %q is incomplete", l.Addr, l.Network, l.Holder)
	}
	if old, err := w.Lease(l.Network, l.Addr); err != nil {
		return err
	} else if old != nil && old.Holder != l.Holder {
		// Whoever held it before no longer leads here.
		if k := netKey(l.Network, []byte(old.Holder)); bytes.Equal(w.lookup(tabHolder, k), l.Addr.AsSlice()) {
			w.put(tabHolder, k, nil)
		}
	}
	w.put(tabLease, leaseKey(l.Network, l.Addr), encodeLease(&l))
	hk := netKey(l.Network, []byte(l.Holder))
	switch cur := w.lookup(tabHolder, hk); {
	case !l.Given():
		// Quarantine is nobody's last address.
		if bytes.Equal(cur, l.Addr.AsSlice()) {
			w.put(tabHolder, hk, nil)
		}
	default:
		w.put(tabHolder, hk, l.Addr.AsSlice())
	}
	return nil
}

func (w *writeTx) PutTemplate(t *boot.Template) error {
	if err := t.Validate(); err != nil {
		return err
	}
	b, err := encodeJSON(t)
	if err != nil {
		return err
	}
	w.put(tabTemplate, be64(uint64(t.ID)), b)
	w.put(tabTemplateName, []byte(t.Name), be64(uint64(t.ID)))
	return nil
}

func (w *writeTx) DropTemplate(name string) error {
	w.put(tabTemplateName, []byte(name), nil)
	return nil
}

func (w *writeTx) PutImage(i *boot.Image) error {
	if err := i.Validate(); err != nil {
		return err
	}
	b, err := encodeJSON(i)
	if err != nil {
		return err
	}
	w.put(tabImage, []byte(i.Name), b)
	return nil
}

func (w *writeTx) DeleteImage(name string) error {
	w.put(tabImage, []byte(name), nil)
	return nil
}

func (w *writeTx) Append(e boot.Event) (uint64, error) {
	n, _ := w.Counter(boot.LastEvent)
	n++
	e.Seq, e.At = n, e.At.UTC()
	b, err := encodeJSON(e)
	if err != nil {
		return 0, err
	}
	w.put(tabCounter, []byte(boot.LastEvent.Key()), be64(n))
	w.put(tabEvent, be64(n), b)
	if n > boot.MaxEvents {
		if _, err := w.DropEvents(n-boot.MaxEvents, 1); err != nil {
			return 0, err
		}
	}
	w.events++
	return n, nil
}

// formerMaxEvents is how many a store kept that did not count the first yet.
const formerMaxEvents = 200_000

func (w *writeTx) DropEvents(upto uint64, n int) (uint64, error) {
	last, _ := w.Counter(boot.LastEvent)
	first, _ := w.Counter(boot.FirstEvent)
	if first == 0 {
		first = 1
		if last > formerMaxEvents {
			first = last - formerMaxEvents // Append may have added the last of them just now
		}
	}
	upto = min(upto, last)
	if n <= 0 || upto < first {
		return first, nil
	}
	for ; n > 0 && first <= upto; n-- {
		w.put(tabEvent, be64(first), nil)
		first++
	}
	w.put(tabCounter, []byte(boot.FirstEvent.Key()), be64(first))
	return first, nil
}

func (w *writeTx) SetCounter(c boot.Counter, n uint64) error {
	if c == (boot.Counter{}) {
		return errors.New("a counter needs a name: boot/counter.go makes them")
	}
	w.put(tabCounter, []byte(c.Key()), be64(n))
	return nil
}

func (w *writeTx) SetSecret(name string, value []byte) error {
	w.put(tabSecret, []byte(name), append([]byte{'b'}, value...))
	return nil
}
