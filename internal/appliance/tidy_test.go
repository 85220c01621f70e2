// tidy_test.go: what is removed by itself.

package appliance

import (
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/store/mem"
)

// TestDropOld: the oldest go, by number and by age, in steps.
func TestDropOld(t *testing.T) {
	s, err := mem.Open()
	must(t, err)
	defer s.Close()
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	add := func(n int, age time.Duration) {
		must(t, s.Update(t.Context(), func(tx boot.Tx) error {
			for range n {
				if _, err := tx.Append(boot.Event{At: now.Add(-age), Kind: boot.HostAdded, Text: "x"}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	kept := func() (first uint64, n int) {
		must(t, s.View(t.Context(), func(tx boot.ReadTx) error {
			es, err := tx.Events(0, 10_000)
			if len(es) > 0 {
				first = es[0].Seq
			}
			n = len(es)
			return err
		}))
		return first, n
	}
	add(1300, 48*time.Hour)
	add(700, time.Minute)
	for _, x := range []struct {
		r       config.Retention
		dropped uint64
		left    int
	}{
		{config.Retention{Max: 5000}, 0, 2000},
		{config.Retention{Max: 1900}, 100, 1900},
		{config.Retention{Max: 5000, Keep: 24 * time.Hour}, 1200, 700},
		{config.Retention{Max: 5000, Keep: 24 * time.Hour}, 0, 700},
		{config.Retention{Max: 5000, Keep: time.Second}, 700, 0},
		{config.Retention{Max: 5000, Keep: time.Second}, 0, 0},
	} {
		n, err := dropOld(t.Context(), s, x.r, now)
		if _, left := kept(); err != nil || n != x.dropped || left != x.left {
			t.Errorf("%+v dropped %d and left %d (%v), want %d and %d", x.r, n, left, err, x.dropped, x.left)
		}
	}
	add(1, 0)
	if first, n := kept(); first != 2001 || n != 1 {
		t.Errorf("the next is %d", first)
	}
}
