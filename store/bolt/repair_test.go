package bolt

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store"
)

func update(t *testing.T, s *store.Store, fn func(boot.Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t *testing.T, path string) *store.Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestWithoutItsLog: a file that was copied alone is refused with words, and Repair
// goes on with it: numbers go on where nothing had one, what was there is kept, and it
// is known that something may be missing.
func TestWithoutItsLog(t *testing.T) {
	path := made(t, 10)
	for i := range 2 {
		if err := os.Remove(segmentPath(path, i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(path); !errors.Is(err, ErrUnpaired) || !strings.Contains(err.Error(), "muster store repair") {
		t.Fatalf("a file without its log: %v", err)
	}
	if _, damage, err := Check(path); err != nil || len(damage) != 2 {
		t.Errorf("check says %q, %v", damage, err)
	}
	damage, forgotten, err := Repair(t.Context(), path)
	if err != nil || len(damage) != 1 || len(forgotten) != 0 {
		t.Errorf("repair says %q, %q, %v", damage, forgotten, err)
	}
	if kept, _ := filepath.Glob(path + ".unpaired-*"); len(kept) != 1 {
		t.Errorf("kept: %q", kept)
	}
	s := mustOpen(t, path)
	if doubted, err := s.Doubted(t.Context()); !doubted || err != nil || len(s.Damage()) > 0 {
		t.Errorf("after a repair: doubted %v, %v; damage %q", doubted, err, s.Damage())
	}
	update(t, s, func(tx boot.Tx) error {
		n, err := tx.Append(boot.Event{Kind: boot.HostAdded})
		if err != nil || n < 1<<20 {
			t.Errorf("the next event has number %d, %v", n, err)
		}
		if h, err := tx.HostByName("host-3"); h == nil || err != nil {
			t.Errorf("host-3: %v, %v", h, err)
		}
		return store.Trust(tx)
	})
	if doubted, err := s.Doubted(t.Context()); doubted || err != nil {
		t.Errorf("after all was done: doubted %v, %v", doubted, err)
	}
}

// TestKillIsNoDamage: whenever the process is killed, also before anything was folded,
// nothing is lost and nothing is doubted.
func TestKillIsNoDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "muster.db")
	s := mustOpen(t, path)
	for round := range 4 {
		for i := range 3 {
			killed := mustOpen(t, crashed(t, path))
			if doubted, err := killed.Doubted(t.Context()); doubted || err != nil || len(killed.Damage()) > 0 {
				t.Errorf("round %d, write %d: doubted %v, %v; damage %q", round, i, doubted, err, killed.Damage())
			}
			killed.Close()
			update(t, s, func(tx boot.Tx) error { return fillForFlips(tx, 3*round+i, 3*round+i+1) })
		}
		s.Close()
		s = mustOpen(t, path)
	}
}

// TestLostHost: a machine whose record is damaged is not one that nobody knows, until
// a person says so; its neighbours are served.
func TestLostHost(t *testing.T) {
	path := made(t, 10)
	spoil(t, path, func(raw []byte) { raw[bytes.LastIndex(raw, []byte(`"SN-3"`))+1] ^= 1 })
	mac := boot.MAC{0x52, 0x54, 0, 0, 0, 3}
	s := mustOpen(t, path)
	if d := strings.Join(s.Damage(), "\n"); !strings.Contains(d, "host 4: the record does not agree with its checksum") || !strings.Contains(d, "table host: 1 of 10 records are lost") {
		t.Errorf("it is told as %s", d)
	}
	if err := s.View(t.Context(), func(tx boot.ReadTx) error {
		h, err := tx.HostByMAC(mac)
		if h != nil || !errors.Is(err, boot.ErrLost) {
			t.Errorf("the lost host is found by its MAC as %+v, %v", h, err)
		}
		hs, err := tx.Hosts(0, 100)
		if len(hs) != 9 || err != nil {
			t.Errorf("%d hosts, %v", len(hs), err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := s.Update(t.Context(), func(tx boot.Tx) error {
		return tx.PutHost(&boot.Host{ID: 99, Name: "new", State: boot.Pending, MACs: []boot.MAC{mac}})
	}); !errors.Is(err, boot.ErrLost) {
		t.Errorf("a new host with the MAC of the lost one: %v", err)
	}
	removed, err := s.Forget(t.Context())
	if err != nil || len(removed) != 3 || len(s.Damage()) != 0 {
		t.Errorf("forgotten: %q, %v; damage %q", removed, err, s.Damage())
	}
	update(t, s, func(tx boot.Tx) error {
		return tx.PutHost(&boot.Host{ID: 99, Name: "new", State: boot.Pending, MACs: []boot.MAC{mac}})
	})
	s.Close()
	if s = mustOpen(t, path); len(s.Damage()) != 0 {
		t.Errorf("after a repair and a restart: %q", s.Damage())
	}
	if kept, _ := filepath.Glob(path + ".damaged-*"); len(kept) != 1 {
		t.Errorf("kept: %q", kept)
	}
}

// TestLookupsAreMadeAgain: damage in a lookup costs nothing.
func TestLookupsAreMadeAgain(t *testing.T) {
	path := made(t, 10)
	hit := 0
	spoil(t, path, func(raw []byte) {
		for _, key := range []string{"SN-3", "host-5"} {
			for at := 0; ; at++ {
				i := bytes.Index(raw[at:], []byte(key))
				if i < 0 {
					break
				}
				if at += i; raw[at-1] != '"' { // not the host's own
					raw[at] ^= 0x20
					hit++
				}
			}
		}
	})
	if hit < 2 {
		t.Fatal(hit)
	}
	s := mustOpen(t, path)
	if len(s.Damage()) == 0 {
		t.Error("nothing is told")
	}
	if err := s.View(t.Context(), func(tx boot.ReadTx) error {
		h, err := tx.HostBySerial("SN-3")
		if h == nil || err != nil {
			t.Errorf("by serial: %+v, %v", h, err)
		}
		if h, err = tx.HostByName("host-5"); h == nil || err != nil {
			t.Errorf("by name: %+v, %v", h, err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// TestNumbersAreNotGivenTwice, whatever a counter says.
func TestNumbersAreNotGivenTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "muster.db")
	s := mustOpen(t, path)
	update(t, s, func(tx boot.Tx) error {
		return errors.Join(fillForFlips(tx, 0, 10), tx.SetCounter(boot.LastHost, 4))
	})
	s.Close()
	s = mustOpen(t, path)
	update(t, s, func(tx boot.Tx) error {
		if n, err := tx.Counter(boot.LastHost); n <= 10 || err != nil {
			t.Errorf("the last host is number %d, %v", n, err)
		}
		return nil
	})
}

// TestTalliesAreMadeAgain: what was lost with a host does not count any more: neither
// against the limit of machines that wait, nor for a template that nobody could remove.
func TestTalliesAreMadeAgain(t *testing.T) {
	for what, at := range map[string]string{"a host": `"SN-3"`, "a counter": boot.PendingHosts.Key()} {
		path := filepath.Join(t.TempDir(), "muster.db")
		s := mustOpen(t, path)
		update(t, s, func(tx boot.Tx) error {
			err := fillForFlips(tx, 0, 10)
			for i, h := range []*boot.Host{{State: boot.Pending, Template: "gone"}, {State: boot.Pending, Template: "kept"}, {State: boot.Approved, Template: "kept", Auto: true}} {
				h.ID, h.Name, h.Serial = boot.HostID(i+4), "host-"+string(rune('3'+i)), "SN-"+string(rune('3'+i))
				h.MACs = []boot.MAC{{0x52, 0x54, 0, 0, 0, byte(i + 3)}}
				err = errors.Join(err, tx.PutHost(h))
			}
			return err
		})
		s.Close()
		spoil(t, path, func(raw []byte) { raw[bytes.LastIndex(raw, []byte(at))+1] ^= 1 })
		s = mustOpen(t, path)
		if len(s.Damage()) == 0 {
			t.Fatalf("%s: nothing is damaged", what)
		}
		want := map[boot.Counter]uint64{boot.PendingHosts: 1, boot.AutoHosts: 1, boot.NamedBy("gone"): 0, boot.NamedBy("kept"): 2}
		if what == "a counter" {
			want[boot.PendingHosts], want[boot.NamedBy("gone")] = 2, 1
		}
		if err := s.View(t.Context(), func(tx boot.ReadTx) error {
			for c, want := range want {
				if n, err := tx.Counter(c); n != want || err != nil {
					t.Errorf("%s is lost: %s is %d, want %d, %v", what, c.Key(), n, want, err)
				}
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		s.Close()
	}
}
