// Package clock is a clock that somebody sets while the program runs.
package clock

import (
	"fmt"
	"os"
	"time"
	"unsafe"
)

// File in the environment names the file that says by how much the clock is off.
const File = "MUSTER_TEST_CLOCK"

// Now is time.Now by that clock.
func Now() time.Time {
	b, err := os.ReadFile(os.Getenv(File))
	if err != nil {
		panic(fmt.Sprintf("%s: %v", File, err))
	}
	d, err := time.ParseDuration(string(b))
	if err != nil {
		panic(fmt.Sprintf("%s: %v", os.Getenv(File), err))
	}
	return jumped(time.Now(), d)
}

// jumped is what time.Now returns after somebody has set the clock: the wall
// clock is elsewhere, the monotonic one beside it in the Time has gone on.
// Time.Add would move both, and hide what compares the one with the other.
func jumped(t time.Time, d time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t))
	*wall += uint64(int64(d/time.Second)) << 30
	return t
}
