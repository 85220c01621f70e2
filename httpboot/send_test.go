// send_test.go: what is sent without copying, and what a capped network gives to
// whom.

package httpboot

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestZeroCopy: the bytes of a stored file leave by sendfile, ranges too; only
// what net/http looks at first is copied.
func TestZeroCopy(t *testing.T) { families(t, testZeroCopy) }

func testZeroCopy(t *testing.T, host string) {
	s, h, addr := startHandler(t, host)
	want := make([]byte, 5<<20+3)
	rand.Read(want)
	if err := os.WriteFile(filepath.Join(s.dir, "big.img"), want, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rng      string
		from, to int
	}{{"", 0, len(want)}, {"bytes=1000000-", 1000000, len(want)}, {"bytes=7-4000006", 7, 4000007}} {
		before := h.Stats.ZeroCopy.Load()
		req, _ := http.NewRequest(http.MethodGet, "http://"+addr+"/big.img", nil)
		if c.rng != "" {
			req.Header.Set("Range", c.rng)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, want[c.from:c.to]) {
			t.Fatalf("range %q: %d bytes, %v", c.rng, len(got), err)
		}
		<-s.ended
		if n := h.Stats.ZeroCopy.Load() - before; n < uint64(c.to-c.from-512) {
			t.Errorf("range %q: %d of %d bytes left by sendfile", c.rng, n, c.to-c.from)
		}
	}
}

// TestLine: two clients that want all of a capped network get half each,
// although one of them opens ten connections, and the cap holds.
func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 10 << 20
		l := newLine(rate)
		var mu sync.Mutex
		got := map[netip.Addr]int{}
		many, one := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		end := time.Now().Add(10 * time.Second)
		var wg sync.WaitGroup
		for i := range 11 {
			who := many
			if i == 0 {
				who = one
			}
			wg.Go(func() {
				for time.Now().Before(end) {
					n, err := l.take(t.Context(), who, 1<<20)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					got[who] += n
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		total := got[many] + got[one]
		if total < 99*rate/10 || total > 102*rate/10 {
			t.Errorf("%d bytes in 10 s on a line of %d a second", total, rate)
		}
		if got[one] < total*45/100 {
			t.Errorf("one connection of its own got %d of %d, beside a client with ten", got[one], total)
		}
	})
}

// TestLineIsForgotten: a cap that is removed leaves no line behind. A changed
// cap applies to waiting clients too. A client that was served is no longer
// waited for.
func TestLineIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lines
		if l.line("lab", 0) != nil || len(l.of) != 0 {
			t.Error("no cap is a line")
		}
		lab := l.line("lab", 1<<20)
		if lab == nil || l.line("lab", 2<<20) != lab || lab.rate != 2<<20 || l.line("yard", 1<<20) == lab {
			t.Fatalf("%d lines, the first has %d bytes a second", len(l.of), lab.rate)
		}
		who := netip.MustParseAddr("10.0.0.1")
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if n, err := lab.take(t.Context(), who, 4<<10); n != 4<<10 || err != nil {
					t.Errorf("%d bytes, %v", n, err)
				}
			})
		}
		wg.Wait()
		if len(lab.waiting) != 0 || len(lab.turns) != 0 || lab.timer != nil {
			t.Errorf("%d wait, %d turns", len(lab.waiting), len(lab.turns))
		}
		if l.line("lab", 0) != nil || len(l.of) != 1 {
			t.Errorf("%d lines, want the one of the yard", len(l.of))
		}
	})
}
