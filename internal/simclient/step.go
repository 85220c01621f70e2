package simclient

// This file is a machine's report of its boot: each step as it ends, and how
// the boot ended.

import (
	"encoding/json"
	"time"

	"github.com/musterboot/muster/internal/simclient/script"
)

// A Verdict is the result of a step.
type Verdict string

const (
	OK      Verdict = "ok"
	Failed  Verdict = "failed"
	Skipped Verdict = "skipped"
)

// An End is how a boot ended.
type End = script.End

const (
	Booted End = "boot" // its kernel was loaded, or what it boots in place of one
	Loaded End = "file" // it has a loader that cannot be simulated

	Local  = script.Local
	Held   = script.Held
	Broken = script.Broken
)

// A Step is one thing that a machine did.
type Step struct {
	Name    string        `json:"step"`
	Verdict Verdict       `json:"verdict"`
	Text    string        `json:"text"`
	Hint    string        `json:"hint,omitempty"` // what a person should do
	Server  string        `json:"server,omitempty"`
	File    string        `json:"file,omitempty"`
	Bytes   int64         `json:"bytes,omitempty"`
	SHA256  string        `json:"sha256,omitempty"`
	Took    time.Duration `json:"-"`
}

// MarshalJSON adds the time in milliseconds.
func (s Step) MarshalJSON() ([]byte, error) {
	type plain Step
	return json.Marshal(struct {
		plain
		Took float64 `json:"ms"`
	}{plain(s), float64(s.Took.Microseconds()) / 1000})
}

// A Transcript is one machine's boot.
type Transcript struct {
	Kind    string        `json:"kind"`
	MAC     string        `json:"mac"`
	UUID    string        `json:"uuid"`
	Serial  string        `json:"serial"`
	Address string        `json:"address,omitempty"`
	End     End           `json:"end"`
	Text    string        `json:"text"` // of the end
	Hint    string        `json:"hint,omitempty"`
	Cmdline string        `json:"cmdline,omitempty"`
	Says    []string      `json:"says,omitempty"` // what scripts put on the screen
	Steps   []Step        `json:"steps"`
	Took    time.Duration `json:"-"`
}

// MarshalJSON adds the time in milliseconds.
func (t Transcript) MarshalJSON() ([]byte, error) {
	type plain Transcript
	return json.Marshal(struct {
		plain
		Took float64 `json:"ms"`
	}{plain(t), float64(t.Took.Microseconds()) / 1000})
}

// stop is an error that ends a machine's boot, of a script or of firmware.
type stop = script.Stop

// ended says how a boot ended, and what a person should do.
func ended(e End, text, hint string) *stop { return &stop{End: e, Text: text, Hint: hint} }

// fault is a step that failed, with what to do about it.
func fault(hint, format string, args ...any) *stop { return script.Fault(hint, format, args...) }

func shown(t string) string { return script.Shown(t) }

func short(target string) string { return script.Short(target) }
