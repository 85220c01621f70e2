package bolt

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// TestRestore: a store that is made of a dump has every record; its numbers go on far
// ahead, and it says what it was made of until somebody has dealt with that.
func TestRestore(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(filepath.Join(dir, "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Update(t.Context(), func(tx boot.Tx) error {
		for i := range 300 {
			if err := tx.PutHost(&boot.Host{ID: boot.HostID(i + 1), Name: "h" + time.Duration(i).String(), State: boot.Approved, MACs: []boot.MAC{{2, 0, 0, 0, byte(i >> 8), byte(i)}}}); err != nil {
				return err
			}
		}
		if _, err := tx.Append(boot.Event{Kind: boot.HostAdded, Text: "x"}); err != nil {
			return err
		}
		return tx.SetCounter(boot.LastHost, 300)
	}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	n, err := s.Dump(&b)
	if err != nil || n < 600 {
		t.Fatal(n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	of := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	path := filepath.Join(dir, "b.db")
	if got, err := Restore(path, bytes.NewReader(b.Bytes()), of, false); err != nil || got != n {
		t.Fatal(got, err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.View(t.Context(), func(tx boot.ReadTx) error {
		hs, err := tx.Hosts(0, 1000)
		if err != nil || len(hs) != 300 || hs[299].MACs[0] != (boot.MAC{2, 0, 0, 0, 1, 43}) {
			t.Errorf("%d hosts, %v", len(hs), err)
		}
		if h, err := tx.HostByMAC(boot.MAC{2, 0, 0, 0, 0, 7}); err != nil || h == nil {
			t.Errorf("by MAC: %v, %v", h, err)
		}
		for _, c := range []boot.Counter{boot.LastHost, boot.LastEvent} {
			if n, err := tx.Counter(c); err != nil || n < 1<<20 {
				t.Errorf("%s is %d, %v", c.Key(), n, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got, err := r.RestoredFrom(t.Context()); err != nil || !got.Equal(of) {
		t.Errorf("%v, %v", got, err)
	}
	if yes, err := r.Doubted(t.Context()); err != nil || !yes || len(r.Damage()) > 0 {
		t.Errorf("%t, %v, %q", yes, err, r.Damage())
	}
	if _, err := Restore(path, bytes.NewReader(b.Bytes()), of, false); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("over another store: %v", err)
	}
	miscounted := bytes.Clone(b.Bytes())
	miscounted[len(miscounted)-1] ^= 1
	path = filepath.Join(dir, "c.db")
	for _, c := range []struct {
		dump []byte
		want string
	}{
		{nil, "no dump"},
		{b.Bytes()[:10], "no dump"},
		{append([]byte("x"), b.Bytes()...), "no dump"},
		{b.Bytes()[:b.Len()/2], "cut off"},
		{b.Bytes()[:b.Len()-1], "cut off"},
		{miscounted, "its end says"},
	} {
		if _, err := Restore(path, bytes.NewReader(c.dump), of, false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d bytes of it: %v, want %q", len(c.dump), err, c.want)
		}
		if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}
