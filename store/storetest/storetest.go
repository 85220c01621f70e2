// Package storetest is the one suite that every boot.Store must pass. It tests
// behaviour only and knows nothing of how a store keeps its bytes.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// Opener opens the same store each time it is called: what was written after one open
// is found after the next.
type Opener func() (boot.Store, error)

// Run judges a store. fresh returns an opener for a new, empty one.
func Run(t *testing.T, fresh func(t *testing.T) Opener) {
	for _, c := range []struct {
		name string
		fn   func(Opener) error
	}{
		{"hosts and their keys", CheckHosts},
		{"revisions", CheckRevisions},
		{"hosts of a template", CheckNamed},
		{"leases", CheckLeases},
		{"templates", CheckTemplates},
		{"images", CheckImages},
		{"parameters of scopes", CheckValues},
		{"users and tokens", CheckPeople},
		{"inventories", CheckInventories},
		{"events", CheckEvents},
		{"old events go", CheckRetention},
		{"audit trail", CheckAudit},
		{"counters and secrets", CheckSmall},
		{"failed update undoes only itself", CheckIsolation},
		{"concurrent grants are unique", CheckAllocation},
		{"what follows an update", CheckAfter},
		{"who went away", CheckContext},
		{"reopen", CheckReopen},
		{"close", CheckClose},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.fn(fresh(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

var (
	ctx  = context.Background()
	noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
)

func mac(n byte) boot.MAC { return boot.MAC{0x52, 0x54, 0, 0, 0, n} }

func host(id boot.HostID, name string, macs ...boot.MAC) *boot.Host {
	return &boot.Host{ID: id, Name: name, State: boot.Pending, MACs: macs, Created: noon, Changed: noon}
}

// with opens, runs and closes.
func with(open Opener, fn func(boot.Store) error) (err error) {
	s, err := open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() {
		if e := s.Close(); e != nil && err == nil {
			err = fmt.Errorf("close: %w", e)
		}
	}()
	return fn(s)
}

func put(s boot.Store, hs ...*boot.Host) error {
	return s.Update(ctx, func(tx boot.Tx) error {
		for _, h := range hs {
			if err := tx.PutHost(h); err != nil {
				return err
			}
		}
		return nil
	})
}

// CheckHosts: every key finds its host, no key finds two, a changed or removed
// host leaves no key behind.
func CheckHosts(open Opener) error {
	return with(open, func(s boot.Store) error {
		a := host(1, "a", mac(1), mac(2))
		a.UUID = boot.UUID{1, 2, 3}
		a.Serial, a.DUID, a.Address = "SN-1", "0004aa", netip.MustParseAddr("10.0.0.5")
		a.BoundPort = "leaf3:Ethernet12"
		a.Options = []boot.Option{{Code: 42, Data: []byte{10, 0, 0, 1}}}
		a.Params = map[string]string{"disk": "/dev/sda"}
		if err := put(s, a, host(2, "b", mac(3))); err != nil {
			return err
		}
		find := func(what string, want boot.HostID, fn func(boot.Reader) (*boot.Host, error)) error {
			return s.View(ctx, func(tx boot.ReadTx) error {
				h, err := fn(tx)
				switch {
				case err != nil:
					return err
				case want == 0 && h != nil:
					return fmt.Errorf("%s still finds host %s", what, h.Name)
				case want != 0 && (h == nil || h.ID != want):
					return fmt.Errorf("%s finds %v, want host %d", what, h, want)
				}
				return nil
			})
		}
		keys := func(want boot.HostID) error {
			return errors.Join(
				find("name", want, func(r boot.Reader) (*boot.Host, error) { return r.HostByName("a") }),
				find("first MAC", want, func(r boot.Reader) (*boot.Host, error) { return r.HostByMAC(mac(1)) }),
				find("second MAC", want, func(r boot.Reader) (*boot.Host, error) { return r.HostByMAC(mac(2)) }),
				find("UUID", want, func(r boot.Reader) (*boot.Host, error) { return r.HostByUUID(boot.UUID{1, 2, 3}) }),
				find("serial", want, func(r boot.Reader) (*boot.Host, error) { return r.HostBySerial("SN-1") }),
				find("DUID", want, func(r boot.Reader) (*boot.Host, error) { return r.HostByDUID("0004aa") }),
				find("switch port", want, func(r boot.Reader) (*boot.Host, error) { return r.HostByPort("leaf3:Ethernet12") }),
				find("address", want, func(r boot.Reader) (*boot.Host, error) {
					return r.HostByAddress(netip.MustParseAddr("10.0.0.5"))
				}),
			)
		}
		if err := keys(1); err != nil {
			return err
		}
		for _, dup := range []*boot.Host{host(3, "a", mac(9)), host(3, "c", mac(3)),
			{ID: 3, Name: "c", State: boot.Pending, UUID: boot.UUID{1, 2, 3}, Created: noon},
			{ID: 3, Name: "c", State: boot.Pending, Serial: "SN-1", Created: noon},
			{ID: 3, Name: "c", State: boot.Pending, BoundPort: "leaf3:Ethernet12", Created: noon},
		} {
			if err := put(s, dup); !errors.Is(err, boot.ErrExists) {
				return fmt.Errorf("a second host with a taken key: error %v, want ErrExists", err)
			}
		}
		if err := find("refused host", 0, func(r boot.Reader) (*boot.Host, error) { return r.Host(3) }); err != nil {
			return err
		}
		// What is handed out belongs to the caller.
		if err := s.View(ctx, func(tx boot.ReadTx) error {
			h, err := tx.Host(1)
			if err == nil {
				h.MACs[0], h.Params["disk"] = mac(77), "changed"
			}
			return err
		}); err != nil {
			return err
		}
		if err := s.View(ctx, func(tx boot.ReadTx) error {
			h, err := tx.Host(1)
			if err == nil && (h.MACs[0] != mac(1) || h.Params["disk"] != "/dev/sda" || len(h.Options) != 1 || h.Options[0].String() != "ntp-servers=10.0.0.1" || !h.Created.Equal(noon)) {
				return fmt.Errorf("host came back as %+v", h)
			}
			return err
		}); err != nil {
			return err
		}
		b := a.Clone()
		b.Name, b.MACs, b.UUID, b.Serial, b.DUID, b.Address, b.BoundPort = "z", []boot.MAC{mac(50)}, boot.UUID{}, "", "", netip.Addr{}, ""
		if err := put(s, b); err != nil {
			return err
		}
		if err := keys(0); err != nil {
			return err
		}
		// Freed keys may be taken by another.
		if err := put(s, host(4, "a", mac(1))); err != nil {
			return err
		}
		if err := s.Update(ctx, func(tx boot.Tx) error { return tx.DeleteHost(b) }); err != nil {
			return err
		}
		if err := find("removed host's MAC", 0, func(r boot.Reader) (*boot.Host, error) { return r.HostByMAC(mac(50)) }); err != nil {
			return err
		}
		var ids []boot.HostID
		err := s.View(ctx, func(tx boot.ReadTx) error {
			ids = nil
			if n := tx.HostCount(); n != 2 {
				return fmt.Errorf("%d hosts are counted of 2", n)
			}
			for after := boot.HostID(0); ; {
				hs, err := tx.Hosts(after, 1)
				if err != nil || len(hs) == 0 {
					return err
				}
				after = hs[0].ID
				ids = append(ids, after)
			}
		})
		if err == nil && !slices.Equal(ids, []boot.HostID{2, 4}) {
			err = fmt.Errorf("hosts listed: %v, want [2 4]", ids)
		}
		if err != nil {
			return err
		}
		// What is sifted: a record is judged as JSON, and passed over or read.
		return s.View(ctx, func(tx boot.ReadTx) error {
			for _, x := range []struct {
				after boot.HostID
				n     int
				text  string
				want  []boot.HostID
				last  boot.HostID
			}{{0, 1, `"name":"a"`, nil, 2}, {2, 1, `"name":"a"`, []boot.HostID{4}, 4}, {0, 9, `"name":"a"`, []boot.HostID{4}, 0}, {0, 2, `{"id":`, []boot.HostID{2, 4}, 4}, {4, 1, "", nil, 0}} {
				hs, last, err := tx.SiftHosts(x.after, x.n, func(b []byte) bool { return b[0] == '{' && bytes.Contains(b, []byte(x.text)) })
				if err != nil {
					return err
				}
				var got []boot.HostID
				for _, h := range hs {
					got = append(got, h.ID)
				}
				if !slices.Equal(got, x.want) || last != x.last {
					return fmt.Errorf("sifted for %q after %d: %v, last %d; want %v, %d", x.text, x.after, got, last, x.want, x.last)
				}
			}
			return nil
		})
	})
}

// CheckRevisions: each write of a host raises its revision, on the value that was
// given and on the record, whatever the value said; one that fails does not.
func CheckRevisions(open Opener) error {
	return with(open, func(s boot.Store) error {
		h := host(1, "a", mac(1))
		h.Revision = 41
		stored := func(want uint64) error {
			return s.View(ctx, func(tx boot.ReadTx) error {
				got, err := tx.Host(1)
				if err != nil || got.Revision != want {
					return fmt.Errorf("stored: %+v, %v, want revision %d", got, err, want)
				}
				return nil
			})
		}
		for want := range uint64(3) {
			if err := errors.Join(put(s, h), stored(want+1)); err != nil {
				return err
			}
			if h.Revision != want+1 {
				return fmt.Errorf("the value put has revision %d, want %d", h.Revision, want+1)
			}
			h.Revision = 0
		}
		if err := put(s, h, h); err != nil {
			return err
		}
		refused := errors.New("refused")
		if err := s.Update(ctx, func(tx boot.Tx) error { return errors.Join(tx.PutHost(h), refused) }); !errors.Is(err, refused) {
			return err
		}
		return stored(5)
	})
}

// CheckNamed: the hosts that name a template are counted, in whichever way they get
// it and lose it. A host that could not be written does not count.
func CheckNamed(open Opener) error {
	want := func(s boot.Store, rescue, debian uint64) error {
		return s.View(ctx, func(tx boot.ReadTx) error {
			r, err := tx.Counter(boot.NamedBy("rescue"))
			d, err2 := tx.Counter(boot.NamedBy("debian"))
			if r != rescue || d != debian {
				err = fmt.Errorf("%d and %d hosts name the templates, want %d and %d", r, d, rescue, debian)
			}
			return errors.Join(err, err2)
		})
	}
	a, b := host(1, "a", mac(1)), host(2, "b", mac(2))
	return errors.Join(with(open, func(s boot.Store) error {
		a.Template, b.Template, b.Once = "rescue", "rescue", "debian"
		if err := errors.Join(put(s, a, b), want(s, 2, 1)); err != nil {
			return err
		}
		b.Once = "rescue" // which it names already
		if err := errors.Join(put(s, b, b), want(s, 2, 0)); err != nil {
			return err
		}
		b.Template, b.Once = "debian", ""
		refused := errors.New("refused")
		if err := s.Update(ctx, func(tx boot.Tx) error { return errors.Join(tx.PutHost(b), refused) }); !errors.Is(err, refused) {
			return err
		}
		if err := want(s, 2, 0); err != nil {
			return err
		}
		if err := errors.Join(put(s, b), want(s, 1, 1)); err != nil {
			return err
		}
		return errors.Join(s.Update(ctx, func(tx boot.Tx) error { return errors.Join(tx.DeleteHost(b), tx.DeleteHost(b)) }), want(s, 1, 0))
	}), with(open, func(s boot.Store) error {
		if err := want(s, 1, 0); err != nil {
			return fmt.Errorf("opened again: %w", err)
		}
		a.Template = ""
		return errors.Join(put(s, a), want(s, 0, 0))
	}))
}

// CheckLeases: found by address and by holder, listed in address order, and an
// index never outlives what it points to.
func CheckLeases(open Opener) error {
	return with(open, func(s boot.Store) error {
		lease := func(network, addr, holder string) boot.Lease {
			return boot.Lease{Network: network, Addr: netip.MustParseAddr(addr), Holder: boot.ReadHolder(holder), Kind: boot.Dynamic, Host: 7, Name: "n", Starts: noon, Expires: noon.Add(time.Hour)}
		}
		// A MAC that its holder names too, and one that it does not.
		named, beside := lease("lab3", "10.0.0.1", ""), lease("lab3", "10.0.0.2", "h3")
		named.Holder, named.MAC, beside.MAC = boot.HeldBy(mac(1)), mac(1), mac(2)
		all := []boot.Lease{named, beside, lease("lab", "10.0.0.9", "h9"), lease("lab", "10.0.0.10", "h10"), lease("lab", "10.0.1.2", "h2"), lease("lab2", "10.0.0.9", "h9")}
		if err := s.Update(ctx, func(tx boot.Tx) error {
			for _, l := range all {
				if err := tx.PutLease(l); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		if err := s.View(ctx, func(tx boot.ReadTx) error {
			for _, want := range all {
				if l, err := tx.Lease(want.Network, want.Addr); err != nil || l == nil || *l != want {
					return fmt.Errorf("lease of %s: %+v, %v", want.Addr, l, err)
				}
				if l, err := tx.LeaseByHolder(want.Network, want.Holder); err != nil || l == nil || l.Addr != want.Addr {
					return fmt.Errorf("lease of holder %s: %+v, %v", want.Holder, l, err)
				}
			}
			var got []string
			for after := (netip.Addr{}); ; {
				ls, err := tx.Leases("lab", after, 2)
				if err != nil {
					return err
				}
				for _, l := range ls {
					got = append(got, l.Addr.String())
				}
				if len(ls) < 2 {
					break
				}
				after = ls[1].Addr
			}
			if !slices.Equal(got, []string{"10.0.0.9", "10.0.0.10", "10.0.1.2"}) {
				return fmt.Errorf("leases of lab listed: %v", got)
			}
			return nil
		}); err != nil {
			return err
		}
		// The address passes to another holder: the old one's key is stale and
		// must not be believed.
		if err := s.Update(ctx, func(tx boot.Tx) error { return tx.PutLease(lease("lab", "10.0.0.9", "other")) }); err != nil {
			return err
		}
		return s.View(ctx, func(tx boot.ReadTx) error {
			if l, err := tx.LeaseByHolder("lab", boot.ReadHolder("h9")); err != nil || l != nil {
				return fmt.Errorf("old holder still finds %+v, %v", l, err)
			}
			return nil
		})
	})
}

// CheckTemplates: versions stay, the name finds the newest.
func CheckTemplates(open Opener) error {
	return with(open, func(s boot.Store) error {
		if err := s.Update(ctx, func(tx boot.Tx) error {
			for i := 1; i <= 2; i++ {
				if err := tx.PutTemplate(&boot.Template{ID: boot.TemplateID(i), Name: "rescue", Version: i, Pushed: noon, Files: map[string]boot.Blob{"vmlinuz": {Digest: "d", Size: 3}}}); err != nil {
					return err
				}
			}
			return tx.PutTemplate(&boot.Template{ID: 3, Name: "other", Version: 1, Pushed: noon})
		}); err != nil {
			return err
		}
		check := func(wantName bool) error {
			return s.View(ctx, func(tx boot.ReadTx) error {
				old, err := tx.Template(1)
				if err != nil || old == nil || old.Version != 1 || old.Files["vmlinuz"].Size != 3 {
					return fmt.Errorf("version 1: %+v, %v", old, err)
				}
				n, err := tx.TemplateByName("rescue")
				if err != nil || (n != nil) != wantName || wantName && n.Version != 2 {
					return fmt.Errorf("newest: %+v, %v", n, err)
				}
				return nil
			})
		}
		if err := check(true); err != nil {
			return err
		}
		for _, x := range []struct {
			id   uint64
			want int
		}{{1, 1}, {7, 2}, {3, 2}, {0, 2}} { // 7 is no version, and 3 another's: a pin that leads nowhere is none
			if err := s.Update(ctx, func(tx boot.Tx) error { return tx.SetCounter(boot.InForce("rescue"), x.id) }); err != nil {
				return err
			}
			if err := s.View(ctx, func(tx boot.ReadTx) error {
				in, err := tx.TemplateByName("rescue")
				newest, err2 := tx.NewestTemplate("rescue")
				if err != nil || err2 != nil || in.Version != x.want || newest.Version != 2 {
					return fmt.Errorf("pinned at %d: %+v in force, %+v newest, %v, %v", x.id, in, newest, err, err2)
				}
				return nil
			}); err != nil {
				return err
			}
		}
		if err := s.Update(ctx, func(tx boot.Tx) error { return tx.DropTemplate("rescue") }); err != nil {
			return err
		}
		return check(false)
	})
}

// CheckInventories: put, found after a reopen, replaced, gone with its host.
func CheckInventories(open Opener) error {
	has := func(s boot.Store, id boot.HostID, want int64) error {
		return s.View(ctx, func(tx boot.ReadTx) error {
			v, err := tx.Inventory(id)
			switch {
			case err != nil:
				return err
			case want == 0 && v != nil, want != 0 && (v == nil || v.Memory != want || !v.At.Equal(noon)):
				return fmt.Errorf("inventory of host %d: %+v, want memory %d", id, v, want)
			}
			return nil
		})
	}
	put := func(s boot.Store, id boot.HostID, memory int64) error {
		return s.Update(ctx, func(tx boot.Tx) error {
			return tx.PutInventory(id, &boot.Inventory{At: noon, Memory: memory, Disks: []boot.Disk{{Name: "sda"}}})
		})
	}
	if err := with(open, func(s boot.Store) error {
		h := host(1, "a", mac(1))
		return errors.Join(has(s, 1, 0), s.Update(ctx, func(tx boot.Tx) error { return tx.PutHost(h) }), put(s, 1, 1), put(s, 1, 2), put(s, 256, 3), has(s, 1, 2))
	}); err != nil {
		return err
	}
	return with(open, func(s boot.Store) error {
		return errors.Join(has(s, 1, 2), has(s, 256, 3), s.Update(ctx, func(tx boot.Tx) error {
			h, err := tx.Host(1)
			if err != nil {
				return err
			}
			return tx.DeleteHost(h)
		}), has(s, 1, 0), has(s, 256, 3))
	})
}

// CheckImages: put, found, listed by name, gone.
func CheckImages(open Opener) error {
	return with(open, func(s boot.Store) error {
		if err := s.Update(ctx, func(tx boot.Tx) error {
			for _, n := range []string{"b", "a"} {
				if err := tx.PutImage(&boot.Image{Name: n, Public: n == "a", Imported: noon, Files: map[string]boot.Blob{"vmlinuz": {Digest: n, Size: 1}}}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		if err := s.Update(ctx, func(tx boot.Tx) error { return tx.DeleteImage("b") }); err != nil {
			return err
		}
		return s.View(ctx, func(tx boot.ReadTx) error {
			if i, err := tx.Image("b"); err != nil || i != nil {
				return fmt.Errorf("removed image is %+v, %v", i, err)
			}
			l, err := tx.Images("", 10)
			if err != nil || len(l) != 1 || l[0].Name != "a" || !l[0].Public || l[0].Files["vmlinuz"].Digest != "a" {
				return fmt.Errorf("images listed: %+v, %v", l, err)
			}
			return nil
		})
	})
}

// CheckValues: put, counted, found by scope, listed in order, gone.
func CheckValues(open Opener) error {
	return with(open, func(s boot.Store) error {
		put := func(scope boot.Scope, value string) error {
			return s.Update(ctx, func(tx boot.Tx) error {
				return tx.PutValues(&boot.Values{Scope: scope, Params: map[string]string{"disk": value}, Secrets: []string{"rootpw"}, Changed: noon})
			})
		}
		if err := errors.Join(put(boot.TagScope("rack=12"), "a"), put(boot.Site, "b"), put(boot.Site, "c"), put(boot.NetworkScope("lab"), "d")); err != nil {
			return err
		}
		if err := put("tag/a b", "x"); err == nil {
			return errors.New("a scope that is none was stored")
		}
		if err := s.Update(ctx, func(tx boot.Tx) error { return tx.DeleteValues(&boot.Values{Scope: boot.NetworkScope("lab")}) }); err != nil {
			return err
		}
		return s.View(ctx, func(tx boot.ReadTx) error {
			if v, err := tx.Values(boot.NetworkScope("lab")); err != nil || v != nil {
				return fmt.Errorf("removed values are %+v, %v", v, err)
			}
			if v, err := tx.Values(boot.Site); err != nil || v == nil || v.Params["disk"] != "c" || v.Revision != 2 || !slices.Equal(v.Secrets, []string{"rootpw"}) {
				return fmt.Errorf("values of the site are %+v, %v", v, err)
			}
			l, err := tx.AllValues("", 10)
			if err != nil || len(l) != 2 || l[0].Scope != boot.Site || l[1].Scope != "tag/rack=12" {
				return fmt.Errorf("values listed: %+v, %v", l, err)
			}
			if l, err = tx.AllValues(boot.Site, 1); err != nil || len(l) != 1 || l[0].Scope != "tag/rack=12" {
				return fmt.Errorf("values after the site: %+v, %v", l, err)
			}
			return nil
		})
	})
}

// CheckPeople: users are found by name, and their writes counted; tokens by their digest and by name,
// which is of one alone.
func CheckPeople(open Opener) error {
	return with(open, func(s boot.Store) error {
		digest := func(c string) string { return strings.Repeat(c, 64) }
		ann := func() *boot.User { return &boot.User{Name: "ann", Hash: "$x", Role: boot.Operate, Since: noon} }
		token := func(c, name string) *boot.APIToken {
			return &boot.APIToken{Digest: digest(c), Name: name, Role: boot.Look, Created: noon}
		}
		do := func(fn func(boot.Tx) error) error { return s.Update(ctx, fn) }
		if err := errors.Join(
			do(func(tx boot.Tx) error { return tx.PutUser(ann()) }),
			do(func(tx boot.Tx) error { return tx.PutUser(ann()) }),
			do(func(tx boot.Tx) error { return tx.PutToken(token("a", "ci")) }),
			do(func(tx boot.Tx) error { return tx.PutToken(token("b", "grafana")) }),
			do(func(tx boot.Tx) error { return tx.PutToken(token("c", "old")) }),
			do(func(tx boot.Tx) error { return tx.DeleteToken(token("c", "old")) }),
		); err != nil {
			return err
		}
		if err := do(func(tx boot.Tx) error { return tx.PutToken(token("d", "ci")) }); !errors.Is(err, boot.ErrExists) {
			return fmt.Errorf("a second token of a name: %v, want ErrExists", err)
		}
		if err := do(func(tx boot.Tx) error { return tx.PutUser(&boot.User{Name: "Bob", Hash: "$x", Role: boot.Look}) }); err == nil {
			return errors.New("a user whose name is none was stored")
		}
		return s.View(ctx, func(tx boot.ReadTx) error {
			if u, err := tx.User("ann"); err != nil || u == nil || u.Role != boot.Operate || u.Revision != 2 {
				return fmt.Errorf("ann is %+v, %v", u, err)
			}
			if t, err := tx.Token(digest("a")); err != nil || t == nil || t.Name != "ci" {
				return fmt.Errorf("by its digest: %+v, %v", t, err)
			}
			if t, err := tx.TokenByName("grafana"); err != nil || t == nil || t.Digest != digest("b") {
				return fmt.Errorf("by its name: %+v, %v", t, err)
			}
			if t, err := tx.TokenByName("old"); err != nil || t != nil {
				return fmt.Errorf("a removed one: %+v, %v", t, err)
			}
			us, err := tx.Users("", 10)
			ts, err2 := tx.APITokens(digest("a"), 10)
			if err != nil || err2 != nil || len(us) != 1 || len(ts) != 1 || ts[0].Name != "grafana" {
				return fmt.Errorf("listed: %+v, %+v, %v, %v", us, ts, err, err2)
			}
			return nil
		})
	})
}

// CheckEvents: numbered without gaps in order of commit, read on from any
// number, and Changed fires.
func CheckEvents(open Opener) error {
	return with(open, func(s boot.Store) error {
		changed := s.Changed()
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				s.Update(ctx, func(tx boot.Tx) error {
					_, err := tx.Append(boot.Event{At: noon.In(time.FixedZone("x", 3600)), Kind: boot.HostAdded, Text: fmt.Sprint(i)})
					return err
				})
			})
		}
		wg.Wait()
		select {
		case <-changed:
		default:
			return errors.New("the channel of Changed did not fire after 50 events")
		}
		return s.View(ctx, func(tx boot.ReadTx) error {
			var next uint64 = 1
			for {
				es, err := tx.Events(next-1, 7)
				if err != nil {
					return err
				}
				for _, e := range es {
					if e.Seq != next {
						return fmt.Errorf("event %d follows %d", e.Seq, next-1)
					}
					if e.At != noon {
						return fmt.Errorf("time came back as %v, want %v", e.At, noon)
					}
					next++
				}
				if len(es) < 7 {
					break
				}
			}
			if next != 51 {
				return fmt.Errorf("%d events, want 50", next-1)
			}
			return nil
		})
	})
}

// CheckRetention: DropEvents removes the oldest events, no more than asked for, and
// numbers go on. Without DropEvents the number of events is bounded all the same.
func CheckRetention(open Opener) error {
	add := func(s boot.Store, n int) error {
		return s.Update(ctx, func(tx boot.Tx) error {
			for range n {
				if _, err := tx.Append(boot.Event{At: noon, Kind: boot.HostAdded, Text: "x"}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	drop := func(s boot.Store, upto uint64, n int, want uint64) error {
		return s.Update(ctx, func(tx boot.Tx) error {
			first, err := tx.DropEvents(upto, n)
			if err == nil && first != want {
				err = fmt.Errorf("at most %d up to event %d dropped leave %d the first, want %d", n, upto, first, want)
			}
			return err
		})
	}
	kept := func(s boot.Store, want ...uint64) error {
		return s.View(ctx, func(tx boot.ReadTx) error {
			es, err := tx.Events(0, 100)
			if err != nil {
				return err
			}
			var got []uint64
			for _, e := range es {
				got = append(got, e.Seq)
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("events %d are kept, want %d", got, want)
			}
			return nil
		})
	}
	if err := with(open, func(s boot.Store) error {
		return errors.Join(drop(s, 5, 10, 1), add(s, 6), drop(s, 2, 10, 3), drop(s, 1, 10, 3), drop(s, 5, 0, 3), drop(s, 5, 1, 4), kept(s, 4, 5, 6))
	}); err != nil {
		return err
	}
	return with(open, func(s boot.Store) error {
		if err := errors.Join(kept(s, 4, 5, 6), drop(s, 99, 10, 7), kept(s), add(s, 3), kept(s, 7, 8, 9)); err != nil {
			return err
		}
		// As if a million events had been appended.
		if err := s.Update(ctx, func(tx boot.Tx) error { return tx.SetCounter(boot.LastEvent, boot.MaxEvents+6) }); err != nil {
			return err
		}
		return errors.Join(add(s, 2), kept(s, 9, boot.MaxEvents+7, boot.MaxEvents+8))
	})
}

// CheckAudit: what people decide, and installations, are kept when nothing else of the
// events is, and have a bound of their own.
func CheckAudit(open Opener) error {
	return with(open, func(s boot.Store) error {
		ctx := context.Background()
		person := boot.Actor{Kind: boot.Person}
		add := func(es ...boot.Event) error {
			return s.Update(ctx, func(tx boot.Tx) error {
				for _, e := range es {
					if _, err := tx.Append(e); err != nil {
						return err
					}
				}
				return nil
			})
		}
		kept := func(want ...string) error {
			return s.View(ctx, func(tx boot.ReadTx) error {
				es, err := tx.Audit(0, 100)
				var got []string
				for _, e := range es {
					got = append(got, fmt.Sprintf("%d:%d:%s", e.Audit, e.Seq, e.Kind))
				}
				if err != nil || !slices.Equal(got, want) {
					return fmt.Errorf("the audit trail is %q, %v; want %q", got, err, want)
				}
				return nil
			})
		}
		if err := errors.Join(
			add(boot.Event{Kind: boot.LeaseGranted}, boot.Event{Kind: boot.HostApproved, By: person}, boot.Event{Kind: boot.HandshakeFailed},
				boot.Event{Kind: boot.TicketUsed, By: boot.Actor{Kind: boot.AMachine}}, boot.Event{Kind: boot.HostEnrolled, By: boot.Actor{Kind: boot.AMachine}}),
			s.Update(ctx, func(tx boot.Tx) error { _, err := tx.DropEvents(100, 100); return err }),
			kept("1:2:host.approved", "2:4:ticket.spent")); err != nil {
			return err
		}
		// As if as many as may be had been decided.
		if err := s.Update(ctx, func(tx boot.Tx) error { return tx.SetCounter(boot.LastAudit, boot.MaxAudit) }); err != nil {
			return err
		}
		return errors.Join(add(boot.Event{Kind: boot.HostDenied, By: person}), kept("2:4:ticket.spent", fmt.Sprintf("%d:6:host.denied", boot.MaxAudit+1)))
	})
}

// CheckSmall: counters begin at zero, and a secret is read as it was written.
func CheckSmall(open Opener) error {
	return with(open, func(s boot.Store) error {
		return s.Update(ctx, func(tx boot.Tx) error {
			if n, err := tx.Counter(boot.PendingHosts); n != 0 || err != nil {
				return fmt.Errorf("new counter is %d, %v", n, err)
			}
			if err := tx.SetCounter(boot.PendingHosts, 41); err != nil {
				return err
			}
			if n, err := tx.Counter(boot.PendingHosts); n != 41 || err != nil {
				return fmt.Errorf("own write not seen: %d, %v", n, err)
			}
			if err := tx.SetCounter(boot.Counter{}, 1); err == nil {
				return errors.New("a counter that nobody declared was written")
			}
			if b, err := tx.Secret("k"); b != nil || err != nil {
				return fmt.Errorf("secret from nowhere: %x, %v", b, err)
			}
			if err := tx.SetSecret("k", []byte{0, 1, 2}); err != nil {
				return err
			}
			if b, err := tx.Secret("k"); string(b) != "\x00\x01\x02" || err != nil {
				return fmt.Errorf("secret came back as %x, %v", b, err)
			}
			return nil
		})
	})
}

// CheckIsolation: among many concurrent updates those that fail or panic leave
// nothing, and those that succeed stay.
func CheckIsolation(open Opener) error {
	return with(open, func(s boot.Store) error {
		refused := errors.New("refused")
		var wg sync.WaitGroup
		errs := make([]error, 60)
		for i := range errs {
			wg.Go(func() {
				errs[i] = s.Update(ctx, func(tx boot.Tx) error {
					if err := tx.PutHost(host(boot.HostID(i+1), fmt.Sprint("h", i), mac(byte(i)))); err != nil {
						return err
					}
					switch i % 3 {
					case 1:
						return refused
					case 2:
						panic("a bug in one function")
					}
					return nil
				})
			})
		}
		wg.Wait()
		return s.View(ctx, func(tx boot.ReadTx) error {
			for i, err := range errs {
				h, verr := tx.HostByMAC(mac(byte(i)))
				if verr != nil {
					return verr
				}
				if i%3 == 0 && (err != nil || h == nil) {
					return fmt.Errorf("update %d: error %v, host %v", i, err, h)
				}
				if i%3 == 1 && !errors.Is(err, refused) || i%3 == 2 && err == nil {
					return fmt.Errorf("update %d reported %v", i, err)
				}
				if i%3 != 0 && h != nil {
					return fmt.Errorf("failed update %d left host %s", i, h.Name)
				}
			}
			return nil
		})
	})
}

// CheckAllocation: 200 clients at once take 200 addresses, each by looking for
// a free one and writing it in one Update. A store that lets anything happen
// between the look and the write gives one address to two.
func CheckAllocation(open Opener) error {
	return with(open, func(s boot.Store) error {
		const n = 200
		got := make([]netip.Addr, n)
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				errs[i] = s.Update(ctx, func(tx boot.Tx) error {
					a := netip.MustParseAddr("10.0.0.1")
					for range n {
						l, err := tx.Lease("lab", a)
						if err != nil {
							return err
						}
						if l == nil {
							got[i] = a
							return tx.PutLease(boot.Lease{Network: "lab", Addr: a, Holder: boot.ReadHolder(fmt.Sprint(i)), Kind: boot.Dynamic, Starts: noon, Expires: noon.Add(time.Hour)})
						}
						a = a.Next()
					}
					return errors.New("pool is empty")
				})
			})
		}
		wg.Wait()
		seen := map[netip.Addr]int{}
		for i, a := range got {
			if errs[i] != nil {
				return fmt.Errorf("client %d: %w", i, errs[i])
			}
			if j, ok := seen[a]; ok {
				return fmt.Errorf("%s was given to client %d and to client %d", a, j, i)
			}
			seen[a] = i
		}
		return s.View(ctx, func(tx boot.ReadTx) error {
			for a, i := range seen {
				if l, err := tx.Lease("lab", a); err != nil || l == nil || l.Holder != boot.ReadHolder(fmt.Sprint(i)) {
					return fmt.Errorf("%s should be %d's: %+v, %v", a, i, l, err)
				}
			}
			return nil
		})
	})
}

// CheckAfter: what is given to After runs in order, once for each Update that
// succeeds, before it returns and before the next one looks; and never for one
// that fails.
func CheckAfter(open Opener) error {
	return with(open, func(s boot.Store) error {
		refused := errors.New("refused")
		var memory uint64 // follows the counter; only the store's order guards it
		var mu sync.Mutex
		look := func(tx boot.Tx) (stored, remembered uint64, err error) {
			mu.Lock()
			defer mu.Unlock()
			stored, err = tx.Counter(boot.PendingHosts)
			return stored, memory, err
		}
		const n = 150
		errs := make([]error, n)
		wrong := make([]string, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				var stored, remembered uint64
				ran, inOrder := 0, true
				errs[i] = s.Update(ctx, func(tx boot.Tx) (err error) {
					if stored, remembered, err = look(tx); err != nil {
						return err
					}
					tx.After(func() {
						mu.Lock()
						defer mu.Unlock()
						memory++
						ran++
					})
					tx.After(func() { inOrder = ran == 1 })
					switch i % 3 {
					case 1:
						return refused
					case 2:
						panic("a bug in one function")
					}
					return tx.SetCounter(boot.PendingHosts, stored+1)
				})
				switch want := map[bool]int{true: 1}[i%3 == 0]; {
				case ran != want:
					wrong[i] = fmt.Sprintf("its After ran %d times by the time it returned, want %d", ran, want)
				case !inOrder:
					wrong[i] = "the second After did not run after the first"
				case i%3 == 0 && stored != remembered:
					wrong[i] = fmt.Sprintf("it saw %d in the store and %d in memory", stored, remembered)
				}
			})
		}
		wg.Wait()
		for i := range n {
			if (errs[i] == nil) != (i%3 == 0) {
				return fmt.Errorf("update %d: error %v", i, errs[i])
			}
			if wrong[i] != "" {
				return fmt.Errorf("update %d (error %v): %s", i, errs[i], wrong[i])
			}
		}
		return nil
	})
}

// CheckContext: nothing is read or written for a caller whose context has ended.
func CheckContext(open Opener) error {
	return with(open, func(s boot.Store) error {
		gone, leave := context.WithCancel(ctx)
		leave()
		for _, gone := range []context.Context{gone, unnoticed{ctx}} {
			for range 50 {
				ran := false
				if err := s.Update(gone, func(boot.Tx) error { ran = true; return nil }); !errors.Is(err, context.Canceled) || ran {
					return fmt.Errorf("update: %v, it ran: %v", err, ran)
				}
				if err := s.View(gone, func(boot.ReadTx) error { ran = true; return nil }); !errors.Is(err, context.Canceled) || ran {
					return fmt.Errorf("view: %v, it ran: %v", err, ran)
				}
			}
		}
		return nil
	})
}

// unnoticed ends while nobody waits for it to.
type unnoticed struct{ context.Context }

func (unnoticed) Err() error { return context.Canceled }

// CheckReopen: what was acknowledged is there after a close and an open.
func CheckReopen(open Opener) error {
	if err := with(open, func(s boot.Store) error { return put(s, host(1, "a", mac(1))) }); err != nil {
		return err
	}
	return with(open, func(s boot.Store) error {
		return s.View(ctx, func(tx boot.ReadTx) error {
			if h, err := tx.HostByMAC(mac(1)); err != nil || h == nil {
				return fmt.Errorf("after reopening: %v, %v", h, err)
			}
			return nil
		})
	})
}

// CheckClose: a closed store says so, and closing twice is no error.
func CheckClose(open Opener) error {
	s, err := open()
	if err != nil {
		return err
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		return err
	}
	if err := s.Update(ctx, func(boot.Tx) error { return nil }); !errors.Is(err, boot.ErrClosed) {
		return fmt.Errorf("update after close: %v, want ErrClosed", err)
	}
	if err := s.View(ctx, func(boot.ReadTx) error { return nil }); !errors.Is(err, boot.ErrClosed) {
		return fmt.Errorf("view after close: %v, want ErrClosed", err)
	}
	return nil
}
