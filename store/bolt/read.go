// read.go: everything that a bbolt file holds, read without bbolt, with what is wrong
// in it; and a new file made of what was read.

package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/musterboot/muster/store"
)

// The log's bookkeeping in the bbolt file.
const logTable = "log"

var (
	keyID     = []byte("id")     // that log and file share
	keyFolded = []byte("folded") // the newest generation that is folded in
	keyFormat = []byte("format") // of the file; since 2 records are sealed and the log stays after a clean end
	keySums   = []byte("sums")   // what each table should have
	keyLogs   = []byte("logs")   // it is there if the log is, always
	keyLost   = []byte("lost")   // tables that lack records, until their lookups were made again
	keyNotes  = []byte("notes")  // what was found damaged and not seen by a person yet
)

const fileFormat = 2

// contents are what is read of a file.
type contents struct {
	format int // 1 before records were sealed
	log    map[string][]byte
	notes  []string // what is wrong; empty if the file is as it was written
	lost   []store.Table

	// tables has the records, if they were asked for.
	tables map[store.Table]map[string][]byte

	said   notes
	sums   sums                 // of what is whole
	sealed bool                 // a record of the log is
	n      int                  // records, whole or not
	full   map[store.Table]bool // tables of which the tree has led to everything; nil until it was walked
	keep   int                  // format of the records to keep; 0 keeps none
}

// read looks at everything in a file. keep is the format of the records to keep, 0 to
// keep none.
func read(path string, keep int) (*contents, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return readContents(f, st.Size(), keep)
}

func readContents(f io.ReaderAt, size int64, keep int) (*contents, error) {
	c := &contents{keep: keep, log: map[string][]byte{}, tables: map[store.Table]map[string][]byte{}, sums: sums{}}
	for _, t := range store.Tables() {
		c.tables[t] = map[string][]byte{}
	}
	var unsealed notes
	notes, err := readImage(f, size, func(r raw) { c.take(r, &unsealed) })
	if err != nil {
		return nil, err
	}
	c.said.lines = append(c.said.lines, notes...)
	// A file whose mark of the format is damaged has other sealed records.
	if c.format = 1; c.sealed {
		c.format = fileFormat
		for _, l := range unsealed.all() {
			c.said.add("%s", l)
		}
		c.compare()
	} else if c.n == 0 {
		c.format = fileFormat // made just now
	}
	c.notes = c.said.all()
	return c, nil
}

// take sorts one record in.
func (c *contents) take(r raw, unsealed *notes) {
	c.n++
	t := store.Table(r.table)
	if t == "" && c.full == nil {
		c.full = c.complete()
	}
	if c.keep == 1 {
		if t == logTable {
			c.log[string(r.key)] = bytes.Clone(r.value)
		} else if m := c.tables[t]; m != nil {
			m[string(r.key)] = bytes.Clone(r.value)
		}
		return
	}
	if v, ok := unseal(logTable, r.key, r.value); ok && c.tables[t] == nil {
		if t == "" && c.log[string(r.key)] != nil {
			return
		}
		c.sealed = true
		c.misplaced(r, logTable)
		if c.log[string(r.key)] == nil {
			c.log[string(r.key)] = bytes.Clone(v)
		}
		return
	}
	v, ok := unseal(t, r.key, r.value)
	if !ok && c.tables[t] == nil {
		// A record of a page that was found alone, or of a table whose name is
		// damaged, is of the table for which its checksum was made.
		for u := range c.tables {
			if v, ok = unseal(u, r.key, r.value); ok {
				t = u
				break
			}
		}
	}
	if !ok {
		if r.table != "" {
			unsealed.add("%s %s: the record does not agree with its checksum", t, quoted(r.key))
		}
		return
	}
	c.sealed = true
	c.misplaced(r, t)
	// A page that was found alone may be old: it is of use only to a table that lacks
	// records without it.
	if r.table == "" && c.full[t] {
		return
	}
	if c.keep == fileFormat {
		if c.tables[t] == nil {
			c.tables[t] = map[string][]byte{} // of another version
		}
		if _, twice := c.tables[t][string(r.key)]; twice {
			return // the tree's own comes first
		}
		c.tables[t][string(r.key)] = bytes.Clone(v)
	}
	c.sums[t] = c.sums[t].with(sealOf(r.value))
}

// misplaced notes a record that is not where its checksum was made for.
func (c *contents) misplaced(r raw, t store.Table) {
	if r.table != "" && r.table != string(t) {
		c.said.add("%s %s: it lies in a table %s", t, quoted(r.key), quoted([]byte(r.table)))
	}
}

