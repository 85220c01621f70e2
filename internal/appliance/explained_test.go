// explained_test.go: what the daemon answers to muster explain.

package appliance

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// TestExplain: each step of a machine in thought is shown with what it would read, and
// nothing of it happened.
func TestExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		kernel := filepath.Join(t.TempDir(), "vmlinuz")
		must(t, os.WriteFile(kernel, []byte("kernel"), 0o600))
		c, err := r.opt.Read()
		must(t, err)
		must(t, os.MkdirAll(filepath.Join(c.DataDir, "loaders"), 0o700))
		must(t, os.WriteFile(filepath.Join(c.DataDir, "loaders", "undionly.kpxe"), make([]byte, 77), 0o600))
		r.bench(Bench{Interface: "eth0", Kernel: kernel, Cmdline: "console=ttyS0"}, benchRange)
		r.run()
		e, err := r.explain(t.Context(), client.ExplainRequest{MAC: boot.MAC{0x52, 0x54, 0, 0, 0, 1}, Platform: boot.BIOS})
		must(t, err)
		var steps []string
		size := map[string]int64{}
		script := ""
		for _, s := range e.Steps {
			steps = append(steps, s.Step)
			size[s.Step] = s.Size
			script += s.Script
		}
		want := "firmware DISCOVER, firmware REQUEST, loader, iPXE DISCOVER, iPXE REQUEST, first script, script with identity"
		if got := strings.Join(steps, ", "); e.Network != "eth0" || got != want {
			t.Errorf("on %s: %s\nwant %s", e.Network, got, want)
		}
		if size["loader"] != 77 || !strings.Contains(script, "/vmlinuz console=ttyS0") {
			t.Errorf("sizes %v, and the scripts say:\n%s", size, script)
		}
		if s, err := r.status(t.Context()); err != nil || s.Pending != 0 || len(r.events(boot.HostEnrolled)) != 0 {
			t.Errorf("%v: explaining left something", err)
		}
	})
}

// TestExplainMistakes: what cannot be explained is said, with what to do.
func TestExplainMistakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab+"[[network]]\nname = \"six\"\ninterface = \"eth1\"\nsubnet6 = \"fd77::/64\"\n")
		r.c.plug("eth1", "fd77::1/64")
		r.run()
		mac := boot.MAC{0x52, 0x54, 0, 0, 0, 1}
		for _, x := range []struct {
			q    client.ExplainRequest
			want string
		}{
			{client.ExplainRequest{Host: "web9"}, "no host is called web9"},
			{client.ExplainRequest{MAC: mac, Network: "nowhere"}, "no network is called nowhere"},
			{client.ExplainRequest{MAC: mac, Network: "lab", IPv6: true}, "no IPv6 on network lab: subnet6 turns it on"},
			{client.ExplainRequest{MAC: mac, Relay: netip.MustParseAddr("10.99.0.1")}, "no network serves relay 10.99.0.1"},
			{client.ExplainRequest{MAC: mac, Platform: boot.PiPlatform, HTTP: true}, "raspberry-pi has no HTTP boot of its own"},
			{client.ExplainRequest{}, "has no MAC address yet"},
		} {
			if _, err := r.explain(t.Context(), x.q); err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%+v: %v, want %s", x.q, err, x.want)
			}
		}
		e, err := r.explain(t.Context(), client.ExplainRequest{MAC: mac, Network: "six", Platform: boot.X64UEFI})
		if err != nil || len(e.Steps) == 0 || e.Steps[0].Step != "firmware SOLICIT" {
			t.Errorf("%v, %+v", err, e)
		}
		r.reread(quiet)
		if _, err := r.explain(t.Context(), client.ExplainRequest{MAC: mac}); err == nil || !strings.Contains(err.Error(), "no network is configured") {
			t.Errorf("%v", err)
		}
	})
}
