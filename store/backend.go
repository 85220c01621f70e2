// backend.go: what a medium must do.

package store

// Table is one ordered set of keys.
type Table string

// The tables; a backend makes them all.
const (
	tabHost         Table = "host"
	tabHostName     Table = "host.name"
	tabHostMAC      Table = "host.mac"
	tabHostUUID     Table = "host.uuid"
	tabHostSerial   Table = "host.serial"
	tabHostDUID     Table = "host.duid"
	tabHostAddr     Table = "host.addr"
	tabHostPort     Table = "host.port"
	tabLease        Table = "lease"
	tabHolder       Table = "holder"
	tabTemplate     Table = "template"
	tabTemplateName Table = "template.name"
	tabImage        Table = "image"
	tabInventory    Table = "inventory"
	tabEvent        Table = "event"
	tabCounter      Table = "counter"
	tabSecret       Table = "secret"
	tabMeta         Table = "meta"
)

// onDisk reports a table that grows with time or is seldom read: it is not kept
// in memory, and Update cannot look into it.
func (t Table) onDisk() bool { return t == tabEvent || t == tabInventory }

// Tables lists every table a backend must have.
func Tables() []Table {
	return []Table{tabHost, tabHostName, tabHostMAC, tabHostUUID, tabHostSerial, tabHostDUID, tabHostAddr, tabHostPort,
		tabLease, tabHolder, tabTemplate, tabTemplateName, tabImage, tabInventory, tabEvent, tabCounter, tabSecret, tabMeta}
}

// Backend is a medium. View may run concurrently with itself and with Commit;
// Commit is called by one goroutine at a time.
type Backend interface {
	// View runs fn on one consistent snapshot, which holds everything that a
	// Commit which returned has written. Slices handed out are valid only
	// inside fn and must not be changed.
	View(fn func(Snapshot) error) error
	// Commit makes all changes durable, or none, before it returns.
	Commit([]Change) error
	Close() error
}

// Snapshot reads tables in order. Single keys are the Store's: it keeps them in
// memory.
type Snapshot interface {
	// Range calls fn for each key above after that begins with prefix, in
	// order, until fn returns false.
	Range(t Table, prefix, after []byte, fn func(k, v []byte) bool)
}

// Change puts a value, or with a nil Value deletes the key.
type Change struct {
	Table Table
	Key   []byte
	Value []byte
}
