package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bbolt "go.etcd.io/bbolt"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store"
)

// crashed copies a live store's files, as a kill or a power cut would leave them.
func crashed(t *testing.T, path string) string {
	t.Helper()
	dir := t.TempDir()
	names, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		in, err := os.Open(n)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		out, err := os.Create(filepath.Join(dir, filepath.Base(n)))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if _, err := io.Copy(out, in); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, filepath.Base(path))
}

func put(t *testing.T, b *backend, cs ...store.Change) {
	t.Helper()
	if n, err := b.Commit([][]store.Change{cs}); err != nil || n != 1 {
		t.Fatal(n, err)
	}
}

func all(t *testing.T, b *backend, table store.Table, prefix, after string) string {
	t.Helper()
	var out []string
	if err := b.View(func(s store.Snapshot) error {
		s.Range(table, []byte(prefix), []byte(after), func(k, v []byte) bool {
			out = append(out, fmt.Sprintf("%s=%s", k, v))
			return true
		})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func set(k, v string) store.Change {
	return store.Change{Table: "lease", Key: []byte(k), Value: []byte(v)}
}
func del(k string) store.Change { return store.Change{Table: "lease", Key: []byte(k)} }

// TestRangeSeesWhatIsPending: what is in bbolt, in folding and in the log only is
// one order, the newest of each key, and deletions hide what lies beneath.
func TestRangeSeesWhatIsPending(t *testing.T) {
	b, err := open(filepath.Join(t.TempDir(), "m.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	put(t, b, set("a1", "old"), set("a2", "old"), set("a4", "old"), set("b", "old"))
	if err := b.drain(); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.folding = newPending()
	b.folding.add([]store.Change{set("a2", "mid"), set("a3", "mid"), set("a4", "mid")})
	b.mu.Unlock()
	put(t, b, set("a3", "new"), del("a4"), set("a0", "new"), set("c", "new"))
	if got, want := all(t, b, "lease", "", ""), "a0=new a1=old a2=mid a3=new b=old c=new"; got != want {
		t.Errorf("all: %s, want %s", got, want)
	}
	if got, want := all(t, b, "lease", "a", "a1"), "a2=mid a3=new"; got != want {
		t.Errorf("after a1: %s, want %s", got, want)
	}
}

// TestCrashKeepsWhatWasCommitted at every point: log only, one segment folded,
// two generations, a torn last record.
func TestCrashKeepsWhatWasCommitted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	b, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	check := func(what, want string) {
		t.Helper()
		c, err := open(crashed(t, path))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := all(t, c, "lease", "", ""); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
		if err := c.Close(); err != nil {
			t.Errorf("%s: close: %v", what, err)
		}
		if _, damage, err := Check(c.path); err != nil || len(damage) > 0 {
			t.Errorf("%s: a clean end leaves %q, %v", what, damage, err)
		}
	}
	put(t, b, set("a", "1"), set("b", "1"))
	check("log only", "a=1 b=1")
	if err := b.turn(); err != nil {
		t.Fatal(err)
	}
	put(t, b, set("a", "2"), del("b"))
	check("two segments", "a=2")
	if err := b.drain(); err != nil {
		t.Fatal(err)
	}
	put(t, b, set("a", "3"))
	check("folded and more", "a=3")
	for i := range 5 { // over and over the same two files
		put(t, b, set("a", fmt.Sprint(i)), set("c", fmt.Sprint(i)))
		if err := b.drain(); err != nil {
			t.Fatal(err)
		}
	}
	put(t, b, set("d", "last"))
	check("many turns", "a=4 c=4 d=last")

	// The last record is torn: it was acknowledged to nobody, what is before it
	// was. One wrong bit is no torn record: that one was whole.
	end := b.segments[b.cur].end
	put(t, b, set("e", strings.Repeat("torn", 1000)))
	for what, damage := range map[string]func([]byte){
		"torn":      func(raw []byte) { clear(raw[end+512:]) },
		"half gone": func(raw []byte) { clear(raw[:end+512][end:]) },
		"mended":    func(raw []byte) { raw[end+1000] ^= 4 },
		"length":    func(raw []byte) { raw[end+1] ^= 1 },
		"checksum":  func(raw []byte) { raw[end+5] ^= 0x80 },
		"of when":   func(raw []byte) { raw[end+15] ^= 2 },
	} {
		torn := crashed(t, path)
		name := segmentPath(torn, b.cur)
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		damage(raw)
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := open(torn)
		if err != nil {
			t.Fatal(err)
		}
		want, told := "a=4 c=4 d=last e="+strings.Repeat("torn", 1000), 1
		if what == "torn" || what == "half gone" {
			want, told = "a=4 c=4 d=last", 0
		}
		if got := all(t, c, "lease", "", ""); got != want || len(c.Damage()) != told {
			t.Errorf("%s: %.100s, want %.100s; told: %q", what, got, want, c.Damage())
		}
		c.Close() // a 32-bit process has room for few mappings
	}
}

// TestRestoredAloneIsTold: half of a pair is refused with words.
func TestRestoredAloneIsTold(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.db")
	b, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, set("a", "1"))
	old := crashed(t, path)
	for range 3 {
		put(t, b, set("a", "2"))
		if err := b.drain(); err != nil {
			t.Fatal(err)
		}
	}
	put(t, b, set("a", "3"))
	now := crashed(t, path)
	b.Close()
	mix := func(db, log string) string {
		to := filepath.Join(t.TempDir(), "m.db")
		for from, name := range map[string]string{db: to, segmentPath(log, 0): segmentPath(to, 0), segmentPath(log, 1): segmentPath(to, 1)} {
			raw, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return to
	}
	if _, err := open(mix(old, now)); !errors.Is(err, ErrUnpaired) || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("an older file with a newer log: %v", err)
	}
	other := filepath.Join(t.TempDir(), "o.db")
	o, err := open(other)
	if err != nil {
		t.Fatal(err)
	}
	o.Close()
	if _, err := open(mix(other, now)); !errors.Is(err, ErrUnpaired) || !strings.Contains(err.Error(), "is of another store") {
		t.Errorf("another store's log: %v", err)
	}
	junk := mix(now, now)
	if err := os.WriteFile(segmentPath(junk, 0), bytes.Repeat([]byte("junk"), segmentSize/4), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(junk); err == nil || !strings.Contains(err.Error(), "header is damaged") {
		t.Errorf("junk: %v", err)
	}
}

// TestLargeCommitAndFullLog: a commit larger than the log goes to bbolt, and a
// log that is full turns.
func TestLargeCommitAndFullLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	b, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, set("a", "before"), set("z", "stays"))
	put(t, b, store.Change{Table: "lease", Key: []byte("a"), Value: bytes.Repeat([]byte("x"), segmentSize)})
	for i := range 30 {
		put(t, b, store.Change{Table: "lease", Key: []byte("big"), Value: bytes.Repeat([]byte{byte(i)}, segmentSize/4)})
	}
	c, err := open(crashed(t, path))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b.Close()
	n := 0
	if err := c.View(func(s store.Snapshot) error {
		s.Range("lease", nil, nil, func(k, v []byte) bool {
			n++
			if string(k) == "a" && len(v) != segmentSize || string(k) == "big" && v[0] != 29 {
				t.Errorf("%s has %d bytes, first %d", k, len(v), v[0])
			}
			return true
		})
		return nil
	}); err != nil || n != 3 {
		t.Errorf("%d records, %v", n, err)
	}
}

func openReadOnlyCopy(t *testing.T, path string) (*bbolt.DB, error) {
	return bbolt.Open(crashed(t, path), 0o600, &bbolt.Options{ReadOnly: true})
}

// TestFoldThatFails loses nothing: commits go on until the log is full, then
// say why, and go on when the disk is well again.
func TestFoldThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	b, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, set("a", "1"))
	good := b.db
	ro, err := openReadOnlyCopy(t, path)
	if err != nil {
		t.Fatal(err)
	}
	b.db = ro
	var failed error
	for i := 0; i < 100 && failed == nil; i++ {
		_, failed = b.Commit([][]store.Change{{{Table: "lease", Key: []byte("k"), Value: bytes.Repeat([]byte{1}, segmentSize/3)}}})
	}
	if failed == nil || !strings.Contains(failed.Error(), "fold the log") {
		t.Fatalf("a full log and a disk that takes nothing: %v", failed)
	}
	<-b.folded // the retry under way still has the sick disk
	b.folded = nil
	b.db = good
	b.refold()
	put(t, b, set("b", "2"))
	if got := all(t, b, "lease", "a", ""); got != "a=1" {
		t.Errorf("a: %s", got)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	ro.Close()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.View(context.Background(), func(boot.ReadTx) error { return nil }); err != nil {
		t.Error(err)
	}
}

// FuzzRecord: what is in a log cannot crash the reader, and what was written is
// read back.
func FuzzRecord(f *testing.F) {
	f.Add(appendRecord(nil, 1, []store.Change{set("a", "1"), del("b")})[recordHeader:])
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		cs, err := readRecord(b)
		if err != nil {
			if !errors.Is(err, errRecord) {
				t.Fatal(err)
			}
			return
		}
		again, err := readRecord(appendRecord(nil, 7, cs)[recordHeader:])
		if err != nil || len(again) != len(cs) {
			t.Fatalf("%d changes, then %d: %v", len(cs), len(again), err)
		}
	})
}
