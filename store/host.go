// host.go: hosts, the lookups that find one, and inventories.

package store

import (
	"net/netip"

	"github.com/musterboot/muster/boot"
)

type hostLookup = lookup[boot.HostID, *boot.Host]

var (
	hostByName = &hostLookup{table: "host.name", sole: called("name"), keys: func(keys [][]byte, h *boot.Host) [][]byte { return text(keys, h.Name) }}
	hostByMAC  = &hostLookup{table: "host.mac",
		sole: func(key []byte) string { return "MAC " + boot.MAC(key).String() },
		keys: func(keys [][]byte, h *boot.Host) [][]byte {
			for _, m := range h.MACs {
				keys = append(keys, m[:])
			}
			return keys
		}}
	hostByUUID = &hostLookup{table: "host.uuid",
		sole: func(key []byte) string { return "UUID " + boot.UUID(key).String() },
		keys: func(keys [][]byte, h *boot.Host) [][]byte {
			if h.UUID.IsZero() {
				return keys
			}
			u := h.UUID
			return append(keys, u[:])
		}}
	hostBySerial = &hostLookup{table: "host.serial", sole: called("serial"), keys: func(keys [][]byte, h *boot.Host) [][]byte { return text(keys, h.Serial) }}
	hostByDUID   = &hostLookup{table: "host.duid", sole: called("DUID"), keys: func(keys [][]byte, h *boot.Host) [][]byte { return text(keys, h.DUID) }}
	hostByPort   = &hostLookup{table: "host.port", sole: called("switch port"), keys: func(keys [][]byte, h *boot.Host) [][]byte { return text(keys, h.BoundPort) }}
	hostByAddr   = &hostLookup{table: "host.addr",
		sole: func(key []byte) string {
			a, _ := netip.AddrFromSlice(key)
			return "address " + a.String()
		},
		keys: func(keys [][]byte, h *boot.Host) [][]byte {
			for _, a := range h.Reserved() {
				keys = append(keys, a.AsSlice())
			}
			return keys
		}}
)

var hosts = declare(kind[boot.HostID, *boot.Host]{
	what: "host", table: "host",
	key:      numbered[boot.HostID](),
	codec:    asJSON[boot.HostID, boot.Host](),
	check:    (*boot.Host).Validate,
	title:    func(h *boot.Host) string { return h.Name },
	revision: func(h *boot.Host) *uint64 { return &h.Revision },
	lookups:  []*hostLookup{hostByName, hostByMAC, hostByUUID, hostBySerial, hostByDUID, hostByPort, hostByAddr},
	tallies:  hostTallies,
})

// hostTallies are what a host counts in: so a limit is looked at, and a template in use
// refused to be dropped, without reading all hosts.
func hostTallies(h *boot.Host) (out []boot.Counter) {
	for _, t := range h.Templates() {
		out = append(out, boot.NamedBy(t))
	}
	if h.State == boot.Pending {
		out = append(out, boot.PendingHosts)
	}
	if h.Auto {
		out = append(out, boot.AutoHosts)
	}
	return out
}

func (r records) Host(id boot.HostID) (*boot.Host, error) {
	h, _, err := hosts.get(r, id)
	return h, err
}

func (r records) hostBy(l *hostLookup, key []byte) (*boot.Host, error) {
	h, _, err := hosts.by(r, l, key)
	return h, err
}

func (r records) HostByName(s string) (*boot.Host, error)    { return r.hostBy(hostByName, []byte(s)) }
func (r records) HostByMAC(m boot.MAC) (*boot.Host, error)   { return r.hostBy(hostByMAC, m[:]) }
func (r records) HostByUUID(u boot.UUID) (*boot.Host, error) { return r.hostBy(hostByUUID, u[:]) }
func (r records) HostBySerial(s string) (*boot.Host, error)  { return r.hostBy(hostBySerial, []byte(s)) }
func (r records) HostByDUID(s string) (*boot.Host, error)    { return r.hostBy(hostByDUID, []byte(s)) }
func (r records) HostByPort(s string) (*boot.Host, error)    { return r.hostBy(hostByPort, []byte(s)) }
func (r records) HostByAddress(a netip.Addr) (*boot.Host, error) {
	return r.hostBy(hostByAddr, a.AsSlice())
}

func (r *readTx) Hosts(after boot.HostID, n int) ([]*boot.Host, error) {
	return hosts.list(r.s, nil, hosts.key.to(after), n)
}

func (r *readTx) SiftHosts(after boot.HostID, n int, may func([]byte) bool) ([]*boot.Host, boot.HostID, error) {
	hs, last, err := hosts.sift(r.s, nil, hosts.key.to(after), n, may)
	id, _ := hosts.key.from(last)
	return hs, id, err
}

// HostCount is how many hosts there are, without reading them.
func (r *readTx) HostCount() int { return r.s.tables[hosts.table].n }

func (w *writeTx) PutHost(h *boot.Host) error { return hosts.put(w, h.ID, h) }

func (w *writeTx) DeleteHost(h *boot.Host) error {
	if err := hosts.delete(w, h.ID); err != nil {
		return err
	}
	return inventories.delete(w, h.ID)
}

// Inventories are read one at a time, by people.
var inventories = declare(kind[boot.HostID, *boot.Inventory]{
	what: "inventory of host", table: "inventory", onDisk: true,
	key:   numbered[boot.HostID](),
	codec: asJSON[boot.HostID, boot.Inventory](),
})

func (r *readTx) Inventory(id boot.HostID) (*boot.Inventory, error) {
	l, err := inventories.list(r.s, inventories.key.to(id), nil, 1)
	if len(l) == 0 || err != nil {
		return nil, err
	}
	return l[0], nil
}

func (w *writeTx) PutInventory(id boot.HostID, v *boot.Inventory) error {
	return inventories.put(w, id, v)
}
