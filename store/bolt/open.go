// open.go: how a file and its log are opened: read whole, mended where something is
// damaged, and refused where they do not belong together.

package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store"
)

// Open opens or makes the file at path. If another process has it open, Open returns
// ErrInUse after a second.
//
// What is damaged is set aside: everything else is served, the damaged file is kept
// under another name, and Damage names what is lost. A file without its log, or with
// another one, is refused with ErrUnpaired, because nobody can tell what is missing.
func Open(path string) (*store.Store, error) {
	b, err := open(path)
	if err != nil {
		return nil, err
	}
	s, err := store.New(b)
	if err != nil {
		b.closeFiles()
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	return s, nil
}

// ErrUnpaired is the error for a file and a log that do not belong together.
var ErrUnpaired = errors.New("file and log do not belong together")

func open(path string) (b *backend, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	b = &backend{path: path, pending: newPending()}
	if err := b.open(); err != nil {
		b.closeFiles()
		return nil, err
	}
	return b, nil
}

// Restoring names the marker beside a store that a restore is being put in place of.
// While it is there the store is not opened: half of it may be the old one, and an empty
// one in its place would take every machine for a new one.
func Restoring(path string) string { return path + ".restoring" }

func (b *backend) open() (err error) {
	defer caught(b.path, &err)
	if _, err := os.Lstat(Restoring(b.path)); err == nil {
		return fmt.Errorf("store %s: a restore was cut off before it ended: run it again with --replace (muster restore), or put %s.before-restore-… and its logs back and remove %s", b.path, b.path, Restoring(b.path))
	}
	if err := b.look(); err != nil {
		return err
	}
	opts := &bbolt.Options{
		Timeout:         time.Second,
		FreelistType:    bbolt.FreelistMapType,
		NoStatistics:    true,
		InitialMmapSize: mapSize,
		MaxSize:         maxFile,
	}
	if b.db, err = bbolt.Open(b.path, 0o600, opts); errors.Is(err, berrors.ErrTimeout) {
		return inUse(b.path)
	} else if err != nil {
		return fmt.Errorf("open store %s: %w", b.path, err)
	}
	own, err := b.tables()
	if err == nil {
		err = b.replay(own)
	}
	if err != nil {
		return fmt.Errorf("open store %s: %w", b.path, err)
	}
	return nil
}

// mapSize is how much of the file's mapping is there from the start. It is address
// space, not memory: a file that outgrows its mapping is mapped again, which waits for
// every reader. 4 GiB, or 512 MiB where an int has 32 bits.
const mapSize = min(4<<30, math.MaxInt/4+1)

// maxFile bounds the file; 0 is no bound. On 386 and arm bbolt maps 2 GiB less a byte at
// most, and takes the old mapping away before it asks for a larger one. Of the 2 or 3 GiB
// that a kernel leaves a process there, 1 or 2 in one piece are hardly to be had, and then
// nothing could be read any more. So there a file never outgrows its first mapping: what
// is too much is refused with errFull, like a write to a full disk. A larger file, made on
// a 64-bit machine, is opened if its mapping can be had, and grows no further.
var maxFile = func() int {
	if strconv.IntSize == 32 {
		return mapSize
	}
	return 0
}()

var errFull = boot.NewFault(boot.NoSpace, "muster.db has reached %d MiB, the most that a 32-bit machine maps at once", mapSize>>20).
	Try("keep fewer events, max under [events], or move to a 64-bit machine: muster backup")

// stamp is the time in the names of files that are kept aside.
func stamp() string { return time.Now().UTC().Format("20060102T150405") }

func inUse(path string) error {
	return fmt.Errorf("store %s: %w: is muster running already?", path, boot.ErrInUse)
}

// caught makes an error of what bbolt, or the mapping of its file, panics with. What
// it says is cut: it may show what the store holds.
func caught(path string, err *error) {
	if r := recover(); r != nil {
		*err = damaged(path, r)
	}
}

func damaged(path string, r any) error {
	return fmt.Errorf("store %s is damaged (%.100v): stop muster and run muster store check", path, r)
}

// look reads the whole file before bbolt does. If anything is wrong with it, a new one
// is made of what is whole.
func (b *backend) look() error {
	release, err := hold(b.path)
	if err != nil || release == nil {
		return err
	}
	defer release()
	c, err := read(b.path, 0)
	if err == nil && (c.format < fileFormat || len(c.notes) > 0) {
		c, err = read(b.path, c.format)
	}
	if err != nil {
		return fmt.Errorf("store %s is damaged: %w: move it away with its logs and restore a backup; without one the appliance starts empty", b.path, err)
	}
	if f := c.log[string(keyFormat)]; len(f) == 1 && f[0] > fileFormat {
		return fmt.Errorf("store %s: %w: its file has format %d, this program knows %d; install the newer version again, or restore a backup from before it", b.path, boot.ErrTooNew, f[0], fileFormat)
	}
	b.damage, b.lost = c.noted(), append(lostTables(c.log[string(keyLost)]), c.lost...)
	if c.format == fileFormat && len(c.notes) == 0 {
		return nil
	}
	c.format = fileFormat
	aside := b.path + ".older" // for the version that wrote it
	if len(c.notes) > 0 {
		now := stamp()
		aside = b.path + ".damaged-" + now
		b.tell(fmt.Sprintf("%s: %s was damaged and is kept as %s", now, filepath.Base(b.path), filepath.Base(aside)))
		b.tell(c.notes...)
		c.log[string(keyNotes)], c.log[string(keyLost)] = noteBytes(b.damage), lostBytes(b.lost)
	}
	if err := c.write(b.path, aside); err != nil {
		return fmt.Errorf("store %s: make a new file of what is whole: %w", b.path, err)
	}
	return nil
}

// hold keeps other processes from the file; release is nil if there is none yet.
func hold(path string) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if st, err := f.Stat(); err == nil && st.Size() == 0 {
		f.Close()
		return nil, nil
	}
	for deadline := time.Now().Add(time.Second); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			// Who had it may have put another file in its place.
			if mine, err1 := f.Stat(); err1 == nil {
				if now, err2 := os.Stat(path); err2 == nil && os.SameFile(mine, now) {
					return func() { f.Close() }, nil
				}
			}
			f.Close()
			return hold(path)
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			f.Close()
			return nil, inUse(path)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// tables makes the tables that are missing, and returns the log's own records.
func (b *backend) tables() (own map[string][]byte, err error) {
	own = map[string][]byte{}
	err = b.update(func(tx *bbolt.Tx) error {
		for _, t := range append(store.Tables(), logTable) {
			if _, err := tx.CreateBucketIfNotExists([]byte(t)); err != nil {
				return err
			}
		}
		return tx.Bucket([]byte(logTable)).ForEach(func(k, v []byte) error {
			if v, ok := unseal(logTable, k, v); ok {
				own[string(k)] = bytes.Clone(v)
			}
			return nil
		})
	})
	if err == nil {
		_, err = decodeSums(own[string(keySums)])
	}
	if id := own[string(keyID)]; len(id) == len(b.id) {
		b.id = storeID(id)
	}
	return own, err
}

// replay folds what is left in the log.
func (b *backend) replay(own map[string][]byte) error {
	paired := own[string(keyLogs)] != nil
	var ids [2]storeID
	for i := range b.segments {
		at := segmentPath(b.path, i)
		s, id, err := openSegment(at)
		switch {
		case !paired && (errors.Is(err, os.ErrNotExist) || errors.Is(err, io.EOF) || err == nil && s.gen == 0):
			// A new store, one of a version that removed the log after a clean end,
			// or a start that was cut off while it made one.
			if err == nil {
				s.f.Close()
			}
			if s, err = makeSegment(at); err != nil {
				return err
			}
		case err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, io.EOF) && !errors.Is(err, errNoLog):
			return err
		case errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("%w: %s is missing; was %s copied without it? Copy all files of the folder, restore a backup, or go on without what it held by muster store repair", ErrUnpaired, at, filepath.Base(b.path))
		case err != nil:
			return fmt.Errorf("%w: log %w; restore a backup, or go on without what it held by muster store repair", ErrUnpaired, err)
		}
		b.segments[i], ids[i] = s, id
	}
	older, newer := 0, 1
	if b.segments[1].gen < b.segments[0].gen {
		older, newer = 1, 0
	}
	first, last := b.segments[older].gen, b.segments[newer].gen
	switch {
	case b.id != (storeID{}):
	case own[string(keyFormat)] != nil && last != 0:
		b.id = ids[newer] // the file is not new: its own was damaged
		if b.id == (storeID{}) {
			b.id = ids[older]
		}
	default:
		b.id = newStoreID()
	}
	for i, s := range b.segments {
		if s.lame {
			ids[i] = b.id
		}
		if s.gen != 0 && ids[i] != b.id {
			return fmt.Errorf("%w: %s is of another store than %s; restore both together, or go on without what it holds by muster store repair", ErrUnpaired, s.f.Name(), b.path)
		}
	}
	var folded uint64
	if f := own[string(keyFolded)]; len(f) == 8 && (paired || last != 0) {
		folded = binary.BigEndian.Uint64(f)
	} else if last != 0 {
		// The file does not know any more what it folded. To fold all again changes
		// nothing: a record names all that it changes, and those after it follow.
		folded = last - 1
		if first != 0 {
			folded = first - 1
		}
	}
	if paired && last < folded {
		return fmt.Errorf("%w: %s is newer than its log: was the log restored alone? Restore both together, or go on without what was written since by muster store repair", ErrUnpaired, b.path)
	}
	b.gen = folded
	// On a full disk, or in a full file, what cannot be folded stays in memory, as it does between two folds:
	// the log has it, and has room that was reserved.
	var waiting []*pending
	var generations []uint64
	for _, i := range []int{older, newer} {
		s := b.segments[i]
		if s.gen <= folded {
			continue
		}
		if s.gen > b.gen+1 {
			return fmt.Errorf("%w: %s goes on after something that is missing: was an older %s restored? Restore both together, or go on without what the log holds by muster store repair", ErrUnpaired, s.f.Name(), b.path)
		}
		p := newPending()
		var end int64
		if next := b.segments[newer]; i == older && next.gen == s.gen+1 {
			end = next.prev
		}
		damage, err := s.replay(end, func(payload []byte) error {
			cs, err := readRecord(payload)
			p.add(cs)
			return err
		})
		if err != nil {
			return err
		}
		if len(damage) > 0 {
			b.lost = store.Tables() // it may have been in any of them
			b.tell(damage...)
		}
		if len(waiting) == 0 {
			err = b.fold(p, s.gen, false)
		}
		switch {
		case len(waiting) > 0 || paired && len(damage) == 0 && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, errFull)):
			waiting, generations = append(waiting, p), append(generations, s.gen)
		case err != nil:
			return err
		}
		b.gen = s.gen
	}
	if n := len(waiting); n > 0 {
		b.cur, b.pending = newer, waiting[n-1]
		if n > 1 {
			b.folding, b.foldingGen = waiting[0], generations[0]
			b.refold()
		}
		return nil
	}
	// The log's names must be on the disk before it is missed.
	if err := syncFolder(filepath.Dir(b.path)); err != nil {
		return err
	}
	if err := b.update(func(tx *bbolt.Tx) error {
		l := tx.Bucket([]byte(logTable))
		err := errors.Join(putSealed(l, keyID, b.id[:]), putSealed(l, keyFolded, binary.BigEndian.AppendUint64(nil, b.gen)),
			putSealed(l, keyLogs, []byte{1}), putSealed(l, keyFormat, []byte{fileFormat}))
		if l.Get(keySums) == nil {
			err = errors.Join(err, putSealed(l, keySums, sums{}.encode()))
		}
		return err
	}); err != nil {
		return err
	}
	b.begin()
	return nil
}

