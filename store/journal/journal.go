// Package journal writes the request log to a file of JSON lines, in batches. The
// file has a size limit. An entry that does not fit is dropped and counted. The
// journal never delays a caller, and so no reply, and its memory is bounded.
package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterboot/muster/boot"
)

const (
	queueLen   = 2048
	flushEvery = 250 * time.Millisecond
	// machineBudget is how many lines a minute one machine or stranger may take.
	// Firmware that loops stays visible, and a flood does not fill the file.
	machineBudget = 300
	maxBudgets    = 16384
	// networkBudget is the same for all machines of a network together, because a
	// file that is replaced within seconds keeps no history.
	networkBudget = 12000
	maxLine       = 4096
)

// Journal is open for appending.
type Journal struct {
	path  string
	limit int64
	queue chan boot.Request
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once

	lost atomic.Uint64 // entries that could not be written

	mu      sync.Mutex
	budgets map[budget]int
	minute  int64

	file *os.File // used by the writer only
	size int64
}

// budget is one machine's, one stranger's or one network's lines of a minute.
type budget struct {
	mac     boot.MAC
	source  netip.Addr
	network string
}

// Open opens path for appending. The file is kept below limit bytes; when it
// is full it becomes path.1, replacing the one before, so that twice limit is
// the most that both take.
func Open(path string, limit int64) (*Journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("open request log: %w", err)
	}
	j := &Journal{path: path, limit: limit, queue: make(chan boot.Request, queueLen), stop: make(chan struct{}), done: make(chan struct{}), budgets: map[budget]int{}}
	if err := j.open(); err != nil {
		return nil, err
	}
	go j.run()
	return j, nil
}

func (j *Journal) open() error {
	f, err := os.OpenFile(j.path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return fmt.Errorf("open request log: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open request log: %w", err)
	}
	j.file, j.size = f, st.Size()
	// A line cut short by a crash must not swallow the next one.
	if last := make([]byte, 1); j.size > 0 {
		if _, err := f.ReadAt(last, j.size-1); err == nil && last[0] != '\n' {
			f.Write([]byte{'\n'})
			j.size++
		}
	}
	return nil
}

// Add hands an entry to the writer without waiting; false means dropped.
func (j *Journal) Add(r boot.Request) bool {
	key, network := budget{mac: r.MAC}, budget{network: r.Network}
	if r.MAC.IsZero() {
		key.source = r.Source
	}
	j.mu.Lock()
	if m := r.At.Unix() / 60; m != j.minute || len(j.budgets) > maxBudgets {
		j.minute = m
		clear(j.budgets)
	}
	over := j.budgets[key] >= machineBudget || j.budgets[network] >= networkBudget
	if !over {
		j.budgets[key]++
		j.budgets[network]++
	}
	j.mu.Unlock()
	if over {
		return false
	}
	select {
	case <-j.stop:
		return false // nobody reads the queue any more
	default:
	}
	select {
	case j.queue <- r:
		return true
	default:
		return false
	}
}

// Close writes what is queued and closes the file.
func (j *Journal) Close() error {
	j.once.Do(func() { close(j.stop) })
	<-j.done
	return j.file.Close()
}

func (j *Journal) run() {
	defer close(j.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	var buf bytes.Buffer
	flush := func() {
		if buf.Len() == 0 {
			return
		}
		if j.size+int64(buf.Len()) > j.limit {
			j.rotate()
		}
		n, _ := j.file.Write(buf.Bytes()) // if the disk is full, entries are lost and machines still boot
		j.size += int64(n)
		j.lost.Add(uint64(bytes.Count(buf.Bytes()[n:], []byte{'\n'})))
		buf.Reset()
	}
	add := func(r boot.Request) {
		if b, ok := line(r); ok {
			buf.Write(b)
			buf.WriteByte('\n')
		} else {
			j.lost.Add(1)
		}
		if buf.Len() > 256<<10 {
			flush()
		}
	}
	for {
		select {
		case r := <-j.queue:
			add(r)
		case <-tick.C:
			flush()
		case <-j.stop:
			for {
				select {
				case r := <-j.queue:
					add(r)
				default:
					flush()
					return
				}
			}
		}
	}
}

// Lost counts entries that were taken and could not be written: the disk is full.
func (j *Journal) Lost() uint64 { return j.lost.Load() }

// line is an entry as it is written. What a machine says may be six times as long in
// JSON as it was: then its texts are cut, so that something of it is kept.
func line(r boot.Request) ([]byte, bool) {
	b, err := json.Marshal(r)
	for most := maxLine / 4; err == nil && len(b) >= maxLine && most > 0; most /= 4 {
		cut := func(s string) string { return boot.CleanText(s[:min(len(s), most)], most) }
		r.Path, r.Got, r.Outcome, r.Why = cut(r.Path), cut(r.Got), cut(r.Outcome), cut(r.Why)
		if r.Line != nil {
			l := *r.Line
			l.Cut += max(0, len(l.Text)-most)
			l.Text = cut(l.Text)
			r.Line = &l
		}
		if most < maxLine/4 {
			r.Reasons = nil
		}
		b, err = json.Marshal(r)
	}
	return b, err == nil && len(b) < maxLine
}

func (j *Journal) rotate() {
	old := j.file
	if err := os.Rename(j.path, j.path+".1"); err != nil {
		return
	}
	if err := j.open(); err != nil {
		_ = os.Rename(j.path+".1", j.path)
		j.file = old
		return
	}
	old.Close()
}

// Read calls fn with every entry that the file at path and its predecessor
// hold, oldest first. Lines that cannot be read are skipped: the log need not be
// complete.
func Read(path string, fn func(boot.Request)) error {
	for _, p := range []string{path + ".1", path} {
		f, err := os.Open(p)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read request log: %w", err)
		}
		r := bufio.NewReaderSize(f, 64<<10)
		for {
			line, err := r.ReadSlice('\n')
			if err == bufio.ErrBufferFull {
				continue
			}
			var q boot.Request
			if len(line) > 1 && json.Unmarshal(line, &q) == nil {
				fn(q)
			}
			if err != nil {
				if err != io.EOF {
					f.Close()
					return fmt.Errorf("read request log: %w", err)
				}
				break
			}
		}
		f.Close()
	}
	return nil
}
