package syslogd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"github.com/musterboot/muster/boot"
)

func show(l boot.Line) string {
	s := fmt.Sprintf("< %s %s %q %q", l.Severity, l.Facility, l.App, l.Text)
	if l.Cut > 0 {
		s += fmt.Sprintf(" cut %d", l.Cut)
	}
	return s
}

// TestParse reads testdata/lines.txt: beneath each line what became of it.
// MUSTER_GOLDEN=write writes that.
func TestParse(t *testing.T) {
	const file = "testdata/lines.txt"
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	lines := 0
	for s := range strings.Lines(string(want)) {
		if strings.HasPrefix(s, "<") {
			continue
		}
		out.WriteString(s)
		if raw, ok := strings.CutPrefix(s, "> "); ok {
			b, err := strconv.Unquote(`"` + strings.ReplaceAll(strings.TrimSuffix(raw, "\n"), `"`, `\"`) + `"`)
			if err != nil {
				t.Fatalf("%s: %v", raw, err)
			}
			lines++
			out.WriteString(show(parse([]byte(b))) + "\n")
		}
	}
	if got := out.String(); got != string(want) {
		if os.Getenv("MUSTER_GOLDEN") == "write" {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
		g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				t.Fatalf("line %d\n got %s\nwant %s", i+1, g[i], w[i])
			}
		}
		t.Fatalf("%d lines, want %d", len(g), len(w))
	}
	if lines < 30 {
		t.Errorf("only %d lines were read", lines)
	}
}

func TestLongLine(t *testing.T) {
	for _, c := range []struct {
		name, tail string
		keep, cut  int
	}{
		{"plain", strings.Repeat("a", 5000), boot.MaxLine, 5000 - boot.MaxLine},
		{"not cut in the middle of a letter", strings.Repeat("a", boot.MaxLine-1) + "ßb", boot.MaxLine - 1, 3},
		{"just fits", strings.Repeat("a", boot.MaxLine), boot.MaxLine, 0},
	} {
		if l := parse([]byte("<13>sh: " + c.tail)); len(l.Text) != c.keep || l.Cut != c.cut {
			t.Errorf("%s: %d kept, %d cut, want %d and %d", c.name, len(l.Text), l.Cut, c.keep, c.cut)
		}
	}
}

func TestFrames(t *testing.T) {
	long := strings.Repeat("x", 3*maxRaw)
	for _, c := range []struct {
		name, in string
		want     []string
		err      error
	}{
		{"line ends", "<13>a\n<13>b\r\n<13>c", []string{"<13>a", "<13>b", "<13>c"}, io.EOF},
		{"counted (RFC 6587 3.4.1)", "5 <1>ab6 <1>c\nd", []string{"<1>ab", "<1>c\nd"}, io.EOF},
		{"one after the other", "5 <1>ab<13>c\n5 <1>de", []string{"<1>ab", "<13>c", "<1>de"}, io.EOF},
		{"a line that begins with a number", "2026 began\n5 apples\n7\n", []string{"2026 began", "5 apples", "7"}, io.EOF},
		{"a long line", "<13>" + long + "\n<13>b\n", []string{"<13>" + long[:maxRaw-4], "<13>b"}, io.EOF},
		{"a long frame", fmt.Sprintf("%d <13>%s<13>b\n", len(long)+4, long), []string{"<13>" + long[:maxRaw-4], "<13>b"}, io.EOF},
		{"breaks off", "100 <1>ab", []string{"<1>ab"}, io.EOF},
		{"no syslog", "99999999 <1>ab", nil, errFrame},
		{"a number of any length", strings.Repeat("9", 50) + "\n", []string{strings.Repeat("9", 50)}, io.EOF},
		{"empty", "", nil, io.EOF},
	} {
		for how, r := range map[string]io.Reader{"at once": strings.NewReader(c.in), "by bytes": iotest.OneByteReader(strings.NewReader(c.in))} {
			f := newFrames(r)
			var got []string
			var err error
			for {
				var b []byte
				var cut int
				if b, cut, err = f.next(); err != nil {
					break
				}
				if strings.HasPrefix(c.name, "a long") && len(got) == 0 && (cut == 0 || cut < len(long)+4-maxRaw) {
					t.Errorf("%s, %s: %d cut", c.name, how, cut)
				}
				got = append(got, strings.TrimRight(string(b), "\r\n"))
			}
			if !errors.Is(err, c.err) || strings.Join(got, "|") != strings.Join(c.want, "|") || len(got) != len(c.want) {
				t.Errorf("%s, %s: %q, %v; want %q, %v", c.name, how, got, err, c.want, c.err)
			}
		}
	}
}

// FuzzSyslog: whatever comes, what is kept is bounded and printable, a stream is
// read to its end, and no byte of it counts twice.
func FuzzSyslog(f *testing.F) {
	b, err := os.ReadFile("testdata/lines.txt")
	if err != nil {
		f.Fatal(err)
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if raw, ok := strings.CutPrefix(s.Text(), "> "); ok {
			f.Add([]byte(raw))
		}
	}
	f.Add([]byte("5 <1>ab6 <1>c\nd<13>e\n99999999 <1>ab"))
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(l boot.Line) {
			for what, s := range map[string]string{"text": l.Text, "name": l.App} {
				if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && r != utf8.RuneError }) {
					t.Errorf("%s %q cannot be shown", what, s)
				}
			}
			if len(l.Text) > boot.MaxLine || len(l.App) > maxApp || l.Severity > boot.Debug || l.Facility == "" {
				t.Errorf("%+v", l)
			}
		}
		check(parse(b))
		fr := newFrames(bytes.NewReader(b))
		total := 0
		for {
			line, cut, err := fr.next()
			if err != nil {
				break
			}
			if len(line)+cut == 0 || len(line) > maxRaw {
				t.Fatalf("a line of %d bytes, %d cut", len(line), cut)
			}
			if total += len(line) + cut; total > len(b) {
				t.Fatalf("%d bytes out of %d", total, len(b))
			}
			check(parse(line))
		}
	})
}
