// engine_test.go: what follows a decision, what nobody may wait for, and that a
// store that fails in any place fails the whole.

package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/diagnose"
)

// brittle is a store of which one call fails: the nth of an Update.
type brittle struct {
	boot.Store
	calls, fails int
}

type brittleTx struct {
	boot.Tx
	s *brittle
}

func (s *brittle) Update(ctx context.Context, fn func(boot.Tx) error) error {
	return s.Store.Update(ctx, func(tx boot.Tx) error { return fn(brittleTx{tx, s}) })
}

func (t brittleTx) call(do func() error) error {
	if t.s.calls++; t.s.calls == t.s.fails {
		return fmt.Errorf("call %d: %w", t.s.fails, errSick)
	}
	return do()
}

func (t brittleTx) PutHost(h *boot.Host) error {
	return t.call(func() error { return t.Tx.PutHost(h) })
}
func (t brittleTx) DeleteHost(h *boot.Host) error {
	return t.call(func() error { return t.Tx.DeleteHost(h) })
}
func (t brittleTx) PutInventory(id boot.HostID, v *boot.Inventory) error {
	return t.call(func() error { return t.Tx.PutInventory(id, v) })
}
func (t brittleTx) PutLease(l boot.Lease) error {
	return t.call(func() error { return t.Tx.PutLease(l) })
}
func (t brittleTx) PutTemplate(x *boot.Template) error {
	return t.call(func() error { return t.Tx.PutTemplate(x) })
}
func (t brittleTx) DropTemplate(n string) error {
	return t.call(func() error { return t.Tx.DropTemplate(n) })
}
func (t brittleTx) PutImage(i *boot.Image) error {
	return t.call(func() error { return t.Tx.PutImage(i) })
}
func (t brittleTx) DeleteImage(n string) error {
	return t.call(func() error { return t.Tx.DeleteImage(n) })
}
func (t brittleTx) SetCounter(c boot.Counter, n uint64) error {
	return t.call(func() error { return t.Tx.SetCounter(c, n) })
}
func (t brittleTx) Counter(c boot.Counter) (n uint64, err error) {
	err = t.call(func() (err error) { n, err = t.Tx.Counter(c); return err })
	return n, err
}
func (t brittleTx) Append(e boot.Event) (n uint64, err error) {
	err = t.call(func() (err error) { n, err = t.Tx.Append(e); return err })
	return n, err
}
func (t brittleTx) Host(id boot.HostID) (h *boot.Host, err error) {
	err = t.call(func() (err error) { h, err = t.Tx.Host(id); return err })
	return h, err
}
func looked[K, V any](t brittleTx, get func(K) (V, error), k K) (v V, err error) {
	err = t.call(func() (err error) { v, err = get(k); return err })
	return v, err
}

func (t brittleTx) HostByName(s string) (*boot.Host, error)    { return looked(t, t.Tx.HostByName, s) }
func (t brittleTx) HostByMAC(m boot.MAC) (*boot.Host, error)   { return looked(t, t.Tx.HostByMAC, m) }
func (t brittleTx) HostByUUID(u boot.UUID) (*boot.Host, error) { return looked(t, t.Tx.HostByUUID, u) }
func (t brittleTx) HostBySerial(s string) (*boot.Host, error)  { return looked(t, t.Tx.HostBySerial, s) }
func (t brittleTx) HostByDUID(s string) (*boot.Host, error)    { return looked(t, t.Tx.HostByDUID, s) }
func (t brittleTx) HostByPort(s string) (*boot.Host, error)    { return looked(t, t.Tx.HostByPort, s) }
func (t brittleTx) Image(s string) (*boot.Image, error)        { return looked(t, t.Tx.Image, s) }
func (t brittleTx) HostByAddress(a netip.Addr) (*boot.Host, error) {
	return looked(t, t.Tx.HostByAddress, a)
}
func (t brittleTx) Template(id boot.TemplateID) (*boot.Template, error) {
	return looked(t, t.Tx.Template, id)
}
func (t brittleTx) TemplateByName(s string) (*boot.Template, error) {
	return looked(t, t.Tx.TemplateByName, s)
}
func (t brittleTx) LeaseByHolder(n string, h boot.Holder) (l *boot.Lease, err error) {
	err = t.call(func() (err error) { l, err = t.Tx.LeaseByHolder(n, h); return err })
	return l, err
}
func (t brittleTx) Lease(n string, a netip.Addr) (l *boot.Lease, err error) {
	err = t.call(func() (err error) { l, err = t.Tx.Lease(n, a); return err })
	return l, err
}

