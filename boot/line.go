// line.go: what a machine writes to its log while it boots or installs. When an
// installer stops, these lines tell most of why.

package boot

import (
	"fmt"
	"slices"
)

// MaxLine is how much of a line's text is kept.
const MaxLine = 2048

// Line is one line of a machine's log. The time and the host name in it are left out:
// an installer has neither before DHCP, and nothing proves either.
type Line struct {
	Severity Severity `json:"severity"`
	Facility string   `json:"facility"`
	App      string   `json:"app,omitempty"`
	Text     string   `json:"text"`
	Cut      int      `json:"cut,omitempty"` // bytes of it that were left out
}

// Severity is how bad it is; the smaller, the worse (RFC 5424 6.2.1).
type Severity uint8

// Severities.
const (
	Emerg Severity = iota
	Alert
	Crit
	Err
	Warning
	Notice
	Informational
	Debug
)

var severities = []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

func (s Severity) String() string {
	if int(s) < len(severities) {
		return severities[s]
	}
	return fmt.Sprintf("severity %d", uint8(s))
}

// MarshalText writes the usual word.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads it.
func (s *Severity) UnmarshalText(b []byte) error {
	i := slices.Index(severities, string(b))
	if i < 0 {
		return fmt.Errorf("severity %q: want one of %v", b, severities)
	}
	*s = Severity(i)
	return nil
}

// clean is the line as it may be kept and printed.
func (l Line) Clean() *Line {
	l.Facility, l.App = CleanText(l.Facility, 16), CleanText(l.App, 48)
	l.Severity = min(l.Severity, Debug)
	full := len(l.Text)
	if l.Text = CleanText(l.Text, MaxLine); full > MaxLine {
		l.Cut += full - MaxLine
	}
	return &l
}
