// age.go: how old something is when clocks may be set.

package boot

import (
	"math"
	"time"
)

// Skew is how far in the future something may lie because packets are not decided in the
// order in which they came.
const Skew = time.Minute

// Age is how long ago something was. What lies in the future is as old as can be: the
// clock was set back since, and nothing may wait until it has caught up.
func Age(now, then time.Time) time.Duration {
	switch d := now.Sub(then); {
	case d >= 0:
		return d
	case d > -Skew:
		return 0
	}
	return math.MaxInt64
}
