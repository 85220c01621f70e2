// store.go: the storage contract. Package store and its folders implement it,
// store/storetest judges every implementation.

package boot

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// MaxEvents is the most events that a store ever keeps. The configuration may choose
// fewer, or an age: see Tx.DropEvents.
const MaxEvents = 1_000_000

// MaxAudit is the most events that the audit trail keeps, beside and apart from the
// others.
const MaxAudit = 100_000

// Store keeps hosts, leases, templates and events.
//
//  1. A function given to View or Update may run more than once, and only its
//     last run counts. Outside its transaction it may only set variables, each
//     run anew, and it never calls the store. An effect on memory that must
//     happen once is given to Tx.After.
//  2. When Update returns nil, everything it wrote is durable and visible to
//     every later View. When it returns an error, none of it is.
//  3. Functions given to Update see each other's writes one after another, as
//     if they ran alone. One that fails undoes only itself.
//  4. Uniqueness is a key, never a scan: two hosts cannot hold one name, MAC,
//     UUID, serial, DUID, switch port or reserved address (ErrExists). An index entry is
//     believed only when the record it points to agrees. One of a host whose record is
//     gone is ErrLost: the store was damaged, and that machine is no stranger.
//  5. Times are UTC. Values handed out belong to the caller.
//  6. Events have numbers without gaps. They stay until DropEvents removes the
//     oldest; beyond MaxEvents the store removes the oldest by itself. Those that
//     decide are in the audit trail too, which nothing else pushes out.
//  7. The schema has a version; an older program refuses a newer file.
//  8. A function whose context has ended before it is run is not run.
type Store interface {
	View(ctx context.Context, fn func(ReadTx) error) error
	Update(ctx context.Context, fn func(Tx) error) error
	// Changed returns a channel that is closed after the next commit that
	// appends an event. Take it before reading, then wait on it.
	Changed() <-chan struct{}
	Close() error
}

// Reader looks up single records. A nil record with a nil error means there is
// none; an error means that the store failed.
type Reader interface {
	Host(HostID) (*Host, error)
	HostByName(string) (*Host, error)
	HostByMAC(MAC) (*Host, error)
	HostByUUID(UUID) (*Host, error)
	HostBySerial(string) (*Host, error)
	HostByDUID(string) (*Host, error)
	HostByAddress(netip.Addr) (*Host, error)
	HostByPort(string) (*Host, error) // that a person bound to a switch port
	Lease(network string, addr netip.Addr) (*Lease, error)
	LeaseByHolder(network string, holder Holder) (*Lease, error)
	Template(TemplateID) (*Template, error)
	TemplateByName(string) (*Template, error) // the version in force: the newest, if none is pinned
	NewestTemplate(name string) (*Template, error)
	Image(name string) (*Image, error)
	Counter(Counter) (uint64, error)
	Secret(name string) ([]byte, error)
	Values(Scope) (*Values, error)
	User(name string) (*User, error)
	Token(digest string) (*APIToken, error)
	TokenByName(string) (*APIToken, error)
}

// ReadTx adds ordered ranges. Each returns at most n records after a position,
// so that no read transaction is long: the zero position is the beginning, and
// fewer than n records mean the end.
type ReadTx interface {
	Reader
	Hosts(after HostID, n int) ([]*Host, error)
	// SiftHosts looks at no more than n hosts after one, and returns those whose record may
	// be meant: the JSON of a Host, valid until may returns. nil means all. The ID is that of
	// the last one looked at; 0 is the end.
	SiftHosts(after HostID, n int, may func(record []byte) bool) ([]*Host, HostID, error)
	HostCount() int
	Leases(network string, after netip.Addr, n int) ([]Lease, error)
	Events(after uint64, n int) ([]Event, error)
	Audit(after uint64, n int) ([]Event, error) // by their number in the trail
	Templates(after TemplateID, n int) ([]*Template, error)
	Images(after string, n int) ([]*Image, error)
	AllValues(after Scope, n int) ([]*Values, error)
	Users(after string, n int) ([]*User, error)
	APITokens(after string, n int) ([]*APIToken, error) // by their digests
	Inventory(HostID) (*Inventory, error)               // nil if it never reported one
}

// Tx adds writes to point look-ups. There are no ranges inside Update.
type Tx interface {
	Reader
	PutHost(*Host) error // sets its Revision, one more than that of the record before; with DeleteHost it keeps the counts of NamedBy
	DeleteHost(*Host) error
	PutInventory(HostID, *Inventory) error // gone with its host
	PutLease(Lease) error
	PutTemplate(*Template) error
	DropTemplate(name string) error // forgets the name; versions stay for what is pinned to them
	PutImage(*Image) error
	DeleteImage(name string) error
	PutValues(*Values) error // sets its Revision
	DeleteValues(*Values) error
	PutUser(*User) error // sets its Revision
	DeleteUser(*User) error
	PutToken(*APIToken) error
	DeleteToken(*APIToken) error
	Append(Event) (seq uint64, err error)
	// DropEvents removes the oldest events up to a number, at most n of them. It
	// returns the number of the oldest event left; if none is, that of the next one.
	DropEvents(upto uint64, n int) (first uint64, err error)
	SetCounter(Counter, uint64) error
	SetSecret(name string, value []byte) error // nil removes it
	// After has fn called once if this run of the Update's function counts, and
	// never if the run fails or is thrown away. Several are called in the order in
	// which they were given. They are called after the run has returned nil and
	// before its Update returns. They are also called before any later Update's
	// function runs, which therefore sees in memory what it sees in the store. The
	// commit may still fail afterwards: then the caller of Update must undo what fn
	// did. fn must be short, and must not call the store.
	After(fn func())
}

// Errors of a Store.
var (
	ErrExists   = errors.New("already exists")
	ErrClosed   = errors.New("store is closed")
	ErrTooNew   = errors.New("store was written by a newer version")
	ErrInUse    = errors.New("store is in use by another process")
	ErrLost     = errors.New("its record was lost with a damaged part of the store (muster store check says more)")
	ErrNotFound = errors.New("not found")
)

// View is what Decide may look at: the store by point look-ups, and the engine's
// memory. Memory gives hints only; where the two differ, the store is right.
type View interface {
	Reader
	// Candidates are addresses worth trying, best first. probing says that there are
	// free ones which must be probed before they are offered.
	Candidates(n *Network, holder Holder, known bool) (addrs []netip.Addr, probing bool)
	Offered(network string, a netip.Addr, known bool) (h Hold, firm bool) // who was offered this address and has not answered yet; firm if it may not be given to another
	Ration(n *Network) Ration                                             // what a network has left for machines that are not admitted
	MayEnroll(link string) bool                                           // whether a link may have one more new host now
	Opening(key string) (o Opening, ok bool)                              // what a client said in the first packet of the exchange that it is in
	Heard(a netip.Addr) MAC                                               // whose DHCP exchange with another server gave this address
	Used(Use) []netip.Addr                                                // from where a boot path was used, the first first
	LastSeen(m MAC) (at time.Time, sure bool)                             // when this MAC of a host last asked for anything; not sure: at is the start of the memory, which cannot know
}

// EnrollRate is how many new hosts a second one link may have.
const EnrollRate = 20

// Ration says why a machine that is not admitted gets no new lease.
type Ration struct {
	Limit int  // most addresses that such machines may have together; 0 is all
	Full  bool // they have as many
	Fast  bool // they ask for more new leases a second than the network's rate
}
