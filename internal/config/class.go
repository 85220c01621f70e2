// class.go: a [[class]]: a kind of client, and how it is answered.

package config

import (
	"slices"
	"time"

	"github.com/musterboot/muster/boot"
)

// fileClass is a [[class]]: what a kind of client says, and how it is answered.
type fileClass struct {
	Name        string         `toml:"name"`
	VendorClass []string       `toml:"vendor_class"`
	UserClass   []string       `toml:"user_class"`
	Arch        []int          `toml:"arch"`
	OUI         []string       `toml:"oui"`
	Enterprise  []uint32       `toml:"enterprise"`
	As          string         `toml:"as"`
	EchoVendor  bool           `toml:"echo_vendor_class"`
	Delay       string         `toml:"delay"`
	Options     map[string]any `toml:"options"`
	HTTPS       bool           `toml:"https"`
	Platform    string         `toml:"platform"`
}

// check turns a [[class]] into its typed form.
func (r fileClass) check(bad complain) (boot.ClientClass, error) {
	c := boot.ClientClass{Name: r.Name, As: boot.Class(r.As), Echo: r.EchoVendor,
		HTTPS: r.HTTPS, Match: boot.ClassMatch{VendorClass: r.VendorClass, UserClass: r.UserClass, OUI: r.OUI, Enterprise: r.Enterprise}}
	for _, a := range r.Arch {
		if a < 0 || a > 0xfffe {
			return c, bad("arch", "arch %d: want a number of option 93, like 7 or 11", a)
		}
		c.Match.Arch = append(c.Match.Arch, boot.Arch(a))
	}
	if r.Delay != "" {
		d, err := time.ParseDuration(r.Delay)
		if err != nil || d < 0 || d > 10*time.Second {
			return c, bad("delay", "delay %q: want a duration up to \"10s\"", r.Delay)
		}
		c.Delay = d
	}
	if c.Platform = boot.Platform(r.Platform); r.Platform != "" && !boot.KnownPlatform(c.Platform) {
		return c, bad("platform", "platform %q: want one like x64-uefi, arm64-uefi or bios (docs/templates.md)", r.Platform)
	}
	var err error
	if c.Options, err = options(r.Options, "options", bad); err != nil {
		return c, err
	}
	if err := c.Validate(); err != nil {
		return c, bad("name", "%v", err)
	}
	return c, nil
}

// classes reads every [[class]].
func (raw *file) classes(c *Config) error {
	for i, r := range raw.Classes {
		bad := func(key, format string, args ...any) error { return c.file.ErrorIn("class", i, key, format, args...) }
		x, err := r.check(bad)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(c.Classes, func(o boot.ClientClass) bool { return o.Name == x.Name }) {
			return bad("name", "class name %q is used twice", x.Name)
		}
		if x.HTTPS && c.HTTPS.Listen == "" {
			return bad("https", "https = true needs the listener: write a table [https]")
		}
		c.Classes = append(c.Classes, x)
	}
	return nil
}
