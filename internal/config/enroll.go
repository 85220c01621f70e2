// enroll.go: the [enroll] table: how unknown machines are handled.

package config

import (
	"slices"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/tomlfile"
)

type fileEnroll struct {
	Policy string           `toml:"policy"`
	Hold   string           `toml:"hold"`
	Loop   *int             `toml:"loop"`
	Limit  *int             `toml:"limit"`
	Shared []string         `toml:"shared"`
	Rules  []fileEnrollRule `toml:"rule"`
}

type fileEnrollRule struct {
	Name     string    `toml:"name"`
	Action   string    `toml:"action"`
	From     time.Time `toml:"from"`
	Until    time.Time `toml:"until"`
	Max      int       `toml:"max"`
	Template string    `toml:"template"`
	Install  bool      `toml:"install"`
	Tags     []string  `toml:"tags"`

	Arch        []boot.Platform `toml:"arch"`
	MAC         []string        `toml:"mac"`
	UUID        []boot.UUID     `toml:"uuid"`
	Serial      []string        `toml:"serial"`
	VendorClass []string        `toml:"vendor_class"`
	SwitchPort  []string        `toml:"switch_port"`
	Network     []string        `toml:"network"`
}

// check turns [enroll] into its typed form. networks are those of the file.
func (r *fileEnroll) check(f *tomlfile.File, e boot.Enroll, networks []boot.Network) (boot.Enroll, error) {
	if p := boot.EnrollPolicy(r.Policy); p != "" {
		if !slices.Contains([]boot.EnrollPolicy{boot.EnrollAuto, boot.EnrollApprove, boot.EnrollIgnore}, p) {
			return e, f.Errorf("enroll.policy", 0, "policy %q: want auto (boot at once), approve (hold until a person approves) or ignore (known machines only)", p)
		}
		e.Policy = p
	}
	if n := r.Loop; n != nil {
		if *n < 0 || *n == 1 || *n > 1000 {
			return e, f.Errorf("enroll.loop", 0, "loop %d: want how often a machine may boot in half an hour without a report, 2 to 1000, or 0 for any number", *n)
		}
		e.Loop = *n
	}
	if r.Hold != "" {
		d, err := time.ParseDuration(r.Hold)
		if err != nil || d < 0 {
			return e, f.Errorf("enroll.hold", 0, "hold %q: want a duration like \"15m\", or \"0s\" to hold for ever", r.Hold)
		}
		e.Hold = d
	}
	if n := r.Limit; n != nil {
		if *n < 1 {
			return e, f.Errorf("enroll.limit", 0, "limit %d: want at least 1", *n)
		}
		e.Limit = *n
	}
	for _, p := range r.Shared {
		if err := boot.ValidPattern(p); err != nil {
			return e, f.Errorf("enroll.shared", 0, "shared: %v", err)
		}
	}
	e.Shared = r.Shared
	for i := range r.Rules {
		x, err := r.Rules[i].check(func(key, format string, args ...any) error { return f.ErrorIn("enroll.rule", i, key, format, args...) }, networks)
		if err != nil {
			return e, err
		}
		if slices.ContainsFunc(e.Rules, func(o boot.EnrollRule) bool { return o.Name == x.Name }) {
			return e, f.ErrorIn("enroll.rule", i, "name", "rule name %q is used twice", x.Name)
		}
		e.Rules = append(e.Rules, x)
	}
	if e.Policy == boot.EnrollIgnore && len(e.Rules) > 0 {
		return e, f.ErrorIn("enroll.rule", 0, "name", "a rule decides about machines that enrol, and policy = \"ignore\" enrols none: want policy = \"approve\"")
	}
	return e, nil
}

func (r *fileEnrollRule) check(bad func(key, format string, args ...any) error, networks []boot.Network) (boot.EnrollRule, error) {
	x := boot.EnrollRule{Name: r.Name, From: r.From, Until: r.Until, Max: r.Max, Template: r.Template, Install: r.Install, Tags: r.Tags, Deny: r.Action == "deny",
		Match: boot.Selector{Arch: r.Arch, MAC: r.MAC, UUID: r.UUID, Serial: r.Serial, VendorClass: r.VendorClass, SwitchPort: r.SwitchPort, Network: r.Network}}
	if r.Name == "" || len(r.Name) > 63 {
		return x, bad("name", "a rule needs a name of at most 63 bytes: events name it, and max counts under it")
	}
	if r.Action != "approve" && r.Action != "deny" {
		return x, bad("action", "rule %s: action %q: want approve or deny", r.Name, r.Action)
	}
	if key, err := x.Match.Validate(); err != nil {
		return x, bad(key, "rule %s: %s: %v", r.Name, key, err)
	}
	for _, n := range r.Network {
		if !slices.ContainsFunc(networks, func(o boot.Network) bool { return o.Name == n }) {
			return x, bad("network", "rule %s: no [[network]] is called %q", r.Name, n)
		}
	}
	if err := boot.ValidTags(r.Tags); err != nil {
		return x, bad("tags", "rule %s: %v", r.Name, err)
	}
	switch {
	case r.Max < 0:
		return x, bad("max", "rule %s: max %d: want how many machines it may approve in all, or leave it out", r.Name, r.Max)
	case !r.Until.IsZero() && !r.From.IsZero() && !r.From.Before(r.Until):
		return x, bad("until", "rule %s: it ends (%s) before it begins (%s)", r.Name, r.Until.Format(time.RFC3339), r.From.Format(time.RFC3339))
	case x.Deny && (r.Max != 0 || r.Template != "" || r.Install || len(r.Tags) > 0):
		return x, bad("action", "rule %s refuses machines: max, template, install and tags are for those that it approves", r.Name)
	case !x.Deny && x.Match.Empty() && r.Max == 0 && r.Until.IsZero():
		return x, bad("name", "rule %s approves every machine for ever: give it a condition, max or until, or write policy = \"auto\" if that is meant", r.Name)
	case x.Deny && x.Match.Empty():
		return x, bad("name", "rule %s refuses every machine: give it a condition, or write policy = \"ignore\" if that is meant", r.Name)
	}
	return x, nil
}
