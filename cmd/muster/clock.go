// clock.go: the program's clock, in a file of its own so that a test can build
// the program with a clock that jumps.

package main

import "time"

var clock = time.Now
