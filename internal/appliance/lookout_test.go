// lookout_test.go: conversations with a lookout, in text. A line with ">" is what is
// seen, one with "<" what the lookout wants done, and when. MUSTER_GOLDEN=write
// rewrites the "<" lines.

package appliance

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/musterboot/muster/boot"
)

// String is an action as a conversation shows it.
func (a ask) String() string { return "ask" }
func (a news) String() string {
	return "news: " + a.server.Server.String() + map[bool]string{true: ", says a client"}[a.named]
}
func (a become) String() string { return fmt.Sprintf("mode %s: %s", a.mode, a.why) }

// converse plays a conversation and returns it with what the lookout does.
func converse(t *testing.T, text string) string {
	var out strings.Builder
	var l lookout
	begin := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	now := begin
	see := func(in input) {
		var do []action
		l, do = l.step(now, in)
		for _, a := range do {
			fmt.Fprintf(&out, "< %s %s\n", now.Sub(begin), a)
		}
	}
	rivals := func(words []string) (rs []boot.Rival) {
		for _, w := range words {
			rs = append(rs, boot.Rival{Network: "lab", Server: netip.MustParseAddr(w)})
		}
		return rs
	}
	// for a second, or for as long as is said
	last := func(words []string, in tick) {
		n := time.Second
		if len(words) > 0 {
			var err error
			n, err = time.ParseDuration(words[0])
			must(t, err)
		}
		for end := now.Add(n); now.Before(end); now = now.Add(time.Second) {
			see(in)
		}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "<") {
			continue
		}
		out.WriteString(line)
		f := strings.Fields(line)
		if len(f) < 2 || f[0] == "#" {
			continue
		}
		switch rest := f[2:]; f[0] + " " + f[1] {
		case "mode auto":
			l = lookout{auto: true, mode: boot.Listening}
		case "mode full":
			l = lookout{}
		case "> up":
			last(rest, tick{carries: true})
		case "> down":
			last(rest, tick{})
		case "> mute":
			last(rest, tick{carries: true, mute: true})
		case "> silence":
			see(answered{})
		case "> failure":
			see(answered{failed: true})
		case "> offers":
			see(answered{servers: rivals(rest)})
		case "> chosen":
			see(chosen{rivals(rest)[0]})
		case "> beside":
			see(beside{netip.MustParseAddr(rest[0])})
		case "> who":
			for _, s := range l.present(now) {
				fmt.Fprintf(&out, "< %s %s, from %s to %s\n", now.Sub(begin), s.Server, s.First.Sub(begin), s.Last.Sub(begin))
			}
		default:
			t.Fatalf("what is %q?", line)
		}
	}
	return out.String()
}

func TestLookout(t *testing.T) {
	files, err := filepath.Glob("testdata/lookout/*.txt")
	must(t, err)
	if len(files) < 5 {
		t.Fatalf("only %d conversations were found", len(files))
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(f)
			must(t, err)
			got := converse(t, string(b))
			if os.Getenv("MUSTER_GOLDEN") == "write" {
				must(t, os.WriteFile(f, []byte(got), 0o644))
			} else if got != string(b) {
				t.Errorf("got:\n%s\nwant:\n%s", got, b)
			}
		})
	}
}

// TestLookoutHolds: whatever is seen, in whatever order, an auto network gives no
// addresses before its link was asked and silent, nor within ten minutes of meeting a
// server; what a client says changes no mode; one question is open at most; and the
// memory of servers is bounded.
func TestLookoutHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := lookout{auto: rapid.Bool().Draw(t, "auto"), mode: boot.Listening}
		now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
		open, met, up := 0, time.Time{}, false
		recent := func() bool { return !met.IsZero() && now.Sub(met) < rivalForgets }
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "seconds")) * time.Second)
			server := boot.Rival{Server: netip.AddrFrom4([4]byte{10, 77, 0, rapid.Byte().Draw(t, "server")})}
			var in input
			switch kind := rapid.SampledFrom([]string{"up", "up", "up", "down", "mute", "silence", "offer", "chosen", "beside"}).Draw(t, "seen"); {
			case kind == "silence" && open > 0:
				in = answered{failed: rapid.Bool().Draw(t, "failed")}
			case kind == "offer" && open > 0:
				in = answered{servers: []boot.Rival{server}}
			case kind == "chosen":
				in = chosen{server}
			case kind == "beside":
				in = beside{server.Server}
			case kind == "down":
				in = tick{}
			default:
				in = tick{carries: true, mute: kind == "mute"}
			}
			before := l
			next, do := l.step(now, in)
			switch x := in.(type) {
			case answered:
				open--
				if len(x.servers) > 0 {
					met = now
				}
			case chosen:
				if next.mode != before.mode {
					t.Fatal("a client's word changes the mode")
				}
			case beside:
				met = now
			case tick:
				if up = x.carries; !up {
					met = time.Time{}
				}
			}
			for _, a := range do {
				switch a := a.(type) {
				case ask:
					if open++; !up || in.(tick).mute {
						t.Fatal("it asks where nothing can be asked")
					}
				case become:
					if !l.auto || a.mode == l.mode || a.mode != next.mode {
						t.Fatalf("%+v becomes %s, and is %s", l, a.mode, next.mode)
					}
					if x, silent := in.(answered); a.mode == boot.Full && (!silent || x.failed || recent()) {
						t.Fatalf("full by %#v", in)
					}
				}
			}
			if open < 0 || open > 1 {
				t.Fatalf("%d questions are open", open)
			}
			if next.mode == boot.Full && recent() {
				t.Fatal("it gives addresses beside another server")
			}
			if len(next.servers) > maxRivals {
				t.Fatalf("%d servers are kept", len(next.servers))
			}
			if fmt.Sprint(before) != fmt.Sprint(l) {
				t.Fatal("a step changed what it began with")
			}
			l = next
		}
	})
}
