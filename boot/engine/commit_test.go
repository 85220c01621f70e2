// commit_test.go: memory runs ahead of the disk, and comes back where the disk
// fails.

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store"
	"github.com/musterboot/muster/store/mem"
)

var errSick = errors.New("the disk is sick")

// sickly is a medium that a test makes fail.
type sickly struct {
	*mem.Backend
	sick atomic.Bool
}

func (b *sickly) Commit(txs [][]store.Change) (int, error) {
	if b.sick.Load() {
		return 0, errSick
	}
	return b.Backend.Commit(txs)
}

// refusing is a store that throws away what it ran.
type refusing struct {
	boot.Store
	refuses atomic.Bool
}

func (s *refusing) Update(ctx context.Context, fn func(boot.Tx) error) error {
	if !s.refuses.Load() {
		return s.Store.Update(ctx, fn)
	}
	return s.Store.Update(ctx, func(tx boot.Tx) error { return errors.Join(fn(tx), errSick) })
}

// bench is an engine on a medium that may fail, with one network of four
// addresses.
type bench struct {
	t  *testing.T
	e  *Engine
	s  *refusing
	m  *sickly
	at time.Time
}

var ourAddress = netip.MustParseAddr("10.77.0.1")

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, m: &sickly{Backend: mem.NewBackend()}, at: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)}
	s, err := store.New(b.m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	b.s = &refusing{Store: s}
	b.e = New(b.s, NewRequestLog(nil), slog.New(slog.NewTextHandler(io.Discard, nil)))
	t.Cleanup(b.e.Close)
	b.e.Now = func() time.Time { return b.at }
	n := boot.Network{Name: "lab", Interface: "eth0", Mode: boot.Full, Server: ourAddress, Subnet: netip.MustParsePrefix("10.77.0.0/24"), Lease: time.Hour,
		NewLeases: 5, UnknownShare: 50, Ranges: []boot.Range{{From: netip.MustParseAddr("10.77.0.100"), To: netip.MustParseAddr("10.77.0.103")}}}
	if err := b.e.SetPolicy(t.Context(), boot.Policy{Networks: []boot.Network{n}, Enroll: boot.Enroll{Policy: boot.EnrollApprove}, Key: boot.Key{9},
		Loaders: map[boot.Platform]string{boot.X64UEFI: "snponly.efi"}}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) sighting(step boot.Step, mac byte, want netip.Addr) boot.Sighting {
	in := boot.Sighting{At: b.at, Via: boot.DHCP4, Step: step, ID: boot.Identity{MAC: boot.MAC{2, 0, 0, 0, 0, mac}},
		Link: boot.Link{Interface: "eth0"}, Firmware: boot.Firmware{Arch: boot.ArchNone}, Want: boot.Want{Addr: want}}
	if step == boot.Selecting {
		in.Want.Server = ourAddress
	}
	return in
}

func (b *bench) ask(in boot.Sighting) boot.Decision {
	b.t.Helper()
	d, err := b.e.Next(context.Background(), in)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// books is what memory has written down, but for offers.
func (b *bench) books() string {
	m := b.e.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	var out strings.Builder
	p := m.pools["lab"]
	for s, t := range p.expires {
		fmt.Fprintf(&out, "%s until %d, unknown %v\n", p.addr(uint32(s)), t, p.unknown[s])
	}
	fmt.Fprintf(&out, "%d strangers\n", p.strangers(b.at))
	fmt.Fprintf(&out, "%.0f new leases\n", m.bucket(&b.e.Policy().Networks[0], b.at).left)
	enrolls := float64(enrollBurst)
	if x, _, ok := m.enrolls.get("lab eth0"); ok {
		enrolls = x.left
	}
	fmt.Fprintf(&out, "%.0f new hosts\n", enrolls)
	return out.String()
}

// offers are the addresses that are promised.
func (b *bench) offers() string {
	m := b.e.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pools["lab"]
	var out []string
	for holder, h := range p.holds {
		s, _ := p.slot(h.Addr)
		out = append(out, fmt.Sprintf("%s to %s until %s, in the heap %v, found %v\n", h.Addr, holder, h.Until.Format(time.TimeOnly), p.pos[s] >= 0, p.byAddr[h.Addr] == holder))
	}
	slices.Sort(out)
	return strings.Join(out, "")
}

// fails runs fn while the medium is sick: what memory knew before, it knows
// after.
func (b *bench) fails(what string, fn func() error) {
	b.t.Helper()
	before := b.books() + b.offers()
	for _, how := range []struct {
		what string
		on   *atomic.Bool
	}{{"on a sick disk", &b.m.sick}, {"that was thrown away", &b.s.refuses}} {
		how.on.Store(true)
		err := fn()
		how.on.Store(false)
		if !errors.Is(err, errSick) {
			b.t.Fatalf("%s %s: %v", what, how.what, err)
		}
		if after := b.books() + b.offers(); after != before {
			b.t.Errorf("%s %s: memory was\n%s and is\n%s", what, how.what, before, after)
		}
	}
}

// TestFailedCommitIsForgotten: an address, a promise, the rates of new leases
// and new hosts are as they were, and the client that asks again gets its due.
func TestFailedCommitIsForgotten(t *testing.T) {
	b := newBench(t)
	next := func(in boot.Sighting) func() error {
		return func() error { _, err := b.e.Next(t.Context(), in); return err }
	}
	took := func(what string, want ...string) func() {
		before := b.books() + b.offers()
		return func() {
			t.Helper()
			after := b.books() + b.offers()
			for _, w := range want {
				if strings.Contains(before, w) || !strings.Contains(after, w) {
					t.Errorf("%s: want %q; memory was\n%s and is\n%s", what, w, before, after)
				}
			}
		}
	}
	// A stranger takes what it was offered.
	o := b.ask(b.sighting(boot.Discover, 1, netip.Addr{}))
	if len(o.Holds) != 1 {
		t.Fatalf("%+v", o)
	}
	request := b.sighting(boot.Selecting, 1, o.Holds[0].Addr)
	b.fails("a REQUEST", next(request))
	check := took("a REQUEST", "10.77.0.100 until 1772629200, unknown true", "1 strangers", "49 new leases")
	if d := b.ask(request); !d.New || len(d.Drops) != 1 || len(d.Writes.Leases) != 1 {
		t.Fatalf("%+v", d)
	}
	check()
	if b.offers() != "" {
		t.Errorf("still promised: %s", b.offers())
	}
	// It renews, and goes.
	b.at = b.at.Add(time.Minute)
	renew := b.sighting(boot.Renew, 1, o.Holds[0].Addr)
	renew.Link.Client = renew.Want.Addr
	b.fails("a renewal", next(renew))
	check = took("a renewal", "10.77.0.100 until 1772629260")
	b.ask(renew)
	check()
	release := b.sighting(boot.Release, 1, o.Holds[0].Addr)
	release.Link.Client, release.Want.Server = release.Want.Addr, ourAddress
	b.fails("a RELEASE", next(release))
	check = took("a RELEASE", "0 strangers")
	b.ask(release)
	check()
	// A new host is enrolled.
	pxe := boot.Firmware{VendorClass: "PXEClient:Arch:00007:UNDI:003016", Arch: 7}
	discover := b.sighting(boot.Discover, 2, netip.Addr{})
	discover.Firmware = pxe
	o = b.ask(discover)
	enrol := b.sighting(boot.Selecting, 2, o.Holds[0].Addr)
	enrol.Firmware = pxe
	b.fails("an enrolment", next(enrol))
	check = took("an enrolment", "999 new hosts")
	if d := b.ask(enrol); d.Enrolls == "" || d.Writes.Host == nil {
		t.Fatalf("%+v", d)
	}
	check()
	// A probe finds somebody.
	found := boot.Check{Network: "lab", Addr: netip.MustParseAddr("10.77.0.103")}
	b.fails("a probe", func() error { return b.e.Taken(t.Context(), found, boot.MAC{2, 0, 0, 0, 0, 9}) })
	check = took("a probe", fmt.Sprintf("10.77.0.103 until %d", b.at.Add(boot.DeclineTime).Unix()))
	if err := b.e.Taken(t.Context(), found, boot.MAC{2, 0, 0, 0, 0, 9}); err != nil {
		t.Fatal(err)
	}
	check()
	// A person gives it back.
	free := boot.ReleaseLease{Network: "lab", Addr: found.Addr}
	b.fails("an order", func() error { _, err := b.e.Do(t.Context(), boot.Actor{}, free); return err })
	check = took("an order", fmt.Sprintf("10.77.0.103 until %d", b.at.Unix()))
	if _, err := b.e.Do(t.Context(), boot.Actor{}, free); err != nil {
		t.Fatal(err)
	}
	check()
}

// TestThrownAwayBeforeMemoryKnew: what never reached memory is not taken back from
// it, so what memory knows better than the store stays.
func TestThrownAwayBeforeMemoryKnew(t *testing.T) {
	b := newBench(t)
	a := netip.MustParseAddr("10.77.0.100")
	if d := b.ask(b.sighting(boot.Selecting, 1, a)); len(d.Writes.Leases) != 1 {
		t.Fatalf("%+v", d)
	}
	b.e.mem.mu.Lock()
	for x := range 4 { // as another Update of the same group does, before it is on disk
		p := b.e.mem.pools["lab"]
		p.touch(p.addr(uint32(x)), b.at.Add(time.Duration(x+2)*time.Hour))
	}
	b.e.mem.mu.Unlock()
	before := b.books()
	b.s.refuses.Store(true)
	for what, fn := range map[string]func() error{
		"a REQUEST": func() error { _, err := b.e.Next(t.Context(), b.sighting(boot.Selecting, 2, a.Next())); return err },
		"an order": func() error {
			_, err := b.e.Do(t.Context(), boot.Actor{}, boot.ReleaseLease{Network: "lab", Addr: a})
			return err
		},
		"a probe": func() error {
			return b.e.Taken(t.Context(), boot.Check{Network: "lab", Addr: netip.MustParseAddr("10.77.0.103")}, macOf(9))
		},
	} {
		if err := fn(); !errors.Is(err, errSick) {
			t.Errorf("%s: %v", what, err)
		}
		if after := b.books(); after != before {
			t.Errorf("%s: memory was\n%s and is\n%s", what, before, after)
		}
	}
}

// TestCountsDoNotGoBelowZero: a host that nobody counted, of an older version or
// a restored backup, does not make a count the largest there is when it goes.
func TestCountsDoNotGoBelowZero(t *testing.T) {
	b := newBench(t)
	if err := b.s.Update(t.Context(), func(tx boot.Tx) error {
		return errors.Join(
			tx.PutHost(&boot.Host{ID: 1, Name: "waits", State: boot.Pending, MACs: []boot.MAC{{2, 0, 0, 0, 0, 1}}}),
			tx.PutHost(&boot.Host{ID: 2, Name: "let-in", State: boot.Approved, Auto: true, Fresh: true, MACs: []boot.MAC{{2, 0, 0, 0, 0, 2}}}))
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"waits", "let-in"} {
		c, err := b.e.Do(t.Context(), boot.Actor{}, boot.RemoveHost{Name: name})
		if err != nil || c.Remove == nil {
			t.Fatalf("%s: %+v, %v", name, c, err)
		}
	}
	if err := b.s.View(t.Context(), func(tx boot.ReadTx) error {
		for _, c := range []boot.Counter{boot.PendingHosts, boot.AutoHosts} {
			if n, err := tx.Counter(c); n != 0 || err != nil {
				t.Errorf("%s is %d, %v", c.Key(), n, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
