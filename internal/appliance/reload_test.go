// reload_test.go: a configuration that was changed while the daemon runs.

package appliance

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
)

// reread has the daemon read another configuration.
func (r *rig) reread(toml string) {
	r.t.Helper()
	r.said.mu.Lock()
	r.said.b.Reset()
	r.said.mu.Unlock()
	r.toml = toml
	r.c.hangups <- syscall.SIGHUP
	r.settle()
}

// TestReload: what can change changes at once; what needs a restart is named and stays;
// what is wrong changes nothing.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab)
		r.c.plug("eth1", "10.78.0.1/24")
		r.run()
		a := r.lease("eth0", 1)
		wider := strings.Replace(lab, "10.77.0.100-10.77.0.109", "10.77.0.150-10.77.0.159", 1)
		second := "[[network]]\nname = \"b\"\ninterface = \"eth1\"\nmode = \"full\"\nrange = \"10.78.0.100-10.78.0.109\"\n"
		for _, x := range []struct {
			name, toml string
			want       string
			level      string
			ranges     string
		}{
			{"the same", lab, "configuration reloaded", "INFO", "10.77.0.100-10.77.0.109"},
			{"another range", wider, "configuration reloaded", "INFO", "10.77.0.150-10.77.0.159"},
			{"a typing error", strings.Replace(lab, "range", "rnage", 1), "configuration was not reloaded; the old one stays", "ERROR", "10.77.0.150-10.77.0.159"},
			{"no such interface", strings.Replace(lab, "eth0", "eth9", 1), "the old one stays", "ERROR", "10.77.0.150-10.77.0.159"},
			{"no such program", lab + "[[hook]]\nname = \"x\"\ncommand = [\"/nowhere/x\"]\n", "the old one stays", "ERROR", "10.77.0.150-10.77.0.159"},
			{"another port", lab + "[http]\nlisten = \":8080\"\n", "[http]: this changes only with a restart: sudo systemctl restart muster", "WARN", "10.77.0.100-10.77.0.109"},
			{"DHCPv6", lab + "subnet6 = \"fd77::/64\"\n", "the first subnet6, or the last: this changes only with a restart", "WARN", "10.77.0.100-10.77.0.109"},
			{"no network", quiet, "the first network that is served, or the last: this", "WARN", ""},
			{"two networks", lab + second, "configuration reloaded", "INFO", "10.77.0.100-10.77.0.109"},
		} {
			r.reread(x.toml)
			if !r.says(x.want, "level="+x.level) {
				t.Errorf("%s: the log does not say %q", x.name, x.want)
			}
			s, err := r.status(t.Context())
			must(t, err)
			if got := ""; x.ranges != "" {
				if got = strings.Join(s.Networks[0].Ranges, ", "); got != x.ranges {
					t.Errorf("%s: it gives %s, want %s", x.name, got, x.ranges)
				}
			} else if len(s.Networks) != 0 {
				t.Errorf("%s: %+v", x.name, s.Networks)
			}
			if p := r.engine.Policy().HTTPPort; p != 80 {
				t.Errorf("%s: machines are sent to port %d, where nobody listens", x.name, p)
			}
			if x.name == "DHCPv6" {
				if n := r.network("lab (IPv6)"); n.State != "DHCPv6 begins with a restart" {
					t.Errorf("%+v", n)
				}
			}
		}
		if b := r.lease("eth0", 1); b != a {
			t.Errorf("the client had %s, and gets %s", a, b)
		}
		if b := r.lease("eth1", 2); b.String() != "10.78.0.100" {
			t.Errorf("on the new network a client gets %v", b)
		}
	})
}

// TestReloadAuto: what auto found out holds for that link and that mode only.
func TestReloadAuto(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, auto)
		r.c.plug("eth1", "10.77.0.1/24")
		r.run()
		r.after(17 * time.Second)
		r.mode(boot.Full)
		r.reread(auto + "domain = \"example\"\n")
		r.mode(boot.Full)
		r.reread(lab)
		r.mode(boot.Full)
		// The link is what it was: it is asked at once.
		r.reread(auto)
		r.mode(boot.Listening)
		r.after(12 * time.Second)
		r.mode(boot.Full)
		r.reread(strings.Replace(auto, "eth0", "eth1", 1))
		r.mode(boot.Listening)
		r.after(5 * time.Second)
		r.mode(boot.Listening)
		r.after(12 * time.Second)
		r.mode(boot.Full)
	})
}

