package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"

	"pgregory.net/rapid"
)

// TestLayoutIsWritten: doc.go has a line for each table, and no other.
func TestLayoutIsWritten(t *testing.T) {
	b, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "one table a line:\n")
	text, _, _ = strings.Cut(text, "// The first byte")
	var written []Table
	for _, m := range regexp.MustCompile(`(?m)^//\t([a-z.]+) |\b(host\.[a-z]+)\b`).FindAllStringSubmatch(text, -1) {
		written = append(written, Table(m[1]+m[2]))
	}
	slices.Sort(written)
	if !slices.Equal(written, Tables()) {
		t.Errorf("doc.go has    %v,\nthe kinds have %v", written, Tables())
	}
}

// thing is a record of no kind that exists.
type thing struct {
	ID       uint64
	Sole     string
	Newest   string
	Value    int
	Revision uint64
}

type thingLookup = lookup[uint64, *thing]

// thingKind is all there is to a kind.
func thingKind() *kind[uint64, *thing] {
	return &kind[uint64, *thing]{
		what: "thing", table: "thing",
		key:      numbered[uint64](),
		codec:    asJSON[uint64, thing](),
		title:    func(x *thing) string { return fmt.Sprint(x.ID) },
		revision: func(x *thing) *uint64 { return &x.Revision },
		check: func(x *thing) error {
			if x.Value < 0 {
				return errBelow
			}
			return nil
		},
		lookups: []*thingLookup{
			{table: "thing.sole", sole: called("sole"), keys: func(k [][]byte, x *thing) [][]byte { return text(k, x.Sole) }},
			{table: "thing.newest", keys: func(k [][]byte, x *thing) [][]byte { return text(k, x.Newest) }},
		},
	}
}

var errBelow = errors.New("below zero")

// tables is a source in maps.
type tables map[Table]map[string][]byte

func (t tables) get(x Table, key []byte) []byte { return t[x][string(key)] }

func (t tables) apply(txs [][]Change) {
	for _, tx := range txs {
		for _, c := range tx {
			if t[c.Table] == nil {
				t[c.Table] = map[string][]byte{}
			}
			if c.Value == nil {
				delete(t[c.Table], string(c.Key))
			} else {
				t[c.Table][string(c.Key)] = c.Value
			}
		}
	}
}

// TestKindModel plays puts and deletions of a kind, in Updates that pass or
// fail and in groups of them, against a map.
func TestKindModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, disk := thingKind(), tables{}
		want := map[uint64]thing{}    // what is kept
		newest := map[string]uint64{} // the last that was put with a name, while it has it
		w := newWriteTx(disk)
		ids := rapid.Uint64Range(1, 6)
		names := rapid.SampledFrom([]string{"", "a", "b", "c", "d"})
		for range rapid.IntRange(1, 6).Draw(t, "groups") {
			for range rapid.IntRange(1, 5).Draw(t, "updates") {
				w.begin()
				before, beforeNewest := maps.Clone(want), maps.Clone(newest)
				for range rapid.IntRange(0, 4).Draw(t, "writes") {
					x := thing{ID: ids.Draw(t, "id"), Sole: names.Draw(t, "sole"), Newest: names.Draw(t, "newest"), Value: rapid.IntRange(-1, 9).Draw(t, "value"), Revision: 77}
					old, is := want[x.ID]
					forget := func() {
						if newest[old.Newest] == x.ID {
							delete(newest, old.Newest)
						}
						delete(want, x.ID)
					}
					if rapid.IntRange(0, 4).Draw(t, "delete") == 0 {
						if err := k.delete(w, x.ID); err != nil {
							t.Fatal(err)
						}
						forget()
						continue
					}
					taken := false
					for id, o := range want {
						taken = taken || id != x.ID && o.Sole == x.Sole && x.Sole != ""
					}
					put := x
					err := k.put(w, x.ID, &put)
					switch {
					case x.Value < 0 && err != errBelow, x.Value >= 0 && taken != errors.Is(err, boot.ErrExists), x.Value >= 0 && !taken && err != nil:
						t.Fatalf("put of %+v, taken %v: %v", x, taken, err)
					case err == nil:
						forget()
						x.Revision = 1
						if is {
							x.Revision += old.Revision
						}
						if put != x {
							t.Fatalf("put of %+v left %+v", x, put)
						}
						want[x.ID] = x
						if x.Newest != "" {
							newest[x.Newest] = x.ID
						}
					}
					agree(t, k, w, want, newest)
				}
				if rapid.Bool().Draw(t, "passes") {
					w.changes.keep()
				} else {
					want, newest = before, beforeNewest
				}
			}
			w.begin()
			agree(t, k, w, want, newest)
			disk.apply(w.changes.kept(nil))
			w.changes.reset()
			agree(t, k, w, want, newest)
		}
		// What is removed leaves nothing behind.
		w.begin()
		for id := range want {
			if err := k.delete(w, id); err != nil {
				t.Fatal(err)
			}
		}
		w.changes.keep()
		disk.apply(w.changes.kept(nil))
		for table, m := range disk {
			if len(m) > 0 {
				t.Errorf("%s still has %v", table, m)
			}
		}
	})
}

