// requestlog_test.go: whose entries stay, which go first, and who is told of new ones.

package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

func macOf(n int) boot.MAC { return boot.MAC{2, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)} }

func asked(mac int, what string, at time.Duration) boot.Request {
	return boot.Request{At: after(at), MAC: macOf(mac), Via: boot.HTTP, Step: boot.Fetch, Path: what, Reply: "file"}
}

func paths(rs []boot.Request) string {
	var out []string
	for _, r := range rs {
		out = append(out, r.Path)
	}
	return strings.Join(out, " ")
}

// A machine keeps its newest entries, oldest first; the machine that was silent
// longest goes first, with all of its entries, by any of the three bounds.
func TestLogBounds(t *testing.T) {
	l := newLog(bounds{perMachine: 3, machines: 100, entries: 100, bytes: 1 << 20, tail: 4}, nil)
	for i := range 7 {
		if got := l.Add(asked(1, fmt.Sprint(i), time.Duration(i))); got != uint64(i+1) {
			t.Errorf("entry %d has number %d", i+1, got)
		}
		want := []string{"0", "0 1", "0 1 2", "1 2 3", "2 3 4", "3 4 5", "4 5 6"}[i]
		if got := paths(l.Machine(macOf(1).String())); got != want {
			t.Errorf("after %d: %s, want %s", i+1, got, want)
		}
	}
	if l.Pushed() != 4 || l.Seq() != 7 || l.entries != 3 {
		t.Errorf("%d pushed out, %d in all, %d kept", l.Pushed(), l.Seq(), l.entries)
	}
	l = newLog(bounds{perMachine: 3, machines: 2, entries: 100, bytes: 1 << 20, tail: 4}, nil)
	for i, mac := range []int{1, 2, 1, 3} {
		l.Add(asked(mac, fmt.Sprint(i), time.Duration(i)))
	}
	if got := paths(l.Machine(macOf(1).String())) + "|" + paths(l.Machine(macOf(2).String())) + "|" + paths(l.Machine(macOf(3).String())); got != "0 2||3" || l.Pushed() != 1 || l.entries != 3 {
		t.Errorf("two machines are kept: %s, %d pushed, %d entries", got, l.Pushed(), l.entries)
	}
	l = newLog(bounds{perMachine: 3, machines: 100, entries: 4, bytes: 1 << 20, tail: 4}, nil)
	for i, mac := range []int{1, 1, 1, 2, 2} {
		l.Add(asked(mac, fmt.Sprint(i), time.Duration(i)))
	}
	if got := paths(l.Machine(macOf(1).String())) + "|" + paths(l.Machine(macOf(2).String())); got != "|3 4" || l.Pushed() != 3 || l.entries != 2 {
		t.Errorf("four entries are kept: %s, %d pushed, %d entries", got, l.Pushed(), l.entries)
	}
	l = newLog(bounds{perMachine: 99, machines: 100, entries: 100, bytes: 1, tail: 4}, nil)
	for i, mac := range []int{1, 1, 2, 2} {
		l.Add(asked(mac, fmt.Sprint(i), time.Duration(i)))
	}
	if got := paths(l.Machine(macOf(1).String())) + "|" + paths(l.Machine(macOf(2).String())); got != "|2 3" {
		t.Errorf("the one that asks keeps what it asked, whatever that takes: %s", got)
	}
	sum := 0
	for _, p := range l.lru.Front().Value.(*machineLog).ring {
		sum += p.size()
	}
	if l.bytes != sum {
		t.Errorf("%d bytes are counted of %d", l.bytes, sum)
	}
	if requestBounds != (bounds{64, 16384, 131072, 128 << 20, 4096}) || lineBounds != (bounds{256, 4096, 131072, 16 << 20, 1024}) {
		t.Errorf("%+v, %+v", requestBounds, lineBounds)
	}
}

