//go:build !unix

package iso

import "time"

var began = time.Now()

func busy() time.Duration { return time.Since(began) }
