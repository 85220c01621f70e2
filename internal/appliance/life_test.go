// life_test.go: the daemon from its start to its end, on a computer made up.

package appliance

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/store/bolt"
)

const quiet = "[syslog]\nlisten = \"off\"\n"

// lab is a network that gives addresses, with nothing else around it.
const lab = quiet + "[[network]]\nname = \"lab\"\ninterface = \"eth0\"\nmode = \"full\"\nrange = \"10.77.0.100-10.77.0.109\"\nprobe = false\n"

// TestLife: it gives addresses, answers on its sockets, and what it promised is in
// the store when it has ended.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab)
		r.run()
		r.must("muster is up", "version=7")
		r.must("name=lab", "mode=full", "address=10.77.0.1", "state=serving")
		a := r.lease("eth0", 1)
		if a.String() != "10.77.0.100" {
			t.Fatalf("leased %v", a)
		}
		for at, want := range map[string]string{"admin http://x/api/v1/status": "200 OK", "admin http://x/metrics": "200 OK", "admin http://x/none": "404 Not Found"} {
			i := strings.LastIndex(at, " ")
			resp, err := r.c.web[at[:i]].client().Get(at[i+1:])
			must(t, err)
			b, err := io.ReadAll(resp.Body)
			must(t, err)
			resp.Body.Close()
			if resp.Status != want {
				t.Errorf("%s: %s, want %s\n%s", at, resp.Status, want, b)
			}
		}
		dir := r.dataDir
		r.end()
		r.must("stopped")
		s, err := bolt.Open(filepath.Join(dir, "muster.db"))
		must(t, err)
		defer s.Close()
		must(t, s.View(t.Context(), func(tx boot.ReadTx) error {
			l, err := tx.Lease("lab", a)
			if err == nil && (l == nil || !l.Active(time.Now())) {
				t.Errorf("the lease is %+v", l)
			}
			return err
		}))
	})
}

// TestOnce: keys and names that machines rely on are made once.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab)
		r.run()
		key, duid := r.key, r.duid
		r.end()
		again := newRig(t, lab)
		again.opt.Read = r.opt.Read
		again.run()
		if again.key != key || !bytes.Equal(again.duid, duid) || key == (boot.Key{}) || len(duid) != 18 {
			t.Errorf("another key or DUID: %x, %x", again.key, again.duid)
		}
	})
}

// TestStartFails: what cannot be opened is said with what to do, and nothing stays
// open.
func TestStartFails(t *testing.T) {
	used, denied := error(syscall.EADDRINUSE), error(syscall.EACCES)
	const six = "subnet6 = \"fd77::/64\"\n"
	const tls = "[https]\nlisten = \":443\"\n"
	for _, x := range []struct {
		name, toml, refuse string
		err                error
		want               string
	}{
		{"DHCP", lab, "udp 67", used, "port 67/udp is taken by"},
		{"DHCP not allowed", lab, "udp 67", denied, "no permission to open port 67/udp"},
		{"PXE", lab, "udp 4011", used, "port 4011/udp is taken by"},
		{"DHCPv6", lab + six, "udp 547", used, "port 547/udp is taken by"},
		{"TFTP", lab, "udp :69", used, "port 69/udp is taken by"},
		{"HTTP", lab, "tcp :80", used, "port 80/tcp is taken by"},
		{"HTTPS", lab + tls, "tcp :443", used, "port 443/tcp is taken by"},
		{"a certificate", lab + tls + "cert = \"/nowhere/a\"\nkey = \"/nowhere/b\"\n", "", nil, "[https]: stat /nowhere/a"},
		{"log lines that were asked for", strings.Replace(lab, `"off"`, `":514"`, 1), "syslog :514", used, "port 514/udp is taken by"},
		{"the API's socket", "", "admin", denied, "permission denied"},
		{"a range elsewhere", strings.ReplaceAll(lab, "10.77.0.1", "10.99.0.1"), "", nil, "muster.toml:7: range 10.99.0.100-10.99.0.109: 10.99.0.100 is outside subnet 10.77.0.0/24"},
		{"a hook without a program", lab + "[[hook]]\nname = \"x\"\ncommand = [\"/nowhere/x\"]\n", "", nil, "muster.toml:11: command: stat /nowhere/x"},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := newRig(t, x.toml)
			if x.err != nil {
				r.c.refuse[x.refuse] = x.err
			}
			err := r.daemon.run(t.Context())
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v, want %s", err, x.want)
			}
			if l := r.c.left(); l != nil {
				t.Errorf("sockets are left open: %v", l)
			}
		})
	}
	r := newRig(t, lab)
	dir := filepath.Join(t.TempDir(), "a file")
	must(t, os.WriteFile(dir, nil, 0o600))
	read := r.opt.Read
	r.opt.Read = func() (c *config.Config, err error) {
		if c, err = read(); err == nil {
			c.DataDir = dir
		}
		return c, err
	}
	if err := r.daemon.run(t.Context()); err == nil || !strings.Contains(err.Error(), "choose another with --data-dir") {
		t.Errorf("%v", err)
	}
}

// TestMayFail: what is not needed is missed, said once, and no reason to end.
func TestMayFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, strings.Replace(lab, quiet, "", 1))
		r.c.refuse["syslog :514"] = syscall.EADDRINUSE
		r.c.noFrames, r.c.advice = true, "a wall"
		r.run()
		r.must("machines' log lines are not taken", `listen = \"off\"`, "port 514/udp is taken by")
		r.must("no permission for raw frames")
		r.must("eth0: a wall udp [67 69 4011 514] tcp [80]")
		s, err := r.status(t.Context())
		must(t, err)
		if len(s.Warnings) < 2 || r.engine.Policy().LogPort != 0 {
			t.Errorf("warnings %q, log port %d", s.Warnings, r.engine.Policy().LogPort)
		}
	})
}

// TestNothing: without a network nothing is listened on but the API's socket and port, and a
// person is told what to write.
func TestNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		r.run()
		r.must("nothing is configured, so nothing is answered; write /etc/muster/muster.toml", "muster serve -i eth0")
		if l := slices.Sorted(slices.Values(r.c.left())); strings.Join(l, ", ") != "admin, tcp 127.0.0.1:8067" {
			t.Errorf("open: %v", l)
		}
		resp, err := r.c.web["admin"].client().Get("http://x/api/v1/status")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%v, %v", resp, err)
		}
		resp.Body.Close()
	})
}