// What is the same again is one entry, with how often and when last; anything that
// differs in what was asked or answered is another.
func TestRepeated(t *testing.T) {
	l := NewRequestLog(nil)
	for i := range 4 {
		r := asked(1, "held", time.Duration(i)*time.Second)
		r.Seq, r.Took, r.Bytes = 99, time.Duration(i), int64(i)
		l.Add(r)
	}
	l.Add(asked(1, "other", 4*time.Second))
	l.Add(asked(1, "held", 5*time.Second))
	got := l.Machine(macOf(1).String())
	if paths(got) != "held other held" || got[0].Repeated != 3 || !got[0].Last.Equal(after(3*time.Second)) || !got[0].At.Equal(clock) || got[0].Seq != 1 || got[2].Repeated != 0 {
		t.Errorf("%+v", got)
	}
	if l.Seq() != 6 || l.entries != 3 {
		t.Errorf("%d in all, %d kept", l.Seq(), l.entries)
	}
	l = NewRequestLog(nil)
	for i, what := range []string{"a", "b", "c", "d", "d"} {
		l.Add(asked(1, what, time.Duration(i)))
	}
	if got := l.Machine(macOf(1).String()); paths(got) != "a b c d" || got[3].Repeated != 1 {
		t.Errorf("%+v", got)
	}
	// With a full ring too, whose newest is not at its end.
	l = newLog(bounds{perMachine: 2, machines: 9, entries: 99, bytes: 1 << 20, tail: 4}, nil)
	for i, what := range []string{"a", "b", "c", "c", "d", "d"} {
		l.Add(asked(1, what, time.Duration(i)))
	}
	if got := l.Machine(macOf(1).String()); paths(got) != "c d" || got[0].Repeated != 1 || got[1].Repeated != 1 {
		t.Errorf("%+v", got)
	}
}

// Who has no MAC is known by its address; what names nobody finds nothing.
func TestMachineByAddress(t *testing.T) {
	l := NewRequestLog(nil)
	l.Add(boot.Request{At: clock, Source: netip.MustParseAddr("10.0.0.7"), Path: "a"})
	l.Add(boot.Request{At: after(1), Source: netip.MustParseAddr("fd77::7"), Path: "b"})
	l.Add(boot.Request{At: after(2), Source: netip.MustParseAddr("10.0.0.7"), MAC: macOf(1), Path: "c"})
	for key, want := range map[string]string{"10.0.0.7": "a", "fd77::7": "b", macOf(1).String(): "c", macOf(2).String(): "", "10.0.0.8": "", "web1": "", "": ""} {
		if got := paths(l.Machine(key)); got != want {
			t.Errorf("%q asked %q, want %q", key, got, want)
		}
	}
	if got := l.LastSeen(macOf(1)); !got.Equal(after(2)) {
		t.Errorf("last seen %s", got)
	}
	if got := l.LastSeen(macOf(2)); !got.IsZero() {
		t.Errorf("never seen, and at %s", got)
	}
}

// The tail is what everybody asked lately, by number; who waits is woken once.
func TestSince(t *testing.T) {
	l := newLog(bounds{perMachine: 9, machines: 99, entries: 99, bytes: 1 << 20, tail: 4}, nil)
	woken := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	got, more := l.Since(0)
	if len(got) != 0 || woken(more) {
		t.Errorf("%d entries in an empty log", len(got))
	}
	for i := range 6 {
		l.Add(asked(i, fmt.Sprint(i), time.Duration(i)))
		if !woken(more) {
			t.Fatalf("entry %d wakes nobody", i+1)
		}
		for seq, want := range [][]string{{"0"}, {"0 1", "1"}, {"0 1 2", "1 2", "2"}, {"0 1 2 3", "1 2 3", "2 3", "3"}, {"1 2 3 4", "1 2 3 4", "2 3 4", "3 4", "4"}, {"2 3 4 5", "2 3 4 5", "2 3 4 5", "3 4 5", "4 5", "5"}}[i] {
			if got, _ := l.Since(uint64(seq)); paths(got) != want {
				t.Errorf("after %d, since %d: %s, want %s", i+1, seq, paths(got), want)
			}
		}
		if got, _ := l.Since(l.Seq()); len(got) != 0 {
			t.Errorf("newer than the newest: %s", paths(got))
		}
		_, more = l.Since(0)
		if woken(more) {
			t.Error("woken by nothing")
		}
	}
}

// A sink sees every entry with its number but those read back, and what it does not
// take is counted.
func TestSink(t *testing.T) {
	var got []uint64
	l := NewRequestLog(func(r boot.Request) bool { got = append(got, r.Seq); return r.Path != "drop" })
	l.Add(asked(1, "a", 0))
	l.Restore(asked(1, "b", 1))
	l.Add(asked(1, "drop", 2))
	l.Add(asked(1, "c", 3))
	if !slices.Equal(got, []uint64{1, 3, 4}) || l.Dropped() != 1 || paths(l.Machine(macOf(1).String())) != "a b drop c" {
		t.Errorf("the sink saw %v, %d dropped", got, l.Dropped())
	}
}