// Check reads a file and its log that no process has open, changes nothing, and
// reports in words what is damaged.
func Check(path string) (records int, damage []string, err error) {
	release, err := hold(path)
	if err != nil {
		return 0, nil, err
	} else if release == nil {
		return 0, nil, fmt.Errorf("store %s: %w", path, os.ErrNotExist)
	}
	defer release()
	c, err := read(path, 0)
	if err != nil {
		return 0, nil, err
	}
	damage = append(c.noted(), c.notes...)
	if c.log[string(keyLogs)] == nil {
		return c.n, damage, nil
	}
	var folded, newest uint64
	if f := c.log[string(keyFolded)]; len(f) == 8 {
		folded = binary.BigEndian.Uint64(f)
	}
	opened := 0
	for i := range 2 {
		s, id, err := openSegment(segmentPath(path, i))
		if err != nil {
			damage = append(damage, fmt.Sprintf("log %v", err))
			continue
		}
		defer s.f.Close()
		opened, newest = opened+1, max(newest, s.gen)
		if s.gen <= folded {
			continue // nothing of it is needed any more
		}
		if own := c.log[string(keyID)]; s.gen != 0 && !s.lame && len(own) == len(id) && storeID(own) != id {
			damage = append(damage, fmt.Sprintf("log %s: it is of another store", s.f.Name()))
			continue
		}
		said, err := s.replay(0, func(payload []byte) error { _, err := readRecord(payload); return err })
		damage = append(damage, said...)
		if err != nil {
			damage = append(damage, fmt.Sprintf("log %s: %v", s.f.Name(), err))
		}
	}
	if opened == 2 && newest < folded {
		damage = append(damage, fmt.Sprintf("%s is newer than its log", path))
	}
	return c.n, damage, nil
}

