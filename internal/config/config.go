// Package config turns muster.toml into one typed, checked value. It checks all that
// can be checked without looking at the computer. A mistake is an error that has file
// and line and says what was expected. The package opens no socket, starts nothing and
// remembers nothing; internal/appliance serves by the value.
package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/tomlfile"
	"github.com/musterboot/muster/radv"
)

// Path is where the file is looked for.
const Path = "/etc/muster/muster.toml"

// Config is what muster.toml says.
type Config struct {
	Listeners
	HTTPHost    string         // name of ours in http URLs, where a network's name servers know it; "" is the address
	HTTPSHost   string         // the same in https URLs, and in the built-in CA's certificate
	CertNames   []string       // DNS names for the built-in CA's certificate
	AdminNames  []string       // DNS names of the API's port
	FirmwareTLS bool           // HTTPS serves clients without ephemeral key exchange
	Networks    []boot.Network // Server comes from the interface, as does Subnet where it is not given
	Networks6   []boot.Network // the IPv6 side of those that have one
	Enroll      boot.Enroll
	Unbound     bool // boot paths work from any address
	Classes     []boot.ClientClass
	RA          []radv.Config // one for each interface that has an IPv6 subnet
	Hooks       []Hook        // including webhooks
	Events      Retention

	file *tomlfile.File // nil: there is none
	raw  file           // as it is written
}

// Default is the configuration without a file.
func Default() *Config {
	return &Config{
		Listeners: Listeners{HTTP: ":80", TFTP: TFTP{Listen: ":69"}, Syslog: Syslog{Listen: ":514"}, Admin: Admin{Listen: AdminPort}},
		Enroll:    boot.Enroll{Policy: boot.EnrollApprove, Hold: 15 * time.Minute, Limit: 10000, Loop: 10},
		Events:    Retention{Max: defaultMaxEvents},
	}
}

// Equal reports whether two configurations say the same, even if in different lines
// of their files.
func (c *Config) Equal(o *Config) bool {
	x, y := *c, *o
	x.file, y.file, x.raw, y.raw = nil, nil, file{}, file{}
	return reflect.DeepEqual(x, y)
}

// Mistake is an error in a file or in flags, which the person who wrote them can mend.
type Mistake struct{ Err error }

func (m Mistake) Error() string { return m.Err.Error() }
func (m Mistake) Unwrap() error { return m.Err }

// Mistakef makes one.
func Mistakef(format string, args ...any) error { return Mistake{fmt.Errorf(format, args...)} }

// NetworkError is an error at a key of the nth network, found by looking at the
// computer.
func (c *Config) NetworkError(n int, key, format string, args ...any) error {
	if c.file == nil {
		return Mistakef(format, args...)
	}
	return c.file.ErrorIn("network", n, key, format, args...)
}

// HookError is an error at a key of a hook, found by looking at the computer.
func (c *Config) HookError(h Hook, key, format string, args ...any) error {
	if c.file == nil {
		return Mistakef(format, args...)
	}
	return c.file.ErrorIn(h.table, h.place, key, format, args...)
}

// file is muster.toml as written.
type file struct {
	DataDir  string        `toml:"data_dir"`
	Networks []fileNetwork `toml:"network"`
	HTTP     fileHTTP      `toml:"http"`
	HTTPS    *fileHTTPS    `toml:"https"`
	TFTP     fileTFTP      `toml:"tftp"`
	Syslog   fileListen    `toml:"syslog"`
	Admin    fileAdmin     `toml:"admin"`
	Enroll   fileEnroll    `toml:"enroll"`
	Boot     fileBoot      `toml:"boot"`
	Classes  []fileClass   `toml:"class"`
	Webhooks []fileWebhook `toml:"webhook"`
	Hooks    []fileHook    `toml:"hook"`
	Events   fileEvents    `toml:"events"`
}

// fileBoot is what holds of every boot.
type fileBoot struct {
	BindTokens *bool `toml:"bind_tokens"`
}

// Load reads the file at path. If it does not exist and nobody named it, the
// configuration is empty. interfaces are those of this computer, for errors.
func Load(path string, named bool, interfaces []string) (*Config, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && !named {
		return Default(), nil
	}
	if err != nil {
		return nil, Mistakef("read configuration: %w", err)
	}
	return parse(path, data, interfaces)
}

// DataDir is what the file at path says of the data directory, whatever else is in it;
// "" where it says nothing. Commands look for the daemon's socket there.
func DataDir(path string) string {
	var raw struct {
		DataDir string `toml:"data_dir"`
	}
	data, err := os.ReadFile(path)
	if err != nil || len(data) > 1<<20 {
		return ""
	}
	tomlfile.Loose(data, &raw)
	return raw.DataDir
}

// Parse reads a file's text. name is the file, for errors.
func Parse(name string, data []byte) (*Config, error) { return parse(name, data, nil) }

func parse(name string, data []byte, interfaces []string) (*Config, error) {
	var raw file
	f, err := tomlfile.Decode(name, data, &raw)
	if err != nil {
		return nil, err
	}
	c := Default()
	c.file, c.raw = f, raw
	c.Unbound = raw.Boot.BindTokens != nil && !*raw.Boot.BindTokens
	if err := raw.listeners(c); err != nil {
		return nil, err
	}
	if c.Events, err = raw.Events.check(f); err != nil {
		return nil, err
	}
	if c.Hooks, err = raw.hooks(f); err != nil {
		return nil, err
	}
	if err := raw.classes(c); err != nil {
		return nil, err
	}
	for i, n := range raw.Networks {
		if err := n.addTo(c, func(key, format string, args ...any) error { return f.ErrorIn("network", i, key, format, args...) }, interfaces); err != nil {
			return nil, err
		}
	}
	if c.Enroll, err = raw.Enroll.check(f, c.Enroll, c.Networks); err != nil {
		return nil, err
	}
	c.settle()
	return c, nil
}

// settle notes which sockets the networks need.
func (c *Config) settle() {
	c.Active = slices.ContainsFunc(slices.Concat(c.Networks, c.Networks6), func(n boot.Network) bool { return n.Mode != boot.Off })
	c.IPv6 = c.Active && len(c.Networks6) > 0
}

// complain makes an error at a key of the table that is being read.
type complain func(key, format string, args ...any) error
