// age.go: how old something is when clocks may be set.

package boot

import (
	"math"
	"time"
)

// Age is how long ago something was. What lies in the future is as old as can be: the
// clock was set back since, and nothing may wait until it has caught up.
func Age(now, then time.Time) time.Duration {
	if d := now.Sub(then); d >= 0 {
		return d
	}
	return math.MaxInt64
}