// Repair opens a store, whatever it lost, and closes it again as one that may be used:
// what was lost is forgotten, so that its machines may enrol anew; a file without its
// log goes on without it; numbers go on where nothing had one. Nothing is deleted: what
// is replaced is kept under another name. It returns in words what was damaged, and
// which keys of lost hosts it removed.
func Repair(ctx context.Context, path string) (damage, forgotten []string, err error) {
	if _, err := os.Stat(path); err != nil {
		return nil, nil, err // Open would make one
	}
	s, err := Open(path)
	if errors.Is(err, ErrUnpaired) {
		damage = append(damage, err.Error())
		if err := detach(path); err != nil {
			return damage, nil, err
		}
		s, err = Open(path)
	}
	if err != nil {
		return damage, nil, err
	}
	damage = append(damage, s.Damage()...)
	forgotten, err = s.Forget(ctx)
	return damage, forgotten, errors.Join(err, s.Close())
}

// detach sets a file's log aside and makes the file forget that it had one.
func detach(path string) error {
	release, err := hold(path)
	if err != nil || release == nil {
		return err
	}
	defer release()
	c, err := read(path, fileFormat)
	if err != nil {
		return err
	}
	aside := ".unpaired-" + stamp()
	for i := range 2 {
		at := segmentPath(path, i)
		if err := os.Rename(at, at+aside); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for _, k := range [][]byte{keyID, keyFolded, keyLogs} {
		delete(c.log, string(k))
	}
	c.log[string(keyLost)] = lostBytes(store.Tables()) // the log may have had records of any
	return c.write(path, path+aside)
}

// Restore makes a new store at path of a dump that was made at a time. A file that is
// there is an error, and after an error nothing of the new one is left.
//
// With keyless, what is sealed is left out: nobody could open it, and the appliance makes
// new keys in place of its own.
func Restore(path string, dump io.Reader, of time.Time, keyless bool) (records int, err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%s is there already", path)
	}
	b, err := open(path)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			for _, p := range []string{path, segmentPath(path, 0), segmentPath(path, 1)} {
				os.Remove(p)
			}
		}
	}()
	if records, err = store.Load(b, dump, keyless); err != nil {
		b.closeFiles()
		return records, err
	}
	s, err := store.New(b)
	if err != nil {
		b.closeFiles()
		return records, err
	}
	return records, errors.Join(s.Restored(of), s.Close())
}
