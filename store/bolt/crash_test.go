package bolt

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bbolt "go.etcd.io/bbolt"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store"
)

// made is a store of so many hosts that was closed.
func made(t *testing.T, hosts int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "muster.db")
	s := mustOpen(t, path)
	update(t, s, func(tx boot.Tx) error { return fillForFlips(tx, 0, hosts) })
	s.Close()
	return path
}

// state is how many hosts there are, and whether something is told or doubted.
func state(t *testing.T, what, path string, hosts int, told, doubted bool) {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	defer s.Close()
	n := 0
	if err := s.View(t.Context(), func(tx boot.ReadTx) error { hs, err := tx.Hosts(0, 1000); n = len(hs); return err }); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	d, err := s.Doubted(t.Context())
	if n != hosts || err != nil || d != doubted || len(s.Damage()) > 0 != told {
		t.Errorf("%s: %d hosts, want %d; doubted %v, %v; damage %q", what, n, hosts, d, err, s.Damage())
	}
}

func spoil(t *testing.T, path string, fn func(b []byte)) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fn(b)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// newest is the state that counts.
func newest(b []byte) meta {
	m0, ok0 := readMeta(b)
	m1, ok1 := readMeta(b[4096:])
	if !ok0 || ok1 && m1.n > m0.n {
		return m1
	}
	return m0
}

// TestUpgradeWithoutWrites: the older version removed its log at a clean stop. Starts
// that write nothing after that are starts as any, and a file that an earlier update
// left is in nobody's way.
func TestUpgradeWithoutWrites(t *testing.T) {
	path := made(t, 10)
	older := func() {
		c, err := read(path, fileFormat)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			os.Remove(segmentPath(path, i))
		}
		os.Remove(path)
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Update(func(tx *bbolt.Tx) error {
			for table, m := range c.tables {
				b, err := tx.CreateBucket([]byte(table))
				if err != nil {
					return err
				}
				for k, v := range m {
					if err := b.Put([]byte(k), v); err != nil {
						return err
					}
				}
			}
			l, err := tx.CreateBucket([]byte(logTable))
			if err != nil {
				return err
			}
			if err := l.Put(keyID, c.log[string(keyID)]); err != nil {
				return err
			}
			return l.Put(keyFolded, binary.BigEndian.AppendUint64(nil, 7))
		}); err != nil {
			t.Fatal(err)
		}
		db.Close()
	}
	for range 2 {
		older()
		for range 3 {
			state(t, "after an update", path, 10, false, false)
		}
	}
	// The start was cut off after the file had got its second name.
	older()
	os.Remove(path + ".older")
	if err := os.Link(path, path+".older"); err != nil {
		t.Fatal(err)
	}
	state(t, "after an update that was cut off", path, 10, false, false)
}

// TestLogTableIsLost: the log's own records, or the page that names the tables, may be
// what is damaged. The hosts are whole.
func TestLogTableIsLost(t *testing.T) {
	path := made(t, flipHosts)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	root := int(newest(raw).root) * 4096
	bits := map[string]int{"the root page's number": 8 * root, "its kind": 8 * (root + 8)}
	for i := range int(native.Uint16(raw[root+10:])) {
		at := root + pageHeader + pageElement*i
		pos, n := int(native.Uint32(raw[at+4:])), int(native.Uint32(raw[at+8:]))
		if string(raw[at+pos:at+pos+n]) == logTable {
			bits["the kind of the log's entry"] = 8 * at
			bits["the place of the log's entry"] = 8*(at+5) + 4
			bits["the kind of the log's page"] = 8 * (at + pos + n + bucketHeader + 8)
		}
	}
	if len(bits) != 5 {
		t.Fatalf("the log's table is not found: %v", bits)
	}
	for what, bit := range bits {
		to := crashed(t, path)
		spoil(t, to, func(b []byte) { b[bit/8] ^= 1 << (bit % 8) })
		state(t, what, to, flipHosts, true, true)
		if _, _, err := Repair(t.Context(), to); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		state(t, what+", repaired", to, flipHosts, false, true)
	}
}

// TestOldPagesStayOld: what was deleted does not come back with the pages of the list
// of free ones.
func TestOldPagesStayOld(t *testing.T) {
	path := made(t, flipHosts)
	s := mustOpen(t, path)
	update(t, s, func(tx boot.Tx) error {
		for i := 10; i < 140; i++ {
			h, err := tx.Host(boot.HostID(i + 1))
			if err != nil {
				return err
			}
			if err := tx.DeleteHost(h); err != nil {
				return err
			}
		}
		return nil
	})
	s.Close()
	mustOpen(t, path).Close()
	spoil(t, path, func(b []byte) { b[int(newest(b).free)*4096+pageHeader] ^= 0x80 })
	state(t, "a damaged list of free pages", path, flipHosts-130, true, false)
}

// TestHeaderOfZeros: a segment whose first sector came back empty has its records.
func TestHeaderOfZeros(t *testing.T) {
	path := filepath.Join(t.TempDir(), "muster.db")
	s := mustOpen(t, path)
	for i := range 10 {
		update(t, s, func(tx boot.Tx) error { return fillForFlips(tx, i, i+1) })
	}
	for n, hosts := range map[int]int{headerSize: 10, 512: 9} {
		to := crashed(t, path)
		spoil(t, segmentPath(to, 1), func(b []byte) { clear(b[:n]) })
		state(t, "a header of zeros", to, hosts, true, true)
	}
}

