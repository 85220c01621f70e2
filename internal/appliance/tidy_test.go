// tidy_test.go: what is removed by itself.

package appliance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/store/mem"
)

// TestDropOld: the oldest go, by number and by age, in steps.
func TestDropOld(t *testing.T) {
	s, err := mem.Open()
	must(t, err)
	defer s.Close()
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	add := func(n int, age time.Duration) {
		must(t, s.Update(t.Context(), func(tx boot.Tx) error {
			for range n {
				if _, err := tx.Append(boot.Event{At: now.Add(-age), Kind: boot.HostAdded, Text: "x"}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	kept := func() (first uint64, n int) {
		must(t, s.View(t.Context(), func(tx boot.ReadTx) error {
			es, err := tx.Events(0, 10_000)
			if len(es) > 0 {
				first = es[0].Seq
			}
			n = len(es)
			return err
		}))
		return first, n
	}
	add(1300, 48*time.Hour)
	add(700, time.Minute)
	for _, x := range []struct {
		r       config.Retention
		dropped uint64
		left    int
	}{
		{config.Retention{Max: 5000}, 0, 2000},
		{config.Retention{Max: 1900}, 100, 1900},
		{config.Retention{Max: 5000, Keep: 24 * time.Hour}, 1200, 700},
		{config.Retention{Max: 5000, Keep: 24 * time.Hour}, 0, 700},
		{config.Retention{Max: 5000, Keep: time.Second}, 700, 0},
		{config.Retention{Max: 5000, Keep: time.Second}, 0, 0},
	} {
		n, err := dropOld(t.Context(), s, x.r, now)
		if _, left := kept(); err != nil || n != x.dropped || left != x.left {
			t.Errorf("%+v dropped %d and left %d (%v), want %d and %d", x.r, n, left, err, x.dropped, x.left)
		}
	}
	add(1, 0)
	if first, n := kept(); first != 2001 || n != 1 {
		t.Errorf("the next is %d", first)
	}
}

// TestTidyFiles: files that nothing refers to go, at the start those from before it and
// later those of an hour; the rest stays.
func TestTidyFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		kernel := filepath.Join(t.TempDir(), "vmlinuz")
		must(t, os.WriteFile(kernel, []byte("x"), 0o600))
		r.bench(Bench{Interface: "eth0", Kernel: kernel}, benchRange)
		r.run()
		spec := r.thisRun.Files["template.toml"].Digest
		put := func(text string, age time.Duration) string {
			t.Helper()
			b, err := r.images.Put(t.Context(), strings.NewReader(text), "")
			must(t, err)
			at := time.Now().Add(-age)
			must(t, os.Chtimes(filepath.Join(r.dataDir, "files", b.Digest[:2], b.Digest), at, at))
			return b.Digest
		}
		old, young := put("old", 2*time.Hour), put("young", -30*time.Minute)
		at := time.Now().Add(-2 * time.Hour)
		must(t, os.Chtimes(filepath.Join(r.dataDir, "files", spec[:2], spec), at, at))
		r.after(61 * time.Minute)
		for _, x := range []struct {
			name, digest string
			stays        bool
		}{{"what nothing refers to", old, false}, {"an upload under way", young, true}, {"the template of this run", spec, true}} {
			if there := r.inFiles(x.digest[:2], x.digest); there != x.stays {
				t.Errorf("%s: it is there: %t", x.name, there)
			}
		}
		r.must("files that nothing refers to were set aside for a week", "files=1", "bytes=3")
		r.after(time.Hour)
		if r.inFiles(young[:2], young) {
			t.Error("an upload that never ended stays")
		}
		// Something refers to it again: it was not the end of it.
		if !r.inFiles("unreferenced", old) {
			t.Error("it is not set aside")
		}
		if n, there := r.images.Has(old); !there || n != 3 || !r.inFiles(old[:2], old) {
			t.Errorf("what was set aside does not come back: %d bytes", n)
		}
		at = time.Now().Add(-8 * 24 * time.Hour)
		must(t, os.Chtimes(filepath.Join(r.dataDir, "files", "unreferenced", young), at, at))
		r.after(time.Hour)
		if r.inFiles("unreferenced", young) {
			t.Error("after a week it is still there")
		}
	})
}

// inFiles reports that there is a file in a folder of the file store.
func (r *rig) inFiles(folder, name string) bool {
	_, err := os.Stat(filepath.Join(r.dataDir, "files", folder, name))
	return err == nil
}

// TestTidyEvents: the daemon keeps as many events as the configuration says.
func TestTidyEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab+"[events]\nmax = 1000\n")
		r.run()
		must(t, r.store.Update(t.Context(), func(tx boot.Tx) error {
			for range 1500 {
				if _, err := tx.Append(boot.Event{At: time.Now(), Kind: boot.HostAdded, Text: "x"}); err != nil {
					return err
				}
			}
			return nil
		}))
		r.after(2 * time.Minute)
		if n := len(r.events(boot.HostAdded)); n != 1000 {
			t.Errorf("%d events are kept", n)
		}
	})
}