// complete are the tables that have what they should.
func (c *contents) complete() map[store.Table]bool {
	full := map[store.Table]bool{}
	want, ok := c.want()
	if !ok {
		return full
	}
	for _, t := range store.Tables() {
		full[t] = c.sums[t] == want[t]
	}
	return full
}

// want is what each table should have; false if the file does not know it any more.
func (c *contents) want() (sums, bool) {
	b := c.log[string(keySums)]
	s, err := decodeSums(b)
	return s, err == nil && b != nil
}

// compare finds what is missing.
func (c *contents) compare() {
	for _, k := range [][]byte{keyID, keyFolded, keyFormat, keySums} {
		// A file whose log was set aside has none to name.
		if c.log[string(k)] == nil && (c.log[string(keyLogs)] != nil || !bytes.Equal(k, keyID) && !bytes.Equal(k, keyFolded)) {
			c.said.add("log %s: it is missing", quoted(k))
		}
	}
	want, ok := c.want()
	if !ok {
		c.lost = store.Tables()
		return
	}
	all := maps.Clone(c.sums)
	for _, t := range append(slices.Collect(maps.Keys(want)), store.Tables()...) {
		if _, there := all[t]; !there {
			all[t] = sum{}
		}
	}
	for _, t := range slices.Sorted(maps.Keys(all)) {
		have := c.sums[t]
		if have == want[t] {
			continue
		}
		c.lost = append(c.lost, t)
		if have.n < want[t].n {
			c.said.add("table %s: %d of %d records are lost", t, want[t].n-have.n, want[t].n)
		} else {
			c.said.add("table %s: it has %d records that are not those that were written", t, have.n)
		}
	}
}

// write makes a file of what was read, with every record sealed, in the place of path;
// the file that was there is kept under the name aside.
func (c *contents) write(path, aside string) (err error) {
	made := path + ".new"
	if err := os.Remove(made); err != nil && !os.IsNotExist(err) {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(made)
		}
	}()
	db, err := bbolt.Open(made, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType, NoStatistics: true})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		sums := sums{}
		for _, t := range slices.Sorted(maps.Keys(c.tables)) {
			b, err := tx.CreateBucketIfNotExists([]byte(t))
			if err != nil {
				return err
			}
			for _, k := range slices.Sorted(maps.Keys(c.tables[t])) {
				v := seal(nil, t, []byte(k), c.tables[t][k])
				sums[t] = sums[t].with(sealOf(v))
				if err := b.Put([]byte(k), v); err != nil {
					return err
				}
			}
		}
		l, err := tx.CreateBucketIfNotExists([]byte(logTable))
		if err != nil {
			return err
		}
		c.log[string(keySums)] = sums.encode()
		c.log[string(keyFormat)] = []byte{fileFormat}
		for _, k := range slices.Sorted(maps.Keys(c.log)) {
			if err := putSealed(l, []byte(k), c.log[k]); err != nil {
				return err
			}
		}
		return nil
	})
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = keepAs(path, aside)
	}
	if err == nil {
		err = os.Rename(made, path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	return err
}

// keepAs gives a file another name too, so that path leads to a whole file at every
// moment. A name that is taken is another file's, from an earlier time.
func keepAs(path, aside string) error {
	err := os.Link(path, aside)
	if errors.Is(err, os.ErrExist) {
		old, err1 := os.Stat(path)
		there, err2 := os.Stat(aside)
		if err1 == nil && err2 == nil && os.SameFile(old, there) {
			return nil // a start that was cut off had got as far
		}
		aside += "-" + time.Now().UTC().Format("20060102T150405.000000000")
		err = os.Link(path, aside)
	}
	if err == nil {
		return nil
	}
	// The file system has no links.
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// putSealed writes one of the log's own records.
func putSealed(b *bbolt.Bucket, key, value []byte) error {
	return b.Put(key, seal(nil, logTable, key, value))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// noted reads the notes of earlier starts.
func (c *contents) noted() []string {
	var out []string
	for line := range bytes.Lines(c.log[string(keyNotes)]) {
		out = append(out, string(bytes.TrimSuffix(line, []byte("\n"))))
	}
	return out
}

// lostTables reads the tables that lack records.
func lostTables(b []byte) (out []store.Table) {
	for name := range strings.FieldsSeq(string(b)) {
		out = append(out, store.Table(name))
	}
	return out
}

func lostBytes(ts []store.Table) []byte {
	var b []byte
	for _, t := range ts {
		b = append(append(b, t...), ' ')
	}
	return b
}

func noteBytes(lines []string) []byte {
	var b bytes.Buffer
	for _, l := range lines[:min(len(lines), maxNotes)] {
		fmt.Fprintln(&b, l)
	}
	return b.Bytes()
}
