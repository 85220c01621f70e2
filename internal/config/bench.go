// bench.go: a configuration without a file: one interface, served now.

package config

import (
	"time"

	"github.com/musterboot/muster/boot"
)

// Bench is what the flags of a bench say.
type Bench struct {
	Interface string
	Range     string // of addresses to give; "" is a proxy
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
	// On a bench everything is unknown, and the range was written for it.
	n.UnknownShare = 100
	c := Default()
	c.Networks = []boot.Network{n}
	c.settle()
	return c, nil
}