// TestCutOffWhileMending: a kill between the fold of a damaged log and the end of the
// start forgets nothing, and neither does one in a repair.
func TestCutOffWhileMending(t *testing.T) {
	path := filepath.Join(t.TempDir(), "muster.db")
	s := mustOpen(t, path)
	for i := range 10 {
		update(t, s, func(tx boot.Tx) error { return fillForFlips(tx, i, i+1) })
	}
	to := crashed(t, path)
	spoil(t, segmentPath(to, 1), func(b []byte) { clear(b[3000:3020]) })
	b := &backend{path: to, pending: newPending()}
	if err := b.look(); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.db, err = bbolt.Open(to, 0o600, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.tables(); err != nil {
		t.Fatal(err)
	}
	sg, _, err := openSegment(segmentPath(to, 1))
	if err != nil {
		t.Fatal(err)
	}
	p := newPending()
	damage, err := sg.replay(0, func(x []byte) error { cs, err := readRecord(x); p.add(cs); return err })
	if err != nil || len(damage) == 0 {
		t.Fatal(damage, err)
	}
	b.lost = store.Tables()
	b.tell(damage...)
	if err := b.fold(p, sg.gen, false); err != nil {
		t.Fatal(err)
	}
	b.closeFiles()
	sg.f.Close()
	s2, err := Open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer s2.Close()
	if doubted, err := s2.Doubted(t.Context()); !doubted || err != nil || len(s2.Damage()) == 0 {
		t.Errorf("doubted %v, %v; damage %q", doubted, err, s2.Damage())
	}

	alone := made(t, 10)
	if err := detach(alone); err != nil {
		t.Fatal(err)
	}
	state(t, "a repair that was cut off", alone, 10, false, true)
}

// TestOlderTail: the end of a generation is no torn record once the next has begun.
func TestOlderTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	b, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, set("a", "first"))
	put(t, b, set("b", "second"))
	db := b.db
	b.db, err = openReadOnlyCopy(t, path) // so that nothing is folded
	if err != nil {
		t.Fatal(err)
	}
	if err := b.turn(); err != nil {
		t.Fatal(err)
	}
	put(t, b, set("c", "third"))
	<-b.folded
	to := crashed(t, path)
	older := segmentPath(to, 1-b.cur)
	spoil(t, older, func(raw []byte) {
		at := len(raw)
		for raw[at-1] == 0 {
			at--
		}
		raw[at-1] ^= 1
		raw[at-9] ^= 1
	})
	b.db.Close()
	b.db, b.folded = db, nil
	b.closeFiles()
	c, err := open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := all(t, c, "lease", "", ""); got != "a=first c=third" || len(c.Damage()) != 1 || len(c.Lost()) == 0 {
		t.Errorf("%s; damage %q; lost %q", got, c.Damage(), c.Lost())
	}
}

// TestNumbersAfterALostRecord: a host and its number that were lost together are not
// given again.
func TestNumbersAfterALostRecord(t *testing.T) {
	path := made(t, 10)
	s := mustOpen(t, path)
	update(t, s, func(tx boot.Tx) error { return fillForFlips(tx, 10, 11) })
	update(t, s, func(tx boot.Tx) error { return tx.SetSecret("after", []byte("x")) })
	to := crashed(t, path)
	for i := range 2 {
		spoil(t, segmentPath(to, i), func(b []byte) {
			if at := bytes.Index(b, []byte("host-10")); at > 0 {
				clear(b[at : at+4])
			}
		})
	}
	state(t, "a lost record", to, 10, true, true)
	s = mustOpen(t, to)
	update(t, s, func(tx boot.Tx) error {
		h, err := tx.Counter(boot.LastHost)
		e, err2 := tx.Counter(boot.LastEvent)
		if h < 1<<20 || e < 1<<20 || err != nil || err2 != nil {
			t.Errorf("last host %d, %v; last event %d, %v", h, err, e, err2)
		}
		return nil
	})
}

// TestCutOffWhileMade: what a start leaves that was cut off while it made the log is
// made anew, and is no damage later.
func TestCutOffWhileMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "muster.db")
	for i, size := range []int{segmentSize, 3 << 20} {
		if err := os.WriteFile(segmentPath(path, i), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, path)
	update(t, s, func(tx boot.Tx) error { return fillForFlips(tx, 0, 10) })
	state(t, "killed after that", crashed(t, path), 10, false, false)
}

// TestFaultOfTheMapping: a file that is cut while it is in use makes writing fail with
// an error. Nothing hangs, and nothing ends the process.
func TestFaultOfTheMapping(t *testing.T) {
	path := made(t, flipHosts)
	b, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, set("k", "v"))
	if err := os.Truncate(path, 2*4096); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.drain(); err == nil || !strings.Contains(err.Error(), "is damaged") {
			t.Errorf("a fold into a file that was cut: %v", err)
		}
	}
	if err := b.Seen(); err == nil {
		t.Error("a note was written into a file that was cut")
	}
	if err := b.Close(); err == nil {
		t.Error("it is closed without a word")
	}
}
