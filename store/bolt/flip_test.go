package bolt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store"
)

// answers are everything that a store tells, by name.
func answers(s *store.Store) (map[string]string, error) {
	out := map[string]string{}
	add := func(name string, v any, err error) {
		b, _ := json.Marshal(v)
		if out[name] = string(b); err != nil {
			out[name] = "error: " + err.Error()
		}
	}
	err := s.View(context.Background(), func(tx boot.ReadTx) error {
		for i := range flipHosts + 1 {
			h, err := tx.HostByName(fmt.Sprintf("host-%d", i))
			add(fmt.Sprintf("name %d", i), h, err)
			h, err = tx.HostByMAC(boot.MAC{0x52, 0x54, 0, 0, byte(i >> 8), byte(i)})
			add(fmt.Sprintf("mac %d", i), h, err)
			h, err = tx.HostBySerial(fmt.Sprintf("SN-%d", i))
			add(fmt.Sprintf("serial %d", i), h, err)
			l, err := tx.Lease("lab", addr(i))
			add(fmt.Sprintf("lease %d", i), l, err)
		}
		for _, c := range []boot.Counter{boot.LastHost, boot.LastEvent, boot.Checked} {
			n, err := tx.Counter(c)
			add("counter "+c.Key(), n, err)
		}
		x, err := tx.TemplateByName("rescue")
		add("template", x, err)
		b, err := tx.Secret("key")
		add("secret", b, err)
		hs, err := tx.Hosts(0, 10000)
		add("hosts", len(hs), err)
		es, err := tx.Events(0, 10000)
		for _, e := range es {
			add(fmt.Sprintf("event %d", e.Seq), e, nil)
		}
		add("events", len(es), err)
		return nil
	})
	return out, err
}

const flipHosts = 150

func fillForFlips(tx boot.Tx, from, to int) error {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	var errs []error
	for i := from; i < to; i++ {
		m := boot.MAC{0x52, 0x54, 0, 0, byte(i >> 8), byte(i)}
		errs = append(errs,
			tx.PutHost(&boot.Host{ID: boot.HostID(i + 1), Name: fmt.Sprintf("host-%d", i), State: boot.Approved, MACs: []boot.MAC{m}, Serial: fmt.Sprintf("SN-%d", i), Params: map[string]string{"disk": "/dev/sda"}}),
			tx.PutLease(boot.Lease{Network: "lab", Addr: addr(i), Holder: boot.HeldBy(m), MAC: m, Kind: boot.Dynamic, Starts: at, Expires: at.Add(time.Hour)}))
		_, err := tx.Append(boot.Event{At: at, Kind: boot.HostAdded, Host: boot.HostID(i + 1), Text: "added"})
		errs = append(errs, err)
	}
	return errors.Join(append(errs, tx.SetCounter(boot.LastHost, uint64(to)), tx.SetCounter(boot.Checked, 7), tx.SetSecret("key", []byte("secret")))...)
}

