// bench.go: a configuration from flags, without a file, that serves one interface.

package config

import (
	"time"

	"github.com/musterboot/muster/boot"
)

// Bench is what the flags of a bench say.
type Bench struct {
	Interface string
	Range     string // addresses to give; "" means proxy mode
	Lease     time.Duration
}

// Config is the bench's configuration.
func (b Bench) Config() (*Config, error) {
	r := fileNetwork{Interface: b.Interface, Mode: string(boot.Proxy), Range: b.Range, Lease: b.Lease.String()}
	if b.Range != "" {
		r.Mode = string(boot.Full)
	}
	n, err := r.check(func(key, format string, args ...any) error { return Mistakef("--"+key+": "+format, args...) }, nil)
	if err != nil {
		return nil, err
	}
	// On a bench every machine is unknown, so they may use the whole range.
	n.UnknownShare = 100
	c := Default()
	c.Networks = []boot.Network{n}
	if n.Mode == boot.Full {
		c.RA, _ = alone(nil, n.Interface, nil)
	}
	c.settle()
	return c, nil
}