// TestEveryCallMayFail: whatever is asked or ordered, there is no call to the store
// whose failure is overlooked, and none that leaves half of it behind.
func TestEveryCallMayFail(t *testing.T) {
	person := boot.Actor{Kind: boot.Person, Name: "ann"}
	do := func(o boot.Order) func(*bench) error {
		return func(b *bench) error { _, err := b.e.Do(b.t.Context(), person, o); return err }
	}
	next := func(change func(*boot.Sighting)) func(*bench) error {
		return func(b *bench) error {
			in := b.sighting(boot.Selecting, 1, netip.MustParseAddr("10.77.0.100"))
			in.Firmware = boot.Firmware{VendorClass: "PXEClient", Arch: 7}
			change(&in)
			_, err := b.e.Next(b.t.Context(), in)
			return err
		}
	}
	mac := boot.MAC{2, 0, 0, 0, 0, 1}
	add := do(boot.AddHost{Host: boot.NewHost{Name: "web1", State: boot.Approved, MACs: []boot.MAC{mac}}})
	addOther := do(boot.AddHost{Host: boot.NewHost{Name: "web2", State: boot.Pending, MACs: []boot.MAC{{2, 0, 0, 0, 0, 2}}}})
	push := do(boot.PushTemplate{Template: boot.Template{Name: "debian", Files: map[string]boot.Blob{"vmlinuz": {}}}})
	image := do(boot.ImportImage{Image: boot.Image{Name: "deb", Files: map[string]boot.Blob{"vmlinuz": {Digest: "d", Size: 1}}}})
	addTwo := do(boot.AddHost{Host: boot.NewHost{Name: "web3", MACs: []boot.MAC{{2, 7}, {2, 8}}}})
	addBooting := do(boot.AddHost{Host: boot.NewHost{Name: "web1", State: boot.Approved, Template: "debian", MACs: []boot.MAC{mac}}})
	renamed, debian, reserved := "renamed", "debian", netip.MustParseAddr("10.77.0.60")
	var script, kernel boot.Decision
	var files string // the path of a boot's files
	installed := func(b *bench) error {
		for _, o := range []boot.Order{
			boot.PushTemplate{Template: boot.Template{Name: "inst", Install: true, Media: []string{"vmlinuz"}, Files: map[string]boot.Blob{"vmlinuz": {}}}},
			boot.AddHost{Host: boot.NewHost{Name: "web1", State: boot.Approved, Template: "inst", MACs: []boot.MAC{mac}}}, boot.Install{Name: "web1"},
		} {
			if err := do(o)(b); err != nil {
				return err
			}
		}
		in := b.sighting(boot.Selecting, 1, netip.MustParseAddr("10.77.0.100"))
		in.Firmware = boot.Firmware{VendorClass: "PXEClient", Arch: 7}
		b.ask(in)
		get := func(path string) boot.Decision {
			q := boot.Sighting{At: b.at, Via: boot.HTTP, Step: boot.Fetch, Source: netip.MustParseAddrPort("10.77.0.100:1024"), Link: boot.Link{Interface: "eth0", Local: ourAddress}, Want: boot.Want{Path: path, Query: boot.Query{Asked: true}}}
			return b.ask(q)
		}
		script = get("boot.ipxe")
		x, ok := script.Reply.(boot.Script)
		if !ok || x.Ref.Template == nil {
			return fmt.Errorf("no script: %+v", script.Reply)
		}
		_, tail, _ := strings.Cut(x.Ref.Machine.BaseURL, "/boot/")
		files = "boot/" + tail
		kernel = get(files + "/vmlinuz")
		if kernel.Spends == "" {
			return fmt.Errorf("no kernel: %+v", kernel.Reply)
		}
		return nil
	}
	for _, c := range []struct {
		what   string
		before []func(*bench) error
		do     func(*bench) error
		least  int // calls
	}{
		{"enrolment", nil, next(func(*boot.Sighting) {}), 5},
		{"a host is added", nil, add, 4},
		{"a pending host is added", nil, addOther, 5},
		{"one is approved", []func(*bench) error{addOther}, do(boot.Approve{Name: "web2"}), 4},
		{"one is removed", []func(*bench) error{addOther}, do(boot.RemoveHost{Name: "web2"}), 3},
		{"a list is added", []func(*bench) error{add}, do(boot.AddHosts{Hosts: []boot.NewHost{
			{Name: "new", State: boot.Approved, UUID: boot.UUID{1}, Serial: "RIG-7", Address: netip.MustParseAddr("10.77.0.50")}, {Name: "web1", MACs: []boot.MAC{mac}}}}), 8},
		{"a host is changed", []func(*bench) error{add, push, addOther}, do(boot.SetHost{Name: "web1", NewName: &renamed, AddMACs: []boot.MAC{{2, 9}}, UUID: &boot.UUID{3}, Serial: &renamed,
			Address: &reserved, Template: &debian, Port: &renamed}), 5},
		{"one is denied", []func(*bench) error{add}, do(boot.Deny{Name: "web1"}), 3},
		{"one boots something else once", []func(*bench) error{add, push}, do(boot.Rescue{Name: "web1", Template: "debian"}), 4},
		{"two are split", []func(*bench) error{addTwo}, do(boot.Split{Name: "web3", New: "web4", MACs: []boot.MAC{{2, 8}}}), 4},
		{"who boots a template asks for an address", []func(*bench) error{push, addBooting}, next(func(*boot.Sighting) {}), 8},
		{"who boots one once asks", []func(*bench) error{push, addBooting, do(boot.Rescue{Name: "web1", Template: "debian"})}, next(func(*boot.Sighting) {}), 8},
		{"who has booted asks again", []func(*bench) error{installed}, next(func(*boot.Sighting) {}), 5},
		{"who is known by its UUID asks", []func(*bench) error{addOther}, next(func(in *boot.Sighting) { in.ID.UUID, in.ID.Serial = boot.UUID{7}, "s7" }), 8},
		{"two are merged", []func(*bench) error{add, addOther}, do(boot.Merge{Name: "web1", Other: "web2"}), 5},
		{"a template is pushed", nil, push, 3},
		{"one is dropped", []func(*bench) error{push}, do(boot.DropTemplate{Name: "debian"}), 2},
		{"an image is imported", nil, image, 2},
		{"one is removed", []func(*bench) error{image}, do(boot.RemoveImage{Name: "deb"}), 2},
		{"a lease is released", []func(*bench) error{next(func(*boot.Sighting) {})}, do(boot.ReleaseLease{Network: "lab", Addr: netip.MustParseAddr("10.77.0.100")}), 2},
		{"a probe finds somebody", nil, func(b *bench) error {
			return b.e.Taken(b.t.Context(), boot.Check{Network: "lab", Addr: netip.MustParseAddr("10.77.0.103")}, boot.MAC{2, 0, 0, 0, 0, 9})
		}, 3},
		{"an event is recorded", nil, func(b *bench) error { return b.e.Record(b.t.Context(), boot.Event{Kind: "note", Text: "x"}) }, 1},
		{"a file of an installation came short", []func(*bench) error{installed}, func(b *bench) error {
			return b.e.Done(b.t.Context(), boot.Sighting{At: b.at, Via: boot.HTTP, Step: boot.Fetch}, kernel, boot.Outcome{Result: boot.CutShort})
		}, 3},
		{"a machine reports what it is", []func(*bench) error{installed}, func(b *bench) error {
			_, err := b.e.Next(b.t.Context(), boot.Sighting{At: b.at, Via: boot.HTTP, Step: boot.Fetch, Source: netip.MustParseAddrPort("10.77.0.100:1024"), Link: boot.Link{Interface: "eth0", Local: ourAddress}, Want: boot.Want{Path: files + "/report"}, Facts: &boot.Inventory{CPU: "x"}})
			return err
		}, 4},
	} {
		for n := 1; ; n++ {
			b := newBench(t)
			b.e.Close() // what it notices would be stored in between, and counted
			s := &brittle{Store: b.s}
			b.e.store = s
			for _, f := range c.before {
				if err := f(b); err != nil {
					t.Fatalf("%s: before: %v", c.what, err)
				}
			}
			before := dump(t, b)
			s.calls, s.fails = 0, n
			err := c.do(b)
			if s.calls < n {
				if err != nil || n <= c.least {
					t.Errorf("%s makes %d calls, want at least %d: %v", c.what, s.calls, c.least, err)
				}
				break
			}
			if !errors.Is(err, errSick) {
				t.Errorf("%s: call %d of the store fails, and the answer is %v", c.what, n, err)
			}
			s.fails = 0
			if after := dump(t, b); after != before {
				t.Errorf("%s: call %d failed, and half of it is there:\n%s\nbefore\n%s", c.what, n, after, before)
			}
		}
	}
}