// TestStation: which lookouts a configuration has, and which of them stay.
func TestStation(t *testing.T) {
	read := func(toml string) map[string]*post {
		r := newRig(t, toml)
		c, err := r.opt.Read()
		must(t, err)
		return station(c, nil)
	}
	p := read(auto + strings.Replace(six, quiet, "", 1))
	if len(p) != 3 || !p["lab"].auto || p["six"].auto || !p["eth0 (IPv6)"].six || len(p["eth0 (IPv6)"].networks) != 1 {
		t.Errorf("%+v", p)
	}
	r := newRig(t, auto)
	c, err := r.opt.Read()
	must(t, err)
	before := station(c, nil)
	before["lab"].mode = boot.Proxy
	if after := station(c, before); after["lab"] != before["lab"] || after["lab"].mode != boot.Proxy {
		t.Error("the same configuration dismissed a lookout")
	}
}

// TestConfigPlan: what a file would change is said before it does, and a reload says
// what it changed; a refusal is an event and a figure.
func TestConfigPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab)
		r.run()
		a := r.lease("eth0", 1)
		_, err := r.engine.Do(t.Context(), boot.Actor{Kind: boot.Person}, boot.AddHost{Host: boot.NewHost{Name: "web1", MACs: []boot.MAC{{2, 0, 0, 0, 0, 7}}, Address: netip.MustParseAddr("10.77.0.50")}})
		must(t, err)
		cut := strings.Replace(lab, "10.77.0.100-10.77.0.109", "10.77.0.150-10.77.0.159", 1)
		p, err := r.planConfig(t.Context(), "new.toml", []byte(cut+"[http]\nlisten = \":8080\"\n"))
		must(t, err)
		if len(p.Changes) != 2 || !strings.Contains(p.Changes[0], "network lab: range:") || len(p.Restart) != 1 || p.Restart[0] != "[http]" {
			t.Errorf("%+v", p)
		}
		if p.Leases.Count != 1 || p.Leases.Listed[0].Addr != a || !strings.Contains(p.Leases.Listed[0].Becomes, "keeps what is left of its lease") {
			t.Errorf("%+v", p.Leases)
		}
		if p, err := r.planConfig(t.Context(), "new.toml", []byte(strings.Replace(cut, "[[network]]", "[[network]]\nout_of_range = \"nak\"", 1))); err != nil || p.Leases.Count != 1 || !strings.Contains(p.Leases.Listed[0].Becomes, "refused") {
			t.Errorf("%+v, %v", p.Leases, err)
		}
		if p, err := r.planConfig(t.Context(), "new.toml", []byte(quiet)); err != nil || p.Leases.Count != 1 || p.Hosts.Count != 1 || !strings.Contains(p.Hosts.Listed[0].Becomes, "in no network") {
			t.Errorf("%+v, %v", p, err)
		}
		if _, err := r.planConfig(t.Context(), "new.toml", []byte("rnage = 1\n")); boot.FaultOf(err) == nil || !strings.Contains(err.Error(), "new.toml:1") {
			t.Errorf("a typing error: %v", err)
		}
		if s, _ := r.status(t.Context()); s.Networks[0].Ranges[0] != "10.77.0.100-10.77.0.109" || len(r.events(boot.ConfigReloaded)) != 0 {
			t.Errorf("a plan changed something: %+v", s.Networks)
		}

		r.toml = cut
		if p, err := r.reload(t.Context(), boot.Actor{}); err != nil || p.Leases.Count != 1 {
			t.Errorf("%+v, %v", p, err)
		}
		r.toml = cut + "x = 1\n"
		if _, err := r.reload(t.Context(), boot.Actor{}); boot.FaultOf(err) == nil {
			t.Errorf("a mistake: %v", err)
		}
		if told := r.events(boot.ConfigReloaded); len(told) != 1 || !strings.Contains(told[0], "network lab: range:") || !strings.Contains(told[0], "leases that leave the range: 1") {
			t.Errorf("%q", told)
		}
		if told := r.events(boot.ConfigRefused); len(told) != 1 || !strings.Contains(told[0], "the old one stays") {
			t.Errorf("%q", told)
		}
		r.figure("muster_config_reloads_total", "result=refused", 1)
		r.figure("muster_config_reloads_total", "result=applied", 1)
	})
}