func agree(t *rapid.T, k *kind[uint64, *thing], r source, want map[uint64]thing, newest map[string]uint64) {
	t.Helper()
	sole := map[string]uint64{}
	for id := range uint64(8) {
		got, ok, err := k.get(r, id)
		x, is := want[id]
		if err != nil || ok != is || is && *got != x || !is && got != nil {
			t.Fatalf("thing %d is %+v, %v, %v; want %+v, %v", id, got, ok, err, x, is)
		}
		if x.Sole != "" {
			sole[x.Sole] = id
		}
	}
	for _, name := range []string{"", "a", "b", "c", "d"} {
		for i, byName := range []map[string]uint64{sole, newest} {
			got, ok, err := k.by(r, k.lookups[i], []byte(name))
			if id := byName[name]; err != nil || ok != (id != 0) || ok && got.ID != id {
				t.Fatalf("%s %q finds %+v, %v, %v; want %d", k.lookups[i].table, name, got, ok, err, id)
			}
		}
	}
}

// TestLookupIsAsked: is says of a key what keys does.
func TestLookupIsAsked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ab]{0,2}`)
		l := boot.Lease{Network: text.Draw(t, "network"), Holder: boot.ReadHolder(text.Draw(t, "holder")), Kind: rapid.SampledFrom([]boot.LeaseKind{boot.Dynamic, boot.Declined, boot.Occupied, boot.Reserved}).Draw(t, "kind")}
		key := netKey(text.Draw(t, "of network"), text.Draw(t, "of holder"))
		if rapid.Bool().Draw(t, "cut") {
			key = key[:rapid.IntRange(0, len(key)).Draw(t, "length")]
		}
		if got, want := leaseByHolder.is(&l, key), has(leaseByHolder.keys(nil, &l), key); got != want {
			t.Fatalf("%+v, key %q: %v, want %v", l, key, got, want)
		}
	})
}

// TestEntryIsNotBelieved: one that leads to a record that says otherwise finds nothing
// and is in nobody's way. One that leads to no record is of a record that was lost.
func TestEntryIsNotBelieved(t *testing.T) {
	k, disk := thingKind(), tables{}
	w := newWriteTx(disk)
	put := func(x thing) error {
		w.begin()
		err := k.put(w, x.ID, &x)
		w.changes.keep()
		disk.apply(w.changes.kept(nil))
		w.changes.reset()
		return err
	}
	if err := put(thing{ID: 1, Sole: "a"}); err != nil {
		t.Fatal(err)
	}
	disk["thing.sole"]["b"], disk["thing.sole"]["c"], disk["thing.sole"]["d"] = be64(1), be64(9), []byte("junk")
	if x, ok, err := k.by(disk, k.lookups[0], []byte("c")); ok || x != nil || !errors.Is(err, boot.ErrLost) || !strings.HasPrefix(err.Error(), "sole c is of thing 9: ") {
		t.Errorf("what leads to a lost record: %+v, %v", x, err)
	}
	if err := put(thing{ID: 2, Sole: "c"}); !errors.Is(err, boot.ErrLost) {
		t.Errorf("the key of a lost record is taken: %v", err)
	}
	for _, name := range []string{"b", "d"} {
		if x, ok, err := k.by(disk, k.lookups[0], []byte(name)); ok || err != nil || x != nil {
			t.Errorf("%s finds %+v, %v", name, x, err)
		}
		if err := put(thing{ID: 2, Sole: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	disk["thing"][string(be64(3))] = []byte("damaged")
	if x, ok, err := k.get(disk, 3); x != nil || ok || err == nil || !strings.Contains(err.Error(), "thing 3: record has an unknown encoding") {
		t.Errorf("a damaged record: %+v, %v, %v", x, ok, err)
	}
	disk["thing.sole"]["e"] = be64(3)
	if err := put(thing{ID: 2, Sole: "e"}); err == nil || errors.Is(err, boot.ErrExists) {
		t.Errorf("whether the key of a damaged record is taken is not known: %v", err)
	}
	if err := put(thing{ID: 2, Sole: "a"}); !errors.Is(err, boot.ErrExists) || err.Error() != "sole a already exists: it belongs to thing 1" {
		t.Errorf("a taken key: %v", err)
	}
}

// TestUnchangedIsNotWritten: a renewal is one change.
func TestUnchangedIsNotWritten(t *testing.T) {
	k, disk := thingKind(), tables{}
	w := newWriteTx(disk)
	for i, want := range []int{3, 1} {
		w.begin()
		if err := k.put(w, 1, &thing{ID: 1, Sole: "a", Newest: "b", Value: i}); err != nil {
			t.Fatal(err)
		}
		w.changes.keep()
		txs := w.changes.kept(nil)
		if len(txs) != 1 || len(txs[0]) != want {
			t.Errorf("write %d: %d changes, want %d: %v", i, len(txs[0]), want, txs)
		}
		disk.apply(txs)
		w.changes.reset()
	}
}

// TestManyChanges: an overlay that was large gives its room back.
func TestManyChanges(t *testing.T) {
	w := newWriteTx(tables{})
	for round, want := range []bool{false, true} {
		for i := range manyChanges + round {
			w.put("thing", be64(uint64(i)), []byte{1})
		}
		w.changes.keep()
		w.changes.reset()
		if freed := cap(w.changes.list) == 0; freed != want {
			t.Errorf("after %d changes: freed %v", manyChanges+round, freed)
		}
		if w.get("thing", be64(1)) != nil {
			t.Error("a change outlives its group")
		}
	}
}

// TestTablesAreApart: the same bytes split elsewhere are another key.
func TestTablesAreApart(t *testing.T) {
	w := newWriteTx(tables{})
	for i := range 20 { // enough for the map
		w.put("filler", be64(uint64(i)), []byte{0})
	}
	w.put("ab", []byte("c"), []byte{1})
	w.put("a", []byte("bc"), []byte{2})
	if one, two := w.get("ab", []byte("c")), w.get("a", []byte("bc")); one[0] != 1 || two[0] != 2 {
		t.Errorf("got %v and %v", one, two)
	}
}
