package boot_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
)

// TestAddHosts: all or none, everything that is wrong at once, and no more
// events than others can bear.
func TestAddHosts(t *testing.T) {
	w, done, err := newWorld(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	w.policy.Networks = []boot.Network{{Name: "lab", Interface: "eth0", Mode: boot.Reservations, Server: netip.MustParseAddr("10.0.0.1"), Subnet: netip.MustParsePrefix("10.0.0.0/16")}}
	if err := w.engine.SetPolicy(w.ctx, w.policy); err != nil {
		t.Fatal(err)
	}
	count := func() (hosts, events int, pending uint64) {
		t.Helper()
		if err := w.store.View(w.ctx, func(tx boot.ReadTx) error {
			hs, err := tx.Hosts(0, 1000)
			if err != nil {
				return err
			}
			es, err := tx.Events(0, 1000)
			if err != nil {
				return err
			}
			hosts, events = len(hs), len(es)
			pending, err = tx.Counter(boot.PendingHosts)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return
	}
	host := func(name string, mac byte, addr string) boot.NewHost {
		h := boot.NewHost{Name: name, MACs: []boot.MAC{{0x52, 0x54, 0, 0, 0, mac}}}
		if addr != "" {
			h.Address = netip.MustParseAddr(addr)
		}
		return h
	}
	if _, err := w.engine.Do(w.ctx, boot.Actor{Kind: boot.Person}, boot.AddHost{Host: host("old", 1, "10.0.0.9")}); err != nil {
		t.Fatal(err)
	}

	bad := []boot.NewHost{
		host("good", 2, "10.0.0.2"),
		host("old", 3, ""),
		host("mac", 1, ""),
		host("reserved", 4, "10.0.0.9"),
		host("server", 5, "10.0.0.1"),
		host("elsewhere", 6, "192.168.0.1"),
		host("good", 7, ""),
		host("nobody", 8, ""),
		host("unbootable", 10, ""),
	}
	bad[2].MACs = append(bad[2].MACs, boot.MAC{0x52, 0x54, 0, 0, 0, 33}) // one of them alone is known
	bad[7].MACs = nil
	bad[8].Template = "nowhere"
	_, err = w.engine.Do(w.ctx, boot.Actor{Kind: boot.Person}, boot.AddHosts{Hosts: bad})
	var refused boot.RefusedHosts
	if !errors.As(err, &refused) || boot.FaultOf(err) == nil {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, r := range refused {
		got = append(got, fmt.Sprintf("%d %s: %s", r.Index, r.Name, r.Why))
	}
	want := `1 old: name old belongs to host old already (muster host show old)
2 mac: MAC 52:54:00:00:00:01 belongs to host old already (muster host show old)
3 reserved: address 10.0.0.9 belongs to host old already (muster host show old)
4 server: address 10.0.0.1 cannot be reserved on network lab: it is this server's own
5 elsewhere: address 192.168.0.1 is in no configured network
6 good: name good is given to host good too
7 nobody: nothing identifies it: give a MAC address, UUID, serial number or switch port
8 unbootable: no template is called nowhere (muster template list)`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("refused:\n%s\nwant:\n%s", s, want)
	}
	if !strings.HasPrefix(err.Error(), "none was added: 8 cannot be; old: name old belongs") {
		t.Errorf("said %q", err.Error())
	}
	if _, terr := w.engine.Try(w.ctx, boot.Actor{Kind: boot.Person}, boot.AddHosts{Hosts: bad}); terr == nil || terr.Error() != err.Error() {
		t.Errorf("the dry run says %v", terr)
	}

	few := []boot.NewHost{host("a", 20, "10.0.1.1"), host("", 21, ""), host("c", 22, "")}
	few[2].State = boot.Approved
	c, err := w.engine.Try(w.ctx, boot.Actor{Kind: boot.Person}, boot.AddHosts{Hosts: few})
	if err != nil || len(c.Hosts) != 3 || c.Hosts[1].Name != "m-525400000015" {
		t.Errorf("the dry run: %+v, %v", c.Hosts, err)
	}
	if h, e, p := count(); h != 1 || e != 1 || p != 1 {
		t.Errorf("after refusals and dry runs: %d hosts, %d events, %d pending", h, e, p)
	}
	if _, err := w.engine.Do(w.ctx, boot.Actor{Kind: boot.Person}, boot.AddHosts{Hosts: few}); err != nil {
		t.Fatal(err)
	}
	if h, e, p := count(); h != 4 || e != 4 || p != 3 {
		t.Errorf("after three: %d hosts, %d events, %d pending", h, e, p)
	}
	var many []boot.NewHost
	for i := range 150 {
		many = append(many, host(fmt.Sprintf("n%d", i), byte(100+i), ""))
	}
	if _, err := w.engine.Do(w.ctx, boot.Actor{Kind: boot.Person}, boot.AddHosts{Hosts: many}); err != nil {
		t.Fatal(err)
	}
	if h, e, p := count(); h != 154 || e != 5 || p != 153 {
		t.Errorf("after 150 more: %d hosts, %d events, %d pending", h, e, p)
	}
	// Numbers go on where they ended.
	c, err = w.engine.Do(w.ctx, boot.Actor{Kind: boot.Person}, boot.AddHost{Host: host("last", 99, "")})
	if err != nil || c.Host.ID != 155 {
		t.Errorf("the next host: %+v, %v", c.Host, err)
	}
	if _, err := w.engine.Do(w.ctx, boot.Actor{Kind: boot.Person}, boot.AddHosts{Hosts: make([]boot.NewHost, boot.MaxAddHosts+1)}); boot.FaultOf(err) == nil {
		t.Errorf("too many: %v", err)
	}
}

// TestListIsOneOrder: a list lets in who waits, leaves who is known and adds the
// rest, or does nothing of it.
func TestListIsOneOrder(t *testing.T) {
	w, done, err := newWorld(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	by := boot.Actor{Kind: boot.Person}
	host := func(name string, mac byte, state boot.State) boot.NewHost {
		return boot.NewHost{Name: name, MACs: []boot.MAC{{0x52, 0x54, 0, 0, 0, mac}}, State: state}
	}
	do := func(o boot.Order) (boot.Changes, error) { return w.engine.Do(w.ctx, by, o) }
	for _, h := range []boot.NewHost{host("waits", 1, ""), host("refused", 2, boot.Denied), host("waits-too", 3, "")} {
		if _, err := do(boot.AddHost{Host: h}); err != nil {
			t.Fatal(err)
		}
	}
	told := func(c boot.Changes) string {
		var b strings.Builder
		for _, x := range c.Listed {
			switch {
			case x.Host == nil:
				b.WriteString("nothing\n")
			case x.LetIn:
				fmt.Fprintf(&b, "%s let in, it was %s, %s\n", x.Host.Name, x.Known.Name, x.Known.State)
			case x.Known != nil:
				fmt.Fprintf(&b, "%s known, %s\n", x.Host.Name, x.Host.State)
			default:
				fmt.Fprintf(&b, "%s added as %d, %s\n", x.Host.Name, x.Host.ID, x.Host.State)
			}
		}
		return b.String()
	}
	pending := func() (n uint64) {
		if err := w.store.View(w.ctx, func(tx boot.ReadTx) (err error) { n, err = tx.Counter(boot.PendingHosts); return err }); err != nil {
			t.Fatal(err)
		}
		return n
	}

	// One line too many for one machine: nothing is done, also of what was well.
	twice := []boot.NewHost{host("first", 1, boot.Approved), host("new", 9, ""), host("second", 1, boot.Approved), host("new", 3, boot.Approved)}
	_, err = do(boot.AddHosts{Hosts: twice})
	if f := boot.FaultOf(err); f == nil || f.Code != boot.HostsRefused || !strings.Contains(f.Text, "second: this is waits, which an earlier line lets in") || !strings.Contains(f.Text, "new: name new is given to host new too") {
		t.Errorf("said %v", err)
	}
	if n := pending(); n != 2 {
		t.Errorf("%d wait", n)
	}

	list := boot.AddHosts{Hosts: []boot.NewHost{host("web1", 1, boot.Approved), host("other", 2, boot.Approved), host("new1", 10, ""), host("still", 3, ""), host("new2", 11, boot.Approved)}}
	list.Hosts[0].Params = map[string]string{"role": "web"}
	want := "web1 let in, it was waits, pending\nrefused known, denied\nnew1 added as 4, pending\nwaits-too known, pending\nnew2 added as 5, approved\n"
	c, err := w.engine.Try(w.ctx, by, list)
	if got := told(c); err != nil || got != want || pending() != 2 {
		t.Errorf("the dry run: %s, %v", got, err)
	}
	if c, err = do(list); err != nil || told(c) != want || pending() != 2 {
		t.Errorf("got %s, %v; %d wait", told(c), err, pending())
	}
	if err := w.store.View(w.ctx, func(tx boot.ReadTx) error {
		h, err := tx.HostByName("web1")
		if h == nil || h.State != boot.Approved || h.Params["role"] != "web" {
			t.Errorf("web1 is %+v", h)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}

	// Said again, all of them are known.
	want = "web1 known, approved\nrefused known, denied\nnew1 known, pending\nwaits-too known, pending\nnew2 known, approved\n"
	if c, err = do(list); err != nil || told(c) != want || len(c.Events) != 0 {
		t.Errorf("again: %s, %v, %d events", told(c), err, len(c.Events))
	}
}