// Machines whose last request lies between two moments, the last to speak first.
func TestSilent(t *testing.T) {
	l := NewRequestLog(nil)
	for i := range 6 {
		l.Add(asked(i, "x", time.Duration(i)*time.Second))
	}
	l.Add(boot.Request{At: after(5 * time.Second), Source: host(9)})
	for _, c := range []struct {
		from, to time.Duration
		n        int
		want     []boot.MAC
		more     int
	}{
		{0, 5 * time.Second, 9, []boot.MAC{macOf(5), macOf(4), macOf(3), macOf(2), macOf(1)}, 0},
		{0, 4 * time.Second, 9, []boot.MAC{macOf(4), macOf(3), macOf(2), macOf(1)}, 0},
		{0, 4*time.Second - 1, 9, []boot.MAC{macOf(3), macOf(2), macOf(1)}, 0},
		{-1, 0, 9, []boot.MAC{macOf(0)}, 0},
		{0, 5 * time.Second, 2, []boot.MAC{macOf(5), macOf(4)}, 3},
		{0, 5 * time.Second, 0, nil, 5},
		{5 * time.Second, 9 * time.Second, 9, nil, 0},
	} {
		if got, more := l.Silent(after(c.from), after(c.to), c.n); !slices.Equal(got, c.want) || more != c.more {
			t.Errorf("%s to %s: %v and %d more, want %v and %d", c.from, c.to, got, more, c.want, c.more)
		}
	}
}

// What a host asked with all of its cards is one history.
func TestOfHost(t *testing.T) {
	l := NewRequestLog(nil)
	for i, mac := range []int{2, 1, 3, 1, 2} {
		r := asked(mac, fmt.Sprint(i), time.Duration(i))
		if mac == 3 {
			r.Host = 7
		}
		l.Add(r)
	}
	if got := paths(l.Of(&boot.Host{ID: 1, MACs: []boot.MAC{macOf(1), macOf(2)}})); got != "0 1 3 4" {
		t.Errorf("by its cards: %s", got)
	}
	if got := paths(l.Of(&boot.Host{ID: 7})); got != "2" {
		t.Errorf("of a shared adapter: %s", got)
	}
	if got := paths(l.Of(&boot.Host{ID: 8})); got != "" {
		t.Errorf("of another: %s", got)
	}
}

// Files on their way: whose, how much of them, and no longer than that.
func TestRunning(t *testing.T) {
	b := newBench(t)
	begin := func(id boot.HostID, file string, at time.Duration, size int64) boot.Transfer {
		d := boot.Decision{Reply: boot.File{Ref: boot.Ref{Name: "name of " + file}}, Network: "lab"}
		if id != 0 {
			d.Host = &boot.Host{ID: id, Name: "web1"}
		}
		return b.e.Begin(boot.Sighting{At: after(at), Via: boot.HTTP, Step: boot.Fetch, Want: boot.Want{Path: file}}, d, size)
	}
	initrd := begin(1, "initrd", 2, 300)
	kernel := begin(1, "vmlinuz", 1, 200)
	other := begin(2, "grub", 1, 100)
	kernel.Sent(12)
	show := func(id boot.HostID) string {
		var out []string
		for _, r := range b.e.Running(id) {
			out = append(out, fmt.Sprintf("%s %s %d/%d %s", r.Path, r.Got, r.Bytes, r.Size, r.Outcome))
		}
		return strings.Join(out, ", ")
	}
	if got := show(1); got != "vmlinuz name of vmlinuz 12/200 under way, initrd name of initrd 0/300 under way" {
		t.Errorf("of one: %s", got)
	}
	if got := show(0); !strings.HasPrefix(got, "grub name of grub 0/100 under way, vmlinuz") || strings.Count(got, ",") != 2 {
		t.Errorf("of all: %s", got)
	}
	kernel.End()
	initrd.End()
	if got := show(1); got != "" {
		t.Errorf("ended: %s", got)
	}
	other.End()
	if n := len(b.e.running.all); n != 0 {
		t.Errorf("%d are kept", n)
	}
}