// dump is all that the store holds, by kinds that the tests above change.
func dump(t *testing.T, b *bench) string {
	t.Helper()
	var out strings.Builder
	if err := b.s.View(t.Context(), func(tx boot.ReadTx) error {
		hs, err := tx.Hosts(0, 100)
		if err != nil {
			return err
		}
		for _, h := range hs {
			k := h.Ticket
			h = h.Clone()
			h.Ticket = nil
			fmt.Fprintf(&out, "%+v %+v\n", *h, k)
		}
		ls, err := tx.Leases("lab", netip.Addr{}, 100)
		if err != nil {
			return err
		}
		ts, err := tx.Templates(0, 100)
		if err != nil {
			return err
		}
		es, err := tx.Events(0, 100)
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%+v\n%d templates\n%+v\n", ls, len(ts), es)
		for _, h := range hs {
			v, err := tx.Inventory(h.ID)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, "host %d has %s\n", h.ID, v)
		}
		for _, c := range []boot.Counter{boot.PendingHosts, boot.AutoHosts, boot.LastHost, boot.LastTemplate} {
			n, err := tx.Counter(c)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, "%s %d\n", c.Key(), n)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// A rehearsal sees what its own answers left, and nothing of it is so afterwards.
func TestRehearse(t *testing.T) {
	b := newBench(t)
	before, books := dump(t, b), b.books()+b.offers()
	in := b.sighting(boot.Selecting, 1, netip.MustParseAddr("10.77.0.100"))
	in.Firmware = boot.Firmware{VendorClass: "PXEClient", Arch: 7}
	runs := 0
	err := b.e.Rehearse(t.Context(), func(decide func(boot.Sighting) (boot.Decision, error)) error {
		runs++
		d, err := decide(in)
		if err != nil || d.Writes.Host == nil || len(d.Writes.Leases) != 1 {
			t.Errorf("first: %+v, %v", d.Writes, err)
		}
		d, err = decide(in)
		if err != nil || d.Writes.Host != nil || d.Host == nil || d.Host.ID == 0 {
			t.Errorf("again, it is a new host: %+v, %v", d.Writes, err)
		}
		// Who asks now is offered another address.
		d, err = decide(b.sighting(boot.Discover, 2, netip.Addr{}))
		if a, _ := d.Reply.(boot.Answer4); err != nil || a.Grant == nil || a.Grant.Addr.String() != "10.77.0.101" {
			t.Errorf("somebody else: %+v, %v", d.Reply, err)
		}
		return nil
	})
	if err != nil || runs == 0 {
		t.Errorf("%d runs, %v", runs, err)
	}
	if after := dump(t, b); after != before || b.books()+b.offers() != books {
		t.Errorf("left behind:\n%s\n%s", after, b.books()+b.offers())
	}
	own := errors.New("its own")
	if err := b.e.Rehearse(t.Context(), func(func(boot.Sighting) (boot.Decision, error)) error { return own }); !errors.Is(err, own) {
		t.Errorf("what a rehearsal fails for: %v", err)
	}
	b.s.refuses.Store(true)
	if err := b.e.Rehearse(t.Context(), func(func(boot.Sighting) (boot.Decision, error)) error { return nil }); err != nil && !errors.Is(err, errSick) {
		t.Errorf("a store that fails: %v", err)
	}
	b.s.refuses.Store(false)
	s := &brittle{Store: b.s, fails: 1}
	b.e.store = s
	if err := b.e.Rehearse(t.Context(), func(decide func(boot.Sighting) (boot.Decision, error)) error { _, err := decide(in); return err }); !errors.Is(err, errSick) {
		t.Errorf("a call that fails: %v", err)
	}
}

// stuck is a store whose writer does not come back.
type stuck struct {
	boot.Store
	free chan struct{}
}

func (s *stuck) Update(ctx context.Context, fn func(boot.Tx) error) error {
	select {
	case <-s.free:
		return s.Store.Update(ctx, fn)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Nothing that follows a decision waits: what finds its queue full is counted.
func TestNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		s := &stuck{b.s, make(chan struct{})}
		b.e.store = s
		notice := func(n int) boot.Decision {
			return boot.Decision{Network: "lab", Host: &boot.Host{}, Reply: boot.Ignore{}, Notices: []boot.Event{{Kind: "note", Text: "x", Once: fmt.Sprint(n)}}}
		}
		p := b.e.Policy()
		for n := range 300 {
			d := notice(n)
			b.e.after(p, b.sighting(boot.Discover, 1, netip.Addr{}), &d)
			synctest.Wait()
		}
		if got := b.e.LostNotices(); got != 300-257 {
			t.Errorf("%d of 300 notices are lost, want all but one in hand and 256 that wait", got)
		}
		if got := b.e.untold.Load(); got != 257 {
			t.Errorf("%d are untold", got)
		}
		close(s.free)
		b.e.Flush()
		if got := strings.Count(dump(t, b), "note"); got != 100 { // as many as it reads
			t.Errorf("%d notices became events", got)
		}
		d := notice(0)
		b.e.after(p, b.sighting(boot.Discover, 1, netip.Addr{}), &d) // told a moment ago
		b.e.Flush()
		lost := b.e.LostNotices()
		for n := range 70 {
			b.e.Rival(boot.Rival{Network: "lab", Server: host(n)}, b.at)
			b.e.Rival(boot.Rival{Network: "lab", Server: host(n)}, b.at) // said twice
		}
		if got := len(b.e.Rivals()); got != 64 || b.e.LostNotices()-lost != 6 {
			t.Errorf("%d servers wait for a reader and %d are lost, want 64 and 6", got, b.e.LostNotices()-lost)
		}
		if r := <-b.e.Rivals(); r.Server != host(0) {
			t.Errorf("first %+v", r)
		}
		b.e.Close()
	})
}

// Addresses are handed out to be probed: what was offered with who has it, and
// what comes next; of a network that does not probe none, and beyond a thousand
// none.
func TestLookAhead(t *testing.T) {
	b := newBench(t)
	n := b.e.Policy().Networks[0]
	drain := func() (out []boot.Check) {
		for {
			select {
			case c := <-b.e.Checks():
				out = append(out, c)
			default:
				return out
			}
		}
	}
	if got := drain(); len(got) != 0 {
		t.Errorf("%v without being asked to probe", got)
	}
	n.Probe = true
	far := n
	far.Name, far.Interface, far.Ranges = "far", "eth1", []boot.Range{{From: netip.MustParseAddr("10.77.0.150"), To: netip.MustParseAddr("10.77.0.150")}}
	if err := b.e.SetPolicy(t.Context(), boot.Policy{Networks: []boot.Network{n, far}}); err != nil {
		t.Fatal(err)
	}
	if got := drain(); len(got) != 5 || got[0] != (boot.Check{Network: "lab", Addr: netip.MustParseAddr("10.77.0.100")}) || got[4] != (boot.Check{Network: "far", Addr: netip.MustParseAddr("10.77.0.150")}) {
		t.Errorf("at first %v", got)
	}
	b.at = b.at.Add(10 * time.Second)
	d := b.ask(b.sighting(boot.Discover, 7, netip.Addr{}))
	if len(d.Holds) != 1 {
		t.Fatalf("%+v", d.Reply)
	}
	got := drain()
	i := slices.IndexFunc(got, func(c boot.Check) bool { return c.Addr == d.Holds[0].Addr })
	if len(got) != 4 || i < 0 || got[i].For != (boot.MAC{2, 0, 0, 0, 0, 7}) || got[i].Network != "lab" {
		t.Errorf("with an offer of %s: %v", d.Holds[0].Addr, got)
	}
	for j, c := range got {
		if j != i && !c.For.IsZero() {
			t.Errorf("%v is for nobody yet", c)
		}
	}
	// A probe that is answered by whom the address was offered to says nothing.
	if err := b.e.Taken(t.Context(), got[i], got[i].For); err != nil || strings.Contains(dump(t, b), "occupied") {
		t.Errorf("%v: %s", err, dump(t, b))
	}
	if err := b.e.Taken(t.Context(), boot.Check{Network: "gone", Addr: got[i].Addr}, boot.MAC{2, 9}); err != nil {
		t.Error(err)
	}
	if err := b.e.Taken(t.Context(), got[i], boot.MAC{2, 9}); err != nil || !strings.Contains(dump(t, b), "occupied") || b.offers() != "" {
		t.Errorf("%v: %s", err, dump(t, b))
	}
	// One that nobody answered is clean, and not asked for again.
	b.at = b.at.Add(10 * time.Second)
	b.e.Clean("lab", []netip.Addr{netip.MustParseAddr("10.77.0.101")})
	b.e.LookAhead()
	if got := drain(); slices.ContainsFunc(got, func(c boot.Check) bool { return c.Addr.String() == "10.77.0.101" }) || len(got) != 3 {
		t.Errorf("after one was clean: %v", got)
	}
	if got := cap(b.e.checks); got != 1024 {
		t.Errorf("%d checks wait at most", got)
	}
	// Who found nothing has the next looked at, too.
	b.at = b.at.Add(10 * time.Second)
	b.e.after(b.e.Policy(), b.sighting(boot.Discover, 8, netip.Addr{}), &boot.Decision{Network: "far", Reply: boot.Ignore{}})
	if got := drain(); len(got) != 1 || got[0].Network != "far" {
		t.Errorf("of another network: %v", got)
	}
	// Who answers on an address that is leased is told of at most, and the lease stands.
	held := netip.MustParseAddr("10.77.0.102")
	if d := b.ask(b.sighting(boot.Selecting, 20, held)); len(d.Writes.Leases) != 1 {
		t.Fatalf("%+v", d)
	}
	books := b.books()
	for _, by := range []boot.MAC{{}, {2, 9}} {
		if err := b.e.Taken(t.Context(), boot.Check{Network: "lab", Addr: held}, by); err != nil || b.books() != books {
			t.Errorf("answered by %s: %v; memory was\n%s and is\n%s", by, err, books, b.books())
		}
	}
}

// A file's end is in the log with how it ended; only an installation's is written.
func TestDone(t *testing.T) {
	b := newBench(t)
	in := boot.Sighting{At: b.at, Via: boot.HTTP, Step: boot.Fetch, ID: boot.Identity{MAC: macOf(1)}, Want: boot.Want{Path: "boot/x"}}
	for _, c := range []struct {
		reply boot.Reply
		o     boot.Outcome
		want  string
	}{
		{boot.File{Ref: boot.Ref{Name: "vmlinuz"}}, boot.Outcome{Result: boot.Complete, Bytes: 5, Took: time.Second}, "vmlinuz complete 5 1s"},
		{boot.File{Ref: boot.Ref{Name: "vmlinuz"}}, boot.Outcome{Result: boot.CutShort, Err: "reset\x1b " + strings.Repeat("x", 200)}, "vmlinuz " + string(boot.CutShort) + ": " + boot.CleanText("reset\x1b "+strings.Repeat("x", 200), 120) + " 0 0s"},
		{boot.Script{Ref: boot.Ref{Kind: boot.RefBuiltin, Name: "hold"}}, boot.Outcome{Result: boot.Complete}, "hold script complete 0 0s"},
		{boot.Script{Ref: boot.Ref{Kind: boot.RefGenerated, Name: "boot.ipxe"}}, boot.Outcome{Result: boot.Complete}, "boot.ipxe complete 0 0s"},
		{boot.Refuse{}, boot.Outcome{Result: boot.Complete}, " complete 0 0s"},
	} {
		if err := b.e.Done(t.Context(), in, boot.Decision{Reply: c.reply, Network: "lab"}, c.o); err != nil {
			t.Fatal(err)
		}
		l := b.e.Log.Machine(macOf(1).String())
		r := l[len(l)-1]
		if got := fmt.Sprintf("%s %s %d %s", r.Got, r.Outcome, r.Bytes, r.Took); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

// What the request log says of a decision.
func TestLogged(t *testing.T) {
	b := newBench(t)
	p := b.e.Policy()
	addr := netip.MustParseAddr
	grant, info := &boot.Grant{Addr: addr("10.77.0.100")}, &boot.BootInfo{File: "http://10.77.0.1/boot/x/snponly.efi"}
	lease := func(s string, valid time.Duration) boot.Grant6 {
		return boot.Grant6{Prefix: netip.MustParsePrefix(s), Valid: valid}
	}
	for n, c := range []struct {
		d    boot.Decision
		want string
	}{
		{boot.Decision{Reply: boot.Answer4{Type: boot.Offer, Grant: grant}}, "offer 10.77.0.100"},
		{boot.Decision{Reply: boot.Answer4{Type: boot.Offer, Boot: info}}, "offer snponly.efi"},
		{boot.Decision{Reply: boot.Answer4{Type: boot.Ack, Grant: grant, Boot: info}}, "ack 10.77.0.100, snponly.efi"},
		{boot.Decision{Reply: boot.Answer6{IAs: []boot.Bound{{Leases: []boot.Grant6{lease("fd77::5/128", time.Hour), lease("fd77::6/128", 0)}}, {Leases: []boot.Grant6{lease("fd88::/56", 1)}}}, Boot: info}}, "reply fd77::5 fd88::/56, snponly.efi"},
		{boot.Decision{Reply: boot.Done{Text: "noted"}}, "done noted"},
		{boot.Decision{Reply: boot.Ignore{}}, "ignore "},
	} {
		in := b.sighting(boot.Discover, byte(10+n), netip.Addr{})
		c.d.Network = "lab"
		b.e.after(p, in, &c.d)
		l := b.e.Log.Machine(in.ID.MAC.String())
		if len(l) != 1 || l[0].Reply+" "+l[0].Got != c.want {
			t.Errorf("%+v, want %s", l, c.want)
		}
	}
	long := b.sighting(boot.Fetch, 30, netip.Addr{})
	long.Via, long.Want.Path = boot.HTTP, strings.Repeat("x", 300)
	b.e.after(p, long, &boot.Decision{Network: "lab", Reply: boot.Refuse{}})
	if l := b.e.Log.Machine(long.ID.MAC.String()); len(l) != 1 || l[0].Path != long.Want.Path[:200] {
		t.Errorf("a long path: %+v", l)
	}
	seq := b.e.Log.Seq()
	// Traffic of another interface, and what Done will tell with its bytes.
	overheard := b.sighting(boot.Discover, 1, netip.Addr{})
	b.e.after(p, overheard, &boot.Decision{Reply: boot.Ignore{}})
	six := overheard
	six.Via = boot.DHCP6
	b.e.after(p, six, &boot.Decision{Reply: boot.Ignore{}})
	b.e.after(p, overheard, &boot.Decision{Network: "lab", Reply: boot.File{}})
	b.e.after(p, overheard, &boot.Decision{Network: "lab", Reply: boot.Script{}})
	if b.e.Log.Seq() != seq {
		t.Error("an entry for what is none")
	}
	file := overheard
	file.Via = boot.HTTP
	b.e.after(p, file, &boot.Decision{Reply: boot.Ignore{}})
	if b.e.Log.Seq() != seq+1 {
		t.Error("a file request from nowhere is in no log")
	}
	// The decision knows better who it was than the packet; without it the packet counts.
	b.e.after(p, file, &boot.Decision{ID: boot.Identity{MAC: macOf(77)}, Network: "lab", Host: &boot.Host{ID: 5, Name: "web5"}, Reply: boot.Refuse{}})
	if l := b.e.Log.Machine(macOf(77).String()); len(l) != 1 || l[0].Host != 5 || l[0].Name != "web5" {
		t.Errorf("%+v", l)
	}
	// Who was heard beside another server is remembered.
	b.e.after(p, overheard, &boot.Decision{Network: "lab", Reply: boot.Ignore{}, Heard: &boot.Heard{Addr: addr("10.77.0.77"), MAC: macOf(9)}, Rival: &boot.Rival{Network: "lab", Server: addr("10.77.0.9")}})
	if got := (&view{m: b.e.mem, now: b.at}).Heard(addr("10.77.0.77")); got != macOf(9) {
		t.Errorf("heard %s", got)
	}
	if got := b.e.mem.rivalOn("lab", netip.IPv4Unspecified(), b.at); got != "10.77.0.9" {
		t.Errorf("beside %q", got)
	}
	b.e.Found(boot.Rival{Network: "lab", Server: addr("10.77.0.8")})
	if got := b.e.mem.rivalOn("lab", netip.IPv4Unspecified(), b.at); got != "10.77.0.8" {
		t.Errorf("found %q", got)
	}
}

// A notice that cannot be stored is in the daemon's own log, and no other is.
func TestNoticeThatIsLost(t *testing.T) {
	b := newBench(t)
	var said strings.Builder
	b.e.log = slog.New(slog.NewTextHandler(&said, nil))
	p := b.e.Policy()
	for i, sick := range []bool{false, true} {
		b.m.sick.Store(sick)
		b.e.after(p, b.sighting(boot.Discover, 1, netip.Addr{}), &boot.Decision{Network: "lab", Reply: boot.Ignore{}, Notices: []boot.Event{{Kind: "note", Text: "x", Once: fmt.Sprint(i)}}})
		b.e.Flush()
		if got := strings.Contains(said.String(), "event was not stored"); got != sick {
			t.Errorf("sick %v: %q", sick, said.String())
		}
	}
}

// What strangers cause is told a hundred times at once and then once in a second, and does
// not have a notice of a host be told anew.
func TestNoticesOfStrangers(t *testing.T) {
	b := newBench(t)
	p := b.e.Policy()
	told := func(d *boot.Decision, kind, once string) {
		in := b.sighting(boot.Discover, 1, netip.Addr{})
		d.Network, d.Reply, d.Notices = "lab", boot.Ignore{}, []boot.Event{{Kind: boot.EventKind(kind), Text: kind, Once: once}}
		b.e.after(p, in, d)
		b.e.Flush()
	}
	host := &boot.Host{ID: 1, Name: "web1"}
	told(&boot.Decision{Host: host}, "host", "clash")
	for i := range 2 * maxNotices {
		told(&boot.Decision{}, "stranger", fmt.Sprint(i))
	}
	told(&boot.Decision{Host: host}, "host", "clash")
	b.at = b.at.Add(3 * time.Second)
	for i := range 10 {
		told(&boot.Decision{}, "stranger", fmt.Sprint("later ", i))
		told(&boot.Decision{}, "stranger", "later 0") // it was told
	}
	told(&boot.Decision{}, "another", "later 0 of it")
	got := map[boot.EventKind]int{}
	if err := b.s.View(t.Context(), func(tx boot.ReadTx) error {
		es, err := tx.Events(0, 1000)
		for _, e := range es {
			got[e.Kind]++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got["host"] != 1 || got["stranger"] != 103 || got["another"] != 1 || len(got) != 3 {
		t.Errorf("%v", got)
	}
	if n := b.e.LostNotices(); n != 2*maxNotices-100+7 {
		t.Errorf("%d are counted as lost", n)
	}
}

// A request that fails is in the daemon's own log; one whose client has gone is not.
func TestNoDecision(t *testing.T) {
	b := newBench(t)
	var said strings.Builder
	b.e.log = slog.New(slog.NewTextHandler(&said, nil))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.e.Next(gone, b.sighting(boot.Discover, 1, netip.Addr{})); !errors.Is(err, context.Canceled) || said.Len() > 0 {
		t.Errorf("%v, and it said %s", err, &said)
	}
	b.m.sick.Store(true)
	if _, err := b.e.Next(t.Context(), b.sighting(boot.Selecting, 1, netip.MustParseAddr("10.77.0.100"))); !errors.Is(err, errSick) || !strings.Contains(said.String(), "no decision") {
		t.Errorf("%v, and it said %s", err, &said)
	}
}

// An event that is no decision's has a time and an author.
func TestRecord(t *testing.T) {
	b := newBench(t)
	then := b.at.Add(-time.Hour)
	for _, ev := range []boot.Event{{Kind: "a"}, {Kind: "b", At: then, By: boot.Actor{Kind: boot.Person, Name: "ann"}}} {
		if err := b.e.Record(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	var es []boot.Event
	if err := b.e.View(t.Context(), func(tx boot.ReadTx) (err error) { es, err = tx.Events(0, 9); return err }); err != nil || len(es) != 2 {
		t.Fatalf("%v %v", es, err)
	}
	if !es[0].At.Equal(b.at) || es[0].By != (boot.Actor{Kind: boot.Program, Name: "muster"}) || !es[1].At.Equal(then) || es[1].By.Name != "ann" {
		t.Errorf("%+v", es)
	}
}

// The pools are filled from the leases that there are, however many, and those of
// ranges that stay are kept with what is on offer.
func TestPoolsAreFilled(t *testing.T) {
	b := newBench(t)
	n := b.e.Policy().Networks[0]
	n.Ranges = []boot.Range{{From: netip.MustParseAddr("10.77.0.100"), To: netip.MustParseAddr("10.77.15.255")}}
	const many = 2500
	if err := b.s.Update(t.Context(), func(tx boot.Tx) error {
		a := n.Ranges[0].From
		for i := range many {
			l := boot.Lease{Network: "lab", Addr: a, Holder: boot.HeldBy(macOf(i)), MAC: macOf(i), Kind: boot.Unknown, Starts: b.at, Expires: b.at.Add(time.Hour)}
			if i%2 == 0 {
				l.Expires = b.at
			}
			if err := tx.PutLease(l); err != nil {
				return err
			}
			a = a.Next()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	set := func() {
		t.Helper()
		if err := b.e.SetPolicy(t.Context(), boot.Policy{Networks: []boot.Network{n}}); err != nil {
			t.Fatal(err)
		}
	}
	set()
	size := 16*256 - 100
	if got := b.e.Pools(); len(got) != 1 || got[0].Size != size || got[0].Leased != many/2 || got[0].Unknown != many/2 {
		t.Errorf("%+v", got)
	}
	d := b.ask(b.sighting(boot.Discover, 1, netip.Addr{}))
	if len(d.Holds) != 1 {
		t.Fatalf("%+v", d.Reply)
	}
	set()
	if got := b.e.Pools(); got[0].Offered != 1 {
		t.Error("a policy with the same ranges forgets what is on offer")
	}
	n.Ranges = slices.Clone(n.Ranges)
	n.Ranges[0].To = netip.MustParseAddr("10.77.15.254")
	set()
	if got := b.e.Pools(); got[0].Size != size-1 || got[0].Offered != 0 || got[0].Leased != many/2 {
		t.Errorf("%+v", got)
	}
}

// A template of this run hides a stored one of its name, every stored one counts
// with its newest version, and who boots which image is asked once.
func TestTemplatesOfPolicy(t *testing.T) {
	b := newBench(t)
	asked := map[string]int{}
	b.e.Images = func(x *boot.Template) ([]string, error) {
		asked[fmt.Sprintf("%s %d", x.Name, x.Version)]++
		if x.Name == "broken" {
			return nil, errSick
		}
		return []string{"image of " + x.Name}, nil
	}
	push := func(name string, files ...string) {
		t.Helper()
		x := boot.Template{Name: name, Files: map[string]boot.Blob{}}
		for _, f := range files {
			x.Files[f] = boot.Blob{Digest: f}
		}
		if _, err := b.e.Do(t.Context(), boot.Actor{}, boot.PushTemplate{Template: x}); err != nil {
			t.Fatal(err)
		}
	}
	push("debian", "one")
	push("debian", "two")
	push("alpine", "one")
	push("broken", "one")
	show := func() string {
		var out []string
		for _, x := range b.e.Policy().Templates {
			out = append(out, fmt.Sprintf("%s %d", x.Name, x.Version))
		}
		slices.Sort(out)
		return strings.Join(out, ", ")
	}
	if got := show(); got != "alpine 1, broken 1, debian 2" {
		t.Errorf("templates %s", got)
	}
	p := *b.e.Policy()
	if p.Images["image of debian"] == nil || p.Images["image of alpine"] == nil || len(p.Images) != 2 {
		t.Errorf("images %v", p.Images)
	}
	if asked["debian 1"] != 1 || asked["debian 2"] != 1 || asked["alpine 1"] != 1 || asked["broken 1"] < 1 {
		t.Errorf("asked %v", asked)
	}
	p.Templates = []*boot.Template{{Name: "debian", Version: 77, ThisRun: true, ID: 1 << 31}, {Name: "ghost", Version: 1}}
	if err := b.e.SetPolicy(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got := show(); got != "alpine 1, broken 1, debian 77" {
		t.Errorf("with one of this run: %s", got)
	}
	if _, err := b.e.Do(t.Context(), boot.Actor{}, boot.DropTemplate{Name: "alpine"}); err != nil {
		t.Fatal(err)
	}
	if got := show(); got != "broken 1, debian 77" {
		t.Errorf("after one was dropped: %s", got)
	}
}

// However many templates there are, the policy has all of them.
func TestManyTemplates(t *testing.T) {
	b := newBench(t)
	const many = 2001
	if err := b.s.Update(t.Context(), func(tx boot.Tx) error {
		for i := range many {
			if err := tx.PutTemplate(&boot.Template{ID: boot.TemplateID(1 + i), Name: fmt.Sprintf("t%d", i), Version: 1}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.e.SetPolicy(t.Context(), *b.e.Policy()); err != nil {
		t.Fatal(err)
	}
	if got := len(b.e.Policy().Templates); got != many {
		t.Errorf("%d of %d templates", got, many)
	}
}

// blind is a store of which one look fails: the nth.
type blind struct {
	boot.Store
	looks, fails int
}

type blindTx struct {
	boot.ReadTx
	s *blind
}

func (s *blind) look() error {
	if s.looks++; s.looks == s.fails {
		return errSick
	}
	return nil
}

func (s *blind) View(ctx context.Context, fn func(boot.ReadTx) error) error {
	if err := s.look(); err != nil {
		return err
	}
	return s.Store.View(ctx, func(tx boot.ReadTx) error { return fn(blindTx{tx, s}) })
}

func (t blindTx) Leases(network string, after netip.Addr, n int) ([]boot.Lease, error) {
	if err := t.s.look(); err != nil {
		return nil, err
	}
	return t.ReadTx.Leases(network, after, n)
}

func (t blindTx) Templates(after boot.TemplateID, n int) ([]*boot.Template, error) {
	if err := t.s.look(); err != nil {
		return nil, err
	}
	return t.ReadTx.Templates(after, n)
}

func (t blindTx) TemplateByName(name string) (*boot.Template, error) {
	if err := t.s.look(); err != nil {
		return nil, err
	}
	return t.ReadTx.TemplateByName(name)
}

func (t blindTx) Events(after uint64, n int) ([]boot.Event, error) {
	if err := t.s.look(); err != nil {
		return nil, err
	}
	return t.ReadTx.Events(after, n)
}

func (t blindTx) Hosts(after boot.HostID, n int) ([]*boot.Host, error) {
	if err := t.s.look(); err != nil {
		return nil, err
	}
	return t.ReadTx.Hosts(after, n)
}

func (t blindTx) HostByMAC(m boot.MAC) (*boot.Host, error) {
	if err := t.s.look(); err != nil {
		return nil, err
	}
	return t.ReadTx.HostByMAC(m)
}

func (t blindTx) Counter(c boot.Counter) (uint64, error) {
	if err := t.s.look(); err != nil {
		return 0, err
	}
	return t.ReadTx.Counter(c)
}

// A diagnosis for which the store cannot be read is none.
func TestDiagnosisThatFails(t *testing.T) {
	b := newBench(t)
	b.e.Close() // what it notices would be looked up in between
	b.e.Log.Add(boot.Request{At: b.at.Add(-time.Minute), MAC: macOf(1), Network: "lab", Via: boot.DHCP4, Step: boot.Discover, Class: boot.PXE, Reply: "offer"})
	for what, c := range map[string]struct {
		do    func() error
		least int
	}{
		"of one":  {func() error { _, err := b.e.Diagnose(t.Context(), nil, macOf(1).String()); return err }, 3},
		"of all":  {func() error { _, err := b.e.DiagnoseAll(t.Context(), true); return err }, 5},
		"a sweep": {func() error { return b.e.Sweep(t.Context(), b.at.Add(-time.Hour), b.at) }, 5},
	} {
		for look := 1; ; look++ {
			s := &blind{Store: b.s, fails: look}
			b.e.store = s
			err := c.do()
			if s.looks < look {
				if err != nil || look <= c.least {
					t.Errorf("%s: %d looks, want %d at least: %v", what, s.looks, c.least, err)
				}
				break
			}
			if !errors.Is(err, errSick) {
				t.Errorf("%s: look %d fails: %v", what, look, err)
			}
		}
	}
}

// A policy that cannot be had whole is not had at all: the one before stays.
func TestPolicyThatFails(t *testing.T) {
	b := newBench(t)
	if _, err := b.e.Do(t.Context(), boot.Actor{}, boot.PushTemplate{Template: boot.Template{Name: "debian", Files: map[string]boot.Blob{"vmlinuz": {}}}}); err != nil {
		t.Fatal(err)
	}
	before := b.e.Policy()
	p := *before
	n := p.Networks[0]
	n.Name, n.Interface = "yard", "eth1"
	p.Networks = []boot.Network{p.Networks[0], n}
	for look := 1; ; look++ {
		s := &blind{Store: b.s, fails: look}
		b.e.store = s
		err := b.e.SetPolicy(t.Context(), p)
		if s.looks < look {
			if err != nil || look <= 5 || b.e.Policy().Network("yard") == nil {
				t.Errorf("%d looks, want five at least: %v", s.looks, err)
			}
			return
		}
		if !errors.Is(err, errSick) || b.e.Policy() != before {
			t.Errorf("look %d fails: %v", look, err)
		}
	}
}

// TestSweep: machines that fell silent are looked at 45 seconds after, and again
// when a system should have spoken; what stopped them is told once.
func TestSweep(t *testing.T) {
	b := newBench(t)
	seen := b.at
	for mac := range 3 {
		b.e.Log.Add(boot.Request{At: seen, MAC: macOf(mac), Network: "lab", Via: boot.DHCP4, Step: boot.Discover, Class: boot.PXE, Reply: "offer", Got: "10.77.0.100, snponly.efi"})
	}
	if _, err := b.e.Do(t.Context(), boot.Actor{}, boot.AddHost{Host: boot.NewHost{Name: "web0", State: boot.Approved, MACs: []boot.MAC{macOf(0)}}}); err != nil {
		t.Fatal(err)
	}
	stopped := func() (out []string) {
		if err := b.e.View(t.Context(), func(tx boot.ReadTx) error {
			es, err := tx.Events(0, 100)
			for _, ev := range es {
				if ev.Kind == boot.BootStopped {
					out = append(out, fmt.Sprintf("%s %s %s %s", ev.MAC, ev.Name, ev.MACs, ev.Reasons[0].Code))
				}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(out)
		return out
	}
	sweep := func(from, to time.Duration) {
		t.Helper()
		b.at = seen.Add(to)
		if err := b.e.Sweep(t.Context(), seen.Add(from), b.at); err != nil {
			t.Fatal(err)
		}
	}
	sweep(0, 45*time.Second-1)
	if got := stopped(); len(got) != 0 {
		t.Errorf("before they can have given up: %v", got)
	}
	sweep(45*time.Second-1, 45*time.Second)
	want := []string{fmt.Sprintf("%s web0 [%[1]s] %s", macOf(0), diagnose.NoRequest)}
	got := stopped()
	if len(got) != 2 || got[0] != want[0] || !strings.HasSuffix(got[1], "  [] "+diagnose.NoRequest) {
		t.Errorf("%v, want the host and one stranger", got)
	}
	sweep(45*time.Second, 46*time.Second)
	if got := stopped(); len(got) != 2 {
		t.Errorf("said twice: %v", got)
	}
	late := diagnose.QuietTime + 30*time.Second
	sweep(late-1-time.Second, late-1)
	if got := stopped(); len(got) != 2 {
		t.Errorf("before a system should have spoken: %v", got)
	}
	b.e.mem.notices = recent[string, struct{}]{max: 10}
	sweep(late-1, late)
	if got := stopped(); len(got) != 4 {
		t.Errorf("when it should have: %v", got)
	}
	// Too many at once are counted, and not looked at.
	for mac := range 510 {
		b.e.Log.Add(boot.Request{At: seen.Add(time.Hour), MAC: macOf(1000 + mac), Network: "lab", Via: boot.DHCP4, Step: boot.Discover, Class: boot.PXE, Reply: "offer"})
	}
	sweep(time.Hour+44*time.Second, time.Hour+46*time.Second)
	if got := b.e.Unlooked(); got != 10 {
		t.Errorf("%d machines were not looked at, want 10", got)
	}
}

// TestDiagnoseAll: every host, and strangers of the last hour, with when they were
// seen last; who has no finding is left out.
func TestDiagnoseAll(t *testing.T) {
	b := newBench(t)
	now := b.at
	stop := func(mac int, ago time.Duration) {
		b.e.Log.Add(boot.Request{At: now.Add(-ago), MAC: macOf(mac), Network: "lab", Via: boot.DHCP4, Step: boot.Discover, Class: boot.PXE, Reply: "offer", Got: "10.77.0.100, snponly.efi"})
	}
	for i, h := range []boot.NewHost{{Name: "two", State: boot.Approved, MACs: []boot.MAC{macOf(1), macOf(2)}}, {Name: "old", State: boot.Approved, MACs: []boot.MAC{macOf(3)}}, {Name: "new", State: boot.Approved, MACs: []boot.MAC{macOf(4)}}} {
		if _, err := b.e.Do(t.Context(), boot.Actor{}, boot.AddHost{Host: h}); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := b.s.Update(t.Context(), func(tx boot.Tx) error { // one that is well
		return tx.PutHost(&boot.Host{ID: 50, Name: "well", State: boot.Approved, MACs: []boot.MAC{macOf(8)}, Boots: 1, Stage: "running", Booted: now.Add(-time.Hour)})
	}); err != nil {
		t.Fatal(err)
	}
	b.e.Log.Add(boot.Request{At: now.Add(-time.Hour), MAC: macOf(8), Host: 50, Boot: 1, Network: "lab", Via: boot.HTTP, Step: boot.Fetch, Path: "boot/x/report", Reply: "done", Got: "noted: running"})
	stop(6, 61*time.Minute) // a stranger of too long ago
	stop(3, 3*time.Hour)
	stop(5, 59*time.Minute)
	stop(2, 12*time.Minute)
	stop(1, 10*time.Minute)
	all, err := b.e.DiagnoseAll(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range all {
		ago := "never"
		if !s.LastSeen.IsZero() {
			ago = now.Sub(s.LastSeen).String()
		}
		got = append(got, fmt.Sprintf("%s|%s|%s|%s", s.Name, s.Who, s.Found[0].Code, ago))
	}
	want := []string{"two|two|no-request|10m0s", "old|old|no-request|3h0m0s", "new|new|never-seen|never", "|" + macOf(5).String() + "|no-request|59m0s"}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if s := all[0].Found[0].Remedy.Text; !strings.Contains(s, macOf(1).String()) {
		t.Errorf("of a host by its name: %s", s)
	}
	var two *boot.Host
	if err := b.e.View(t.Context(), func(tx boot.ReadTx) (err error) { two, err = tx.HostByName("two"); return err }); err != nil {
		t.Fatal(err)
	}
	if found, err := b.e.Diagnose(t.Context(), two, macOf(2).String()); err != nil || len(found) == 0 || !strings.Contains(found[0].Remedy.Text, macOf(2).String()) {
		t.Errorf("of a host by one of its MACs: %+v, %v", found, err)
	}
	found, err := b.e.Diagnose(t.Context(), nil, macOf(6).String())
	if err != nil || len(found) != 1 {
		t.Errorf("by its MAC: %v %v", found, err)
	}
	if found, err := b.e.Diagnose(t.Context(), nil, "10.9.9.9"); err != nil || len(found) != 0 {
		t.Errorf("somebody who never asked: %v %v", found, err)
	}
}

// A storm of strangers costs a look at a thousand of them, those that asked last.
func TestDiagnoseAllIsBounded(t *testing.T) {
	b := newBench(t)
	for i := range 1002 {
		b.e.Log.Add(boot.Request{At: b.at.Add(time.Duration(i-2000) * time.Second), MAC: macOf(i), Network: "lab", Via: boot.DHCP4, Step: boot.Discover, Class: boot.PXE, Reply: "offer"})
	}
	all, err := b.e.DiagnoseAll(t.Context(), true)
	if err != nil || len(all) != 1000 || all[0].Who != macOf(1001).String() || all[999].Who != macOf(2).String() {
		t.Errorf("%d found, %v", len(all), err)
	}
}

// Who may boot is known by a lease, by its machine where the lease is older than the
// host, and by what was overheard beside another server.
func TestAdmitted(t *testing.T) {
	b := newBench(t)
	p := *b.e.Policy()
	beside := p.Networks[0]
	beside.Name, beside.Mode, beside.Subnet, beside.Ranges = "beside", boot.Proxy, netip.MustParsePrefix("10.78.0.0/24"), nil
	p.Networks = append(p.Networks, beside)
	if err := b.e.SetPolicy(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	macOf := func(n byte) boot.MAC { return boot.MAC{2, 0, 0, 0, 0, n} }
	if err := b.s.Update(t.Context(), func(tx boot.Tx) error {
		for id, state := range map[boot.HostID]boot.State{1: boot.Approved, 2: boot.Pending, 3: boot.Denied} {
			if err := tx.PutHost(&boot.Host{ID: id, Name: fmt.Sprint(id), State: state, MACs: []boot.MAC{macOf(byte(id))}}); err != nil {
				return err
			}
		}
		for _, l := range []struct {
			at   string
			mac  byte
			host boot.HostID
			kind boot.LeaseKind
			ends time.Duration
		}{
			{"10.77.0.100", 1, 1, boot.Dynamic, time.Hour}, {"10.77.0.101", 1, 0, boot.Unknown, time.Hour}, {"10.77.0.102", 1, 1, boot.Declined, time.Hour}, {"10.77.0.103", 1, 1, boot.Dynamic, 0},
			{"10.77.0.110", 2, 2, boot.Unknown, time.Hour}, {"10.77.0.111", 3, 3, boot.Reserved, time.Hour}, {"10.77.0.112", 9, 0, boot.Unknown, time.Hour}, {"10.77.0.113", 9, 1, boot.Reserved, time.Hour},
		} {
			if err := tx.PutLease(boot.Lease{Network: "lab", Addr: netip.MustParseAddr(l.at), Holder: boot.HeldBy(macOf(l.mac)), MAC: macOf(l.mac), Host: l.host, Kind: l.kind, Starts: b.at.Add(-time.Hour), Expires: b.at.Add(l.ends)}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for a, m := range map[string]byte{"10.77.0.120": 1, "10.78.0.1": 1, "10.78.0.2": 2, "10.78.0.3": 9} {
		b.e.mem.hear(netip.MustParseAddr(a), macOf(m), b.at)
	}
	for a, want := range map[string]bool{
		"10.77.0.100": true, "::ffff:10.77.0.100": true, "10.77.0.101": true, "10.77.0.102": false, "10.77.0.103": false,
		"10.77.0.110": false, "10.77.0.111": false, "10.77.0.112": false, "10.77.0.113": true,
		"10.77.0.120": false, "10.77.0.121": false, "10.78.0.1": true, "10.78.0.2": false, "10.78.0.3": false, "10.78.0.4": false, "10.79.0.1": false,
	} {
		if got := b.e.Admitted(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	for n, want := range map[byte]bool{1: true, 2: false, 3: false, 9: false} {
		if got := b.e.AdmittedMAC(macOf(n)); got != want {
			t.Errorf("machine %d: %v", n, got)
		}
	}
}