// TestFlippedBit: whatever bit of the file or of the log is wrong, no answer changes
// without a word. What is whole is answered; a host that is lost is not taken for a
// machine that nobody knows; what is given next has a number that nothing had; and the
// store opens again, says the same, and can be written.
func TestFlippedBit(t *testing.T) {
	flips := 40
	if testing.Short() {
		flips = 3
	}
	if os.Getenv("MUSTER_LONG") != "" {
		flips = 2400
	}
	if n, err := strconv.Atoi(os.Getenv("MUSTER_FLIPS")); err == nil {
		flips = n
	}
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Setenv("TMPDIR", "/dev/shm") // thousands of stores, each synced
	}
	path := filepath.Join(t.TempDir(), "muster.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	update := func(fn func(boot.Tx) error) {
		t.Helper()
		if err := s.Update(context.Background(), fn); err != nil {
			t.Fatal(err)
		}
	}
	update(func(tx boot.Tx) error {
		return errors.Join(fillForFlips(tx, 0, flipHosts-20), tx.PutTemplate(&boot.Template{ID: 1, Name: "rescue", Version: 1}))
	})
	s.Close()
	clean := crashed(t, path)
	if s, err = Open(path); err != nil {
		t.Fatal(err)
	}
	for i := flipHosts - 20; i < flipHosts; i++ {
		update(func(tx boot.Tx) error { return fillForFlips(tx, i, i+1) })
	}
	killed := crashed(t, path) // with much in the log
	s.Close()

	want := map[string]map[string]string{}
	for _, from := range []string{clean, killed} {
		w, err := Open(thinCopy(t, from))
		if err != nil {
			t.Fatal(err)
		}
		if want[from], err = answers(w); err != nil || len(w.Damage()) > 0 {
			t.Fatal(err, w.Damage())
		}
		w.Close()
	}
	used := map[string][]int{} // pages, by the end of the file's name and where it is from
	for _, from := range []string{clean, killed} {
		used[from] = usedPages(t, from)
		for _, log := range []string{"-log0", "-log1"} {
			raw, err := os.ReadFile(from + log)
			if err != nil {
				t.Fatal(err)
			}
			for at := range 64 << 10 / pageOfTest {
				if bytes.ContainsFunc(raw[at*pageOfTest:(at+1)*pageOfTest], func(r rune) bool { return r != 0 }) {
					used[log+from] = append(used[log+from], at)
				}
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	silent, told := 0, 0
	for n := range flips {
		from, what := clean, "after a clean end"
		if n%2 == 1 {
			from, what = killed, "after a kill"
		}
		copied := thinCopy(t, from)
		name := []string{copied, copied, segmentPath(copied, 0), segmentPath(copied, 1)}[random.IntN(4)]
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		// One in four anywhere, the others where something is.
		bit := random.IntN(8 * min(len(raw), 64<<10))
		if used := used[name[len(copied):]+from]; len(used) > 0 && random.IntN(4) > 0 {
			bit = 8*(used[random.IntN(len(used))]*pageOfTest+random.IntN(pageOfTest)) + random.IntN(8)
		}
		raw[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		where := fmt.Sprintf("%s, bit %d of %s", what, bit, filepath.Base(name))
		if flipped(t, where, copied, want[from]) {
			told++
		} else {
			silent++
		}
		os.RemoveAll(filepath.Dir(copied))
	}
	t.Logf("of %d bits %d were told, %d changed nothing", flips, told, silent)
	if told < flips/8 && flips > 30 {
		t.Errorf("only %d of %d bits were noticed: does this test reach what it should?", told, flips)
	}
}

const pageOfTest = 4096

// usedPages are the pages of a file that say something.
func usedPages(t *testing.T, path string) (used []int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	im := &image{f: f, fn: func(raw) {}}
	if err := im.begin(st.Size()); err != nil || im.meta.pageSize != pageOfTest {
		t.Fatal(err, im.meta.pageSize)
	}
	im.see(0, 0)
	im.see(1, 0)
	im.freeList()
	im.buckets(im.meta.root)
	for at, seen := range im.seen {
		if seen {
			used = append(used, at)
		}
	}
	return used
}

// thinCopy copies a store that was closed, but for the end of the log, which nothing
// has reached.
func thinCopy(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "muster.db")
	for i, name := range []string{"", "-log0", "-log1"} {
		raw, err := os.ReadFile(path + name)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			raw = raw[:64<<10]
		}
		if err := os.WriteFile(to+name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			if err := os.Truncate(to+name, segmentSize); err != nil {
				t.Fatal(err)
			}
		}
	}
	return to
}

// flipped compares what a damaged store says with what the whole one said, and reports
// whether the damage was told.
func flipped(t *testing.T, where, damaged string, want map[string]string) bool {
	t.Helper()
	s, err := Open(damaged)
	if err != nil {
		if !errors.Is(err, ErrUnpaired) {
			t.Errorf("%s: %v", where, err)
		}
		if len(err.Error()) > 1000 {
			t.Errorf("%s: the error has %d bytes", where, len(err.Error()))
		}
		return true
	}
	defer s.Close()
	got, err := answers(s)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return true
	}
	damage := s.Damage()
	for k, a := range want {
		b := got[k]
		switch {
		case a == b:
		case len(damage) == 0:
			t.Errorf("%s: %s was %s and is %s, without a word", where, k, a, b)
		case k == "hosts" || k == "events":
		case strings.HasPrefix(k, "counter "):
		case strings.HasPrefix(k, "mac ") || strings.HasPrefix(k, "name ") || strings.HasPrefix(k, "serial "):
			// The host is lost, and with it its keys unless they were in that page too.
			if b != "null" && !strings.Contains(b, "lost") {
				t.Errorf("%s: %s was %s and is %s", where, k, a, b)
			}
		case b != "null" && b != "" && b != `""`:
			t.Errorf("%s: %s was %s and is %s", where, k, a, b)
		}
	}
	for _, l := range damage {
		if len(l) > 300 || strings.Contains(l, "/dev/sda") {
			t.Errorf("%s: a line of the damage shows too much: %.400s", where, l)
		}
	}
	// A number that was given is not given again.
	err = s.Update(context.Background(), func(tx boot.Tx) error {
		n, err := tx.Counter(boot.LastHost)
		if err != nil {
			return err
		}
		if h, err := tx.Host(boot.HostID(n + 1)); h != nil || err != nil {
			return fmt.Errorf("the next host would be %d, which is there: %v", n+1, err)
		}
		return tx.PutLease(boot.Lease{Network: "lab", Addr: netip.MustParseAddr("10.9.9.9"), Holder: boot.ReadHolder("new"), Kind: boot.Dynamic, Expires: time.Now()})
	})
	if err != nil {
		t.Errorf("%s: %v", where, err)
	}
	s.Close()
	again, err := Open(damaged)
	if err != nil {
		t.Errorf("%s: opened again: %v", where, err)
		return true
	}
	defer again.Close()
	if d := again.Damage(); len(d) < len(damage) {
		t.Errorf("%s: told %q, and after a restart %q", where, damage, d)
	}
	return len(damage) > 0
}

// FuzzReadContents: whatever a file holds, reading it ends, and what is said of it is
// bounded.
func FuzzReadContents(f *testing.F) {
	path := filepath.Join(f.TempDir(), "m.db")
	s, err := Open(path)
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Update(context.Background(), func(tx boot.Tx) error { return fillForFlips(tx, 0, 3) }); err != nil {
		f.Fatal(err)
	}
	s.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), uint64(0), uint32(0), uint64(0))
	for at := uint32(0); at < 8*4096; at += 4093 {
		f.Add(at, uint64(0xffffffffffffffff), at+4096, uint64(1)<<63)
	}
	f.Fuzz(func(t *testing.T, at1 uint32, x1 uint64, at2 uint32, x2 uint64) {
		b := bytes.Clone(whole)
		for i := range 8 {
			b[(int(at1)+i)%len(b)] ^= byte(x1 >> (8 * i))
			b[(int(at2)+i)%len(b)] ^= byte(x2 >> (8 * i))
		}
		for keep := range 3 {
			c, err := readContents(bytes.NewReader(b), int64(len(b)), keep)
			if err != nil {
				continue
			}
			if len(c.notes) > 2*maxNotes+2 {
				t.Fatalf("%d notes", len(c.notes))
			}
			for _, l := range c.notes {
				if len(l) > 400 || strings.Contains(l, "/dev/sda") {
					t.Fatalf("a note says too much: %q", l)
				}
			}
		}
	})
}
