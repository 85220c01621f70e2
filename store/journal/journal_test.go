package journal

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
)

func entry(mac byte, why string) boot.Request {
	return boot.Request{At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), MAC: boot.MAC{0x52, 0, 0, 0, 0, mac}, Via: boot.TFTP, Why: why}
}

func readAll(t *testing.T, path string) (out []boot.Request) {
	t.Helper()
	if err := Read(path, func(r boot.Request) { out = append(out, r) }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWrittenAndReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests.log")
	for i := range 2 {
		j, err := Open(path, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if !j.Add(entry(1, strings.Repeat("x", i+1))) {
			t.Fatal("entry dropped")
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		// A crash in mid-line.
		f, _ := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		f.WriteString(`{"seq":1,"at":"20`)
		f.Close()
	}
	got := readAll(t, path)
	if len(got) != 2 || got[0].Why != "x" || got[1].Why != "xx" {
		t.Fatalf("read back %+v", got)
	}
}

func TestFileIsCapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests.log")
	for range 20 {
		j, err := Open(path, 20_000)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			j.Add(entry(byte(i), strings.Repeat("y", 200)))
		}
		j.Close()
	}
	var total int64
	for _, p := range []string{path, path + ".1"} {
		st, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		total += st.Size()
	}
	if total > 40_000 {
		t.Fatalf("both files hold %d bytes, the cap is 40000", total)
	}
}

func TestOneMachineCannotOwnTheFile(t *testing.T) {
	j, err := Open(filepath.Join(t.TempDir(), "requests.log"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	took := 0
	for range 2000 {
		if j.Add(entry(1, "")) {
			took++
		}
	}
	if took != machineBudget {
		t.Fatalf("one machine wrote %d lines in a minute, the budget is %d", took, machineBudget)
	}
	if !j.Add(entry(2, "")) {
		t.Fatal("another machine has no budget left")
	}
}

// A network's machines have a budget of lines together, another network has its
// own, and a minute later there is a new one.
func TestOneNetworkCannotOwnTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests.log")
	synctest.Test(t, func(t *testing.T) {
		j, err := Open(path, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		n := 0
		add := func(network string, at time.Time) bool {
			if n++; n%1000 == 0 {
				synctest.Wait() // until the writer has room again
			}
			return j.Add(boot.Request{At: at, MAC: boot.MAC{0x52, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)}, Network: network})
		}
		took := 0
		for range 13_000 {
			if add("lab", at) {
				took++
			}
		}
		if took != 12_000 {
			t.Errorf("one network wrote %d lines in a minute, want 12000", took)
		}
		if !add("yard", at) {
			t.Error("another network has no budget left")
		}
		if add("lab", at.Add(59*time.Second)) {
			t.Error("a minute is over before its time")
		}
		if !add("lab", at.Add(time.Minute)) {
			t.Error("a minute later there is no new budget")
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	if got := len(readAll(t, path)); got != 12_002 {
		t.Errorf("%d lines are in the file, want 12002", got)
	}
}

// Strangers without a MAC are told apart by their address.
func TestStrangersHaveABudgetEach(t *testing.T) {
	j, err := Open(filepath.Join(t.TempDir(), "requests.log"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for i := range 400 {
		from := netip.AddrFrom4([4]byte{10, 0, 0, 1})
		if got := j.Add(boot.Request{At: time.Unix(0, 0), Source: from}); got != (i < machineBudget) {
			t.Fatalf("line %d of one stranger: %v", i+1, got)
		}
	}
	if !j.Add(boot.Request{At: time.Unix(0, 0), Source: netip.AddrFrom4([4]byte{10, 0, 0, 2})}) {
		t.Error("another stranger has no budget left")
	}
}

// TestBudgetsAreBounded: strangers that make up their addresses cost a fixed
// amount of memory.
func TestBudgetsAreBounded(t *testing.T) {
	j := &Journal{queue: make(chan boot.Request), stop: make(chan struct{}), budgets: map[budget]int{}}
	most := 0
	for i := range 60_000 {
		r := entry(0, "")
		r.MAC, r.Source = boot.MAC{}, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		r.Network = fmt.Sprint("n", i%10)
		j.Add(r)
		most = max(most, len(j.budgets))
	}
	if most > 16384+2 || most < 8192 {
		t.Errorf("%d budgets are kept, want at most 16384", most)
	}
}

// TestFullQueueIsNotWaitedFor: what the writer has no room for is dropped, and
// whoever adds it is told at once.
func TestFullQueueIsNotWaitedFor(t *testing.T) {
	j := &Journal{queue: make(chan boot.Request, queueLen), stop: make(chan struct{}), budgets: map[budget]int{}}
	took := 0
	for i := range 5000 { // nobody writes
		r := entry(0, "")
		r.MAC = boot.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}
		if j.Add(r) {
			took++
		}
	}
	if took != 2048 {
		t.Errorf("%d lines wait for the writer, want 2048", took)
	}
}

// TestBufferIsBounded: what waits to be written is written when it is much, whatever
// the time.
func TestBufferIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "requests.log")
		j, err := Open(path, 64<<20)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 200 {
			j.Add(entry(byte(i), strings.Repeat("y", 3000)))
		}
		synctest.Wait() // and no time passes
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() < 256<<10 {
			t.Errorf("%d bytes are written of 600000 that wait", st.Size())
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, path); len(got) != 200 || got[0].Why[0] != 'y' {
			t.Errorf("%d lines", len(got))
		}
		if j.Add(entry(1, "late")) {
			t.Error("a line was taken after the end")
		}
	})
}

// TestWrittenSoon: a lone line is in the file within a moment.
func TestWrittenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "requests.log")
		j, err := Open(path, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		j.Add(entry(1, "x"))
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		if got := readAll(t, path); len(got) != 1 {
			t.Errorf("%d lines after 300 ms", len(got))
		}
	})
}

// TestLongLine: what a machine says is longer in JSON than it was. It is cut, and not
// lost; what cannot be written is counted.
func TestLongLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests.log")
	j, err := Open(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("<", 2000) // six bytes each
	r := entry(1, "")
	r.Line = &boot.Line{Text: long}
	r.Reasons = boot.Reasons{{Rule: "identify", Code: "x", Args: []string{long}}}
	j.Add(r)
	j.Add(entry(2, "short"))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	got := readAll(t, path)
	if len(got) != 2 || got[0].Line == nil || !strings.HasPrefix(long, got[0].Line.Text) || len(got[0].Line.Text) < 200 || got[0].Line.Cut != len(long)-len(got[0].Line.Text) || j.Lost() != 0 {
		t.Errorf("read back %+v; %d lost", got, j.Lost())
	}
	if j, err = Open(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	j.file.Close() // as if the disk took nothing more
	j.Add(entry(3, "lost"))
	j.Close()
	if j.Lost() != 1 {
		t.Errorf("%d entries are counted as lost", j.Lost())
	}
}
