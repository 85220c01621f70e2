// steps_test.go: single steps of a transfer as text. Each file in testdata/steps
// is one: what the client asks for, then what happens; beneath each, what the
// server does and how long it waits now. MUSTER_GOLDEN=write rewrites the "<" lines.

package tftpd

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func (s step) String() string {
	switch {
	case s.done:
		return "done"
	case s.gaveUp:
		return "gives up"
	case s.oack:
		return "OACK"
	case s.to < s.from:
		return "nothing"
	}
	return fmt.Sprintf("blocks %d-%d", s.from, s.to)
}

// steps plays a file: "read BYTES option=value…", "start", "ack BLOCK RTT", "timeout".
func steps(text string) (string, error) {
	var out strings.Builder
	var x *transfer
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		f := strings.Fields(line)
		if len(f) > 0 && f[0] == "<" {
			continue
		}
		out.WriteString(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		var s step
		switch f[0] {
		case "read":
			size, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return "", err
			}
			words := []string{"a", "octet"}
			for _, o := range f[2:] {
				k, v, _ := strings.Cut(o, "=")
				words = append(words, k, v)
			}
			r, err := parseRead(rrq(words...))
			if err != nil {
				return "", err
			}
			x = newTransfer(r, size)
			continue
		case "start":
			s = x.start()
		case "ack":
			n, err := strconv.ParseUint(f[1], 10, 16)
			if err != nil {
				return "", err
			}
			rtt, err := time.ParseDuration(f[2])
			if err != nil {
				return "", err
			}
			s = x.ack(uint16(n), rtt)
		case "timeout":
			s = x.timeout()
		default:
			return "", fmt.Errorf("no such line: %s", line)
		}
		fmt.Fprintf(&out, "< %s; waits %s; %d bytes arrived\n", s, x.rto.Round(time.Microsecond), x.acked())
	}
	return out.String(), nil
}

func TestSteps(t *testing.T) {
	names, err := filepath.Glob("testdata/steps/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no steps: %v", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := steps(string(b))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got == string(b) {
			continue
		}
		if os.Getenv("MUSTER_GOLDEN") == "write" {
			if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		g, w := strings.Split(got, "\n"), strings.Split(string(b), "\n")
		for i := range g {
			if i >= len(w) || g[i] != w[i] {
				t.Errorf("%s:%d\n got %s\nwant %s", name, i+1, g[i], w[min(i, len(w)-1)])
				break
			}
		}
	}
}
