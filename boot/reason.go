// reason.go: why a rule did what it did, as data. A reason is a code with arguments.
// Its text is made only where it is shown, so that a page, a webhook and a
// translation may differ. Programs read the codes.

package boot

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Code names a reason; it is stable. The texts are in reasons.
type Code string

// Reason is one rule that fired and what it saw.
type Reason struct {
	Rule  string   `json:"rule,omitempty"`
	Code  Code     `json:"code"`
	Args  []string `json:"args,omitempty"` // in the order in which the text names them
	Cause *Reason  `json:"cause,omitempty"`
}

// Reasons are those of one decision, in order.
type Reasons []Reason

// because makes a reason. The last of args may be its cause.
func because(code Code, args ...any) *Reason {
	r := reasonOf(code, args)
	return &r
}

func reasonOf(code Code, args []any) Reason {
	r := Reason{Code: code}
	if n := len(args); n > 0 {
		if c, ok := args[n-1].(*Reason); ok {
			r.Cause, args = c, args[:n-1]
		}
	}
	if len(args) > 0 {
		r.Args = make([]string, len(args))
		for i, a := range args {
			r.Args[i] = CleanText(word(a), maxWord)
		}
	}
	return r
}

// maxWord bounds what a request may put into a reason.
const maxWord = 400

// word formats one argument. The usual types avoid fmt, because each packet makes
// reasons.
func word(a any) string {
	switch x := a.(type) {
	case string:
		return x
	case MAC:
		return x.String()
	case netip.Addr:
		return x.String()
	case int:
		return strconv.Itoa(x)
	case fmt.Stringer:
		return x.String()
	case error:
		return x.Error()
	}
	return fmt.Sprint(a)
}

// Text is the reason in words, for a person.
func (r *Reason) Text() string {
	if r == nil {
		return ""
	}
	text, known := reasonTexts[r.Code]
	if !known {
		text = string(r.Code) // a code of a newer version
	}
	var b strings.Builder
	rest, args, caused := text, r.Args, false
	for {
		before, after, ok := strings.Cut(rest, "{")
		b.WriteString(before)
		if !ok {
			break
		}
		name, after, _ := strings.Cut(after, "}")
		rest = after
		switch {
		case name == "cause":
			b.WriteString(r.Cause.Text())
			caused = true
		case len(args) > 0:
			b.WriteString(args[0])
			args = args[1:]
		}
	}
	if r.Cause != nil && !caused {
		b.WriteString(": ")
		b.WriteString(r.Cause.Text())
	}
	return b.String()
}

// Is reports a reason of a code, or that has one among its causes.
func (r *Reason) Is(code Code) bool { return r.Find(code) != nil }

// Find returns the reason with a code: this one, or one of its causes; else nil.
func (r *Reason) Find(code Code) *Reason {
	for ; r != nil; r = r.Cause {
		if r.Code == code {
			return r
		}
	}
	return nil
}

// Find returns the first reason of a code, or with one among its causes.
func (rs Reasons) Find(code Code) *Reason {
	for i := range rs {
		if r := rs[i].Find(code); r != nil {
			return r
		}
	}
	return nil
}

// Of returns the last reason of a rule, or nil.
func (rs Reasons) Of(rule string) *Reason {
	for i := range slices.Backward(rs) {
		if rs[i].Rule == rule {
			return &rs[i]
		}
	}
	return nil
}

// String is the reasons on one line, separated by semicolons. A semicolon inside a
// reason is replaced, so that a reader can split the line again.
func (rs Reasons) String() string {
	var b strings.Builder
	for i := range rs {
		if i > 0 {
			b.WriteString("; ")
		}
		if rs[i].Rule != "" {
			b.WriteString(rs[i].Rule)
			b.WriteString(": ")
		}
		b.WriteString(strings.ReplaceAll(rs[i].Text(), "; ", ", "))
	}
	return b.String()
}

// Said is a reason that an older version stored as text.
const Said Code = "said"

// Codes that the program itself looks for. All codes and texts are in reasonTexts.
const (
	WhyHeld        Code = "script.hold"
	WhyDisk        Code = "script.local"
	WhyUnclear     Code = "host.unclear"
	WhyNameless    Code = "host.nameless"
	WhyMaybe       Code = "host.maybe"
	WhyIgnored     Code = "enroll.ignored"
	WhyParked      Code = "boot.parked"
	WhyParams      Code = "boot.params"
	WhyUnlike      Code = "boot.unlike"
	WhyUnfit       Code = "boot.unfit"
	WhyMismatch    Code = "template.mismatch"
	WhyMissing     Code = "boot.missing"
	WhyUnmade      Code = "boot.unmade"
	WhyStuck       Code = "boot.stuck-waits"
	WhyQueued      Code = "install.queued"
	WhyProtected   Code = "install.protected"
	WhyNoTicket    Code = "install.no-ticket"
	WhyNoTemplate  Code = "template.none-for-it"
	WhyNoLoader    Code = "loader.none"
	WhyBarred      Code = "loader.barred"
	WhyPort4011    Code = "loader.binl"
	WhyOtherServer Code = "lease.other-server"
	WhyTLS         Code = "tls.failed"
)
