// disk_test.go: what a commit asks of the disk, and how much of it.

package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bbolt "go.etcd.io/bbolt"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store"
)

// watched is a segment's file whose Sync a test answers.
type watched struct {
	file
	sync func() error
}

func (w watched) Sync() error {
	return errors.Join(w.sync(), w.file.Sync())
}

// watch answers the Sync of every segment.
func watch(b *backend, sync func() error) {
	for _, s := range b.segments {
		s.f = watched{s.f, sync}
	}
}

func lease(i int) boot.Lease {
	return boot.Lease{Network: "lab", Addr: addr(i), Holder: boot.ReadHolder(fmt.Sprint(i)), Kind: boot.Dynamic}
}

// TestUpdateWaitsForTheDisk: nobody is answered before what they were promised
// is on the disk.
func TestUpdateWaitsForTheDisk(t *testing.T) {
	b, err := open(filepath.Join(t.TempDir(), "m.db"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.New(b)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	reached, done := make(chan struct{}), make(chan struct{})
	watch(b, func() error {
		reached <- struct{}{}
		<-done
		return nil
	})
	answer := make(chan error, 1)
	go func() {
		answer <- s.Update(context.Background(), func(tx boot.Tx) error { return tx.PutLease(lease(1)) })
	}()
	select {
	case <-reached:
	case err := <-answer:
		t.Fatalf("answered (%v) and nothing was synced", err)
	}
	select {
	case err := <-answer:
		t.Fatalf("answered (%v) while the disk was still writing", err)
	default:
	}
	close(done)
	if err := <-answer; err != nil {
		t.Fatal(err)
	}
	watch(b, func() error { return nil })
}

// TestSyncIsOne: a file that cannot be synced says so.
func TestSyncIsOne(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := (diskFile{w}).Sync(); err == nil {
		t.Error("a pipe was synced")
	}
}

// TestDiskFails: what could not be synced is not there, not even after a crash,
// and the store goes on when the disk does.
func TestDiskFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	b, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.New(b)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sick := errors.New("the disk is sick")
	fail := false
	watch(b, func() error {
		if fail {
			return sick
		}
		return nil
	})
	put := func(i int) error {
		return s.Update(context.Background(), func(tx boot.Tx) error { return tx.PutLease(lease(i)) })
	}
	has := func(s boot.Store, i int) (is bool) {
		if err := s.View(context.Background(), func(tx boot.ReadTx) error {
			l, err := tx.Lease("lab", addr(i))
			is = l != nil
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return is
	}
	if err := put(1); err != nil {
		t.Fatal(err)
	}
	fail = true
	if err := put(2); !errors.Is(err, sick) {
		t.Fatalf("a sick disk: %v", err)
	}
	fail = false
	crashed, err := Open(crashed(t, path))
	if err != nil {
		t.Fatal(err)
	}
	defer crashed.Close()
	for name, s := range map[string]boot.Store{"live": s, "after a crash": crashed} {
		if !has(s, 1) || has(s, 2) {
			t.Errorf("%s: lease 1 %v, lease 2 %v; want only the first", name, has(s, 1), has(s, 2))
		}
	}
	if err := put(3); err != nil || !has(s, 3) {
		t.Errorf("a disk that is well again: %v", err)
	}
}

// TestPendingIsBounded: what waits in memory to be folded does not grow with
// what is written.
func TestPendingIsBounded(t *testing.T) {
	b, err := open(filepath.Join(t.TempDir(), "m.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	watch(b, func() error { return nil })
	const each = 1024
	for i := range 3 * maxPending / each {
		var cs []store.Change
		for j := range each {
			cs = append(cs, set(fmt.Sprint(i*each+j), "x"))
		}
		put(t, b, cs...)
		if b.pending.n > 16384+each {
			t.Fatalf("after %d changes %d are pending, want at most 16384 and a commit", (i+1)*each, b.pending.n)
		}
	}
	if b.gen < 3 {
		t.Errorf("generation %d, want one for each 16384 changes", b.gen)
	}
}

// TestFoldIsInSlices: a fold is many short transactions of bbolt, so that none
// keeps the disk for long.
func TestFoldIsInSlices(t *testing.T) {
	b, err := open(filepath.Join(t.TempDir(), "m.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	written := func() (id int) {
		if err := b.db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }); err != nil {
			t.Fatal(err)
		}
		return id
	}
	p := newPending()
	for i := range 5000 {
		p.add([]store.Change{set(fmt.Sprint(i), "x")})
	}
	before := written()
	if err := b.fold(p, b.gen, false); err != nil {
		t.Fatal(err)
	}
	if got := written() - before; got != 3 {
		t.Errorf("5000 changes in %d transactions, want 3 of at most 2000", got)
	}
	// One that breaks off is not noted: the log still has it all.
	p.add([]store.Change{{Table: "zzz", Key: []byte("k"), Value: []byte("v")}})
	if err := b.fold(p, b.gen+1, false); err == nil {
		t.Fatal("a table that nobody knows was folded")
	}
	if err := b.db.View(func(tx *bbolt.Tx) error {
		v, ok := unseal(logTable, keyFolded, tx.Bucket([]byte(logTable)).Get(keyFolded))
		if n := binary.BigEndian.Uint64(v); !ok || n != b.gen {
			t.Errorf("generation %d is noted as folded, want %d", n, b.gen)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestFullFile: a file that may not grow any more keeps what was acknowledged, also
// over a kill, says what is wrong, and goes on when it may.
func TestFullFile(t *testing.T) {
	defer func(n int) { maxFile = n }(maxFile)
	maxFile = 18 << 20 // bbolt takes 16 MiB at a time
	path := filepath.Join(t.TempDir(), "m.db")
	b, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { b.Close() }()
	watch(b, func() error { return nil })
	big, n := strings.Repeat("x", 1<<16), 0
	for ; err == nil && n < 1000; n++ {
		_, err = b.Commit([][]store.Change{{set(fmt.Sprintf("%04d", n), big)}})
	}
	if !errors.Is(err, errFull) {
		t.Fatalf("after %d commits: %v", n, err)
	}
	n-- // the last was refused
	whole := func(b *backend) {
		t.Helper()
		got := 0
		if err := b.View(func(s store.Snapshot) error {
			s.Range(set("", "").Table, nil, nil, func(_, v []byte) bool { got++; return string(v) == big })
			return nil
		}); err != nil || got != n {
			t.Errorf("%d records of %d: %v", got, n, err)
		}
	}
	whole(b)
	after, err := open(crashed(t, path))
	if err != nil {
		t.Fatalf("after a kill: %v", err)
	}
	whole(after)
	if err := after.Close(); !errors.Is(err, errFull) {
		t.Errorf("closed with %v and nothing was folded", err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() > int64(maxFile) {
		t.Errorf("%v, %d bytes", err, st.Size())
	}

	maxFile = 0
	again, err := open(crashed(t, path))
	if err != nil {
		t.Fatal(err)
	}
	whole(again)
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
