package clock

import (
	"testing"
	"time"
)

func TestJumped(t *testing.T) {
	now := time.Now()
	for _, d := range []time.Duration{time.Hour, -time.Hour} {
		later := jumped(now, d)
		if wall := later.Round(0).Sub(now.Round(0)); wall != d || later.Sub(now) != 0 {
			t.Errorf("a jump by %s moves the wall clock by %s and the monotonic one by %s", d, wall, later.Sub(now))
		}
	}
}
