package main

import (
	"strings"
	"testing"
	"time"
)

// TestProgress: failures are shown with what they said, skips with their reason,
// short tests not at all, and silence ends after a while with what is running.
func TestProgress(t *testing.T) {
	now := time.Unix(0, 0)
	var out strings.Builder
	p := newProgress(&out, func() time.Time { return now })
	const pkg = `"Package":"github.com/musterboot/muster/boot"`
	p.read(strings.NewReader(`
{"Action":"start",` + pkg + `}
{"Action":"run",` + pkg + `,"Test":"TestShort"}
{"Action":"output",` + pkg + `,"Test":"TestShort","Output":"=== RUN   TestShort\n"}
{"Action":"output",` + pkg + `,"Test":"TestShort","Output":"    x_test.go:1: chatter\n"}
{"Action":"pass",` + pkg + `,"Test":"TestShort","Elapsed":0.2}
{"Action":"run",` + pkg + `,"Test":"TestSkipped"}
{"Action":"output",` + pkg + `,"Test":"TestSkipped","Output":"    x_test.go:7: missing tool: install it\n"}
{"Action":"output",` + pkg + `,"Test":"TestSkipped","Output":"--- SKIP: TestSkipped (0.00s)\n"}
{"Action":"skip",` + pkg + `,"Test":"TestSkipped","Elapsed":0}
{"Action":"run",` + pkg + `,"Test":"TestWaits"}
{"Action":"pause",` + pkg + `,"Test":"TestWaits"}
{"Action":"run",` + pkg + `,"Test":"TestLong"}
{"Action":"run",` + pkg + `,"Test":"TestLong/one"}
`))
	p.tick()
	now = now.Add(90 * time.Second)
	p.tick()
	p.tick()
	p.read(strings.NewReader(`
{"Action":"output",` + pkg + `,"Test":"TestLong/one","Output":"    x_test.go:9: it is wrong\n"}
{"Action":"fail",` + pkg + `,"Test":"TestLong/one","Elapsed":91}
{"Action":"fail",` + pkg + `,"Test":"TestLong","Elapsed":91}
{"Action":"run",` + pkg + `,"Test":"TestPanics"}
{"Action":"output",` + pkg + `,"Test":"TestPanics","Output":"panic: oh\n"}
{"Action":"output",` + pkg + `,"Output":"FAIL\tboot\n"}
{"Action":"fail",` + pkg + `,"Elapsed":92}
{"Action":"build-output","ImportPath":"github.com/musterboot/muster/store [x]","Output":"store.go:1: undefined: x\n"}
{"Action":"build-fail","ImportPath":"github.com/musterboot/muster/store [x]"}
{"Action":"skip","Package":"github.com/musterboot/muster/none"}
{"Action":"pass","Package":"github.com/musterboot/muster/radv","Elapsed":3.04}
`))
	p.end()
	want := `  0:00  skip  boot TestSkipped: missing tool: install it
  1:30  ...   boot TestLong/one (1m30s)
  1:30  FAIL  boot TestLong/one  1m31s
    x_test.go:9: it is wrong

  1:30  FAIL  boot TestLong  1m31s

  1:30  FAIL  boot  1m32s
FAIL	boot
boot TestPanics did not end:
panic: oh

  1:30  FAIL  store  0s
store.go:1: undefined: x

  1:30  ok    radv  3s
  1:30  1 tests passed, 2 failed, 1 were skipped
  1:30  FAIL  boot TestLong/one
  1:30  FAIL  boot TestLong
  1:30  FAIL  boot
  1:30  FAIL  store
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
