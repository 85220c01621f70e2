// Package clock is a clock that a test can set while the program runs.
package clock

import (
	"fmt"
	"os"
	"time"
	"unsafe"
)

// File is the environment variable that names the file with the clock's offset.
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
// clock has jumped, but the monotonic one in the same Time has gone on.
// Time.Add would move both, and hide mistakes in code that compares them.
func jumped(t time.Time, d time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t))
	*wall += uint64(int64(d/time.Second)) << 30
	return t
}
