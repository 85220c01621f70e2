// hook.go: [[webhook]], [[hook]] and [events]: who is told of events, and for how long
// events are kept.

package config

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/tomlfile"
)

// fileWebhook is a [[webhook]], fileHook a [[hook]].
type fileWebhook struct {
	Name       string   `toml:"name"`
	URL        string   `toml:"url"`
	Format     string   `toml:"format"`
	SecretFile string   `toml:"secret_file"`
	CAFile     string   `toml:"ca_file"`
	Kinds      []string `toml:"kinds"`
	Timeout    string   `toml:"timeout"`
	GiveUp     string   `toml:"give_up"`
}

type fileHook struct {
	Name    string   `toml:"name"`
	Command []string `toml:"command"`
	Kinds   []string `toml:"kinds"`
	Timeout string   `toml:"timeout"`
	GiveUp  string   `toml:"give_up"`
}

type fileEvents struct {
	Keep string `toml:"keep"`
	Max  *int   `toml:"max"`
}

// Hook is one receiver of events.
type Hook struct {
	Name    string
	URL     *url.URL // of a webhook; nil is a command
	Traces  bool     // of a webhook: it gets the traces of boots (OTLP), not events
	Secret  string   // file; of traces it may be ""
	CA      string   // file; "" is the system's
	Command []string // of a hook
	Kinds   boot.Kinds
	Timeout time.Duration
	GiveUp  time.Duration

	table string // its table in the file
	place int
}

// Retention says how long events are kept.
type Retention struct {
	Keep time.Duration // 0: whatever their age
	Max  int
}

const (
	defaultMaxEvents   = 200_000
	defaultGiveUp      = 24 * time.Hour
	defaultWebhookTime = 10 * time.Second
	defaultHookTime    = 30 * time.Second
	maxHooks           = 64
)

// A name is used in a counter's key, a metric and a URL.
var hookName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// hooks turns both tables into their typed form.
func (raw *file) hooks(f *tomlfile.File) ([]Hook, error) {
	var out []Hook
	add := func(h Hook, bad complain, kinds []string, timeout, giveUp string, longest time.Duration) (err error) {
		if !hookName.MatchString(h.Name) {
			return bad("name", "a %s needs a name of up to 63 letters, digits, \".\", \"_\" and \"-\", not %q", h.table, h.Name)
		}
		if slices.ContainsFunc(out, func(o Hook) bool { return o.Name == h.Name }) {
			return bad("name", "name %q is used twice: webhooks and hooks share their names", h.Name)
		}
		h.Kinds = kinds
		if err := h.Kinds.Check(); err != nil {
			return bad("kinds", "kinds: %v", err)
		}
		if timeout != "" {
			if h.Timeout, err = time.ParseDuration(timeout); err != nil || h.Timeout < time.Second || h.Timeout > longest {
				return bad("timeout", "timeout %q: want a duration from \"1s\" to %q", timeout, longest)
			}
		}
		h.GiveUp = defaultGiveUp
		if giveUp != "" {
			if h.GiveUp, err = ParseAge(giveUp); err != nil || h.GiveUp < time.Minute {
				return bad("give_up", "give_up %q: want how old an event may become before it is not tried again, like \"24h\" or \"7d\"", giveUp)
			}
		}
		if out = append(out, h); len(out) > maxHooks {
			return bad("name", "at most %d webhooks and hooks", maxHooks)
		}
		return nil
	}
	for i, r := range raw.Webhooks {
		bad := func(key, format string, args ...any) error { return f.ErrorIn("webhook", i, key, format, args...) }
		h := Hook{Name: r.Name, Secret: r.SecretFile, CA: r.CAFile, Timeout: defaultWebhookTime, table: "webhook", place: i}
		var err error
		if h.URL, err = webhookURL(r.URL); err != nil {
			return nil, bad("url", "url: %v", err)
		}
		switch r.Format {
		case "", "cloudevents":
		case "otlp":
			h.Traces = true
		default:
			return nil, bad("format", "format %q: want \"cloudevents\", one message an event, or \"otlp\", one trace a boot", r.Format)
		}
		switch {
		case h.Traces && len(r.Kinds) > 0:
			return nil, bad("kinds", "kinds choose events, and a receiver of format \"otlp\" gets traces: leave kinds out")
		case h.Traces && r.SecretFile != "" && h.URL.Scheme == "http":
			return nil, bad("secret_file", "secret_file holds the Authorization header of format \"otlp\", which only https keeps secret, and url is http")
		case r.SecretFile == "" && !h.Traces:
			return nil, bad("name", "webhook %q needs a secret_file, the key that signs what it sends; %s", r.Name, MakeKey("/etc/muster/"+r.Name+".key"))
		case r.SecretFile != "" && !filepath.IsAbs(r.SecretFile):
			return nil, bad("secret_file", "secret_file %q: want a path that begins with /", r.SecretFile)
		case r.CAFile != "" && !filepath.IsAbs(r.CAFile):
			return nil, bad("ca_file", "ca_file %q: want a path that begins with /", r.CAFile)
		case r.CAFile != "" && h.URL.Scheme == "http":
			return nil, bad("ca_file", "ca_file is for https, and url is http")
		}
		if err := add(h, bad, r.Kinds, r.Timeout, r.GiveUp, time.Minute); err != nil {
			return nil, err
		}
	}
	for i, r := range raw.Hooks {
		bad := func(key, format string, args ...any) error { return f.ErrorIn("hook", i, key, format, args...) }
		if len(r.Command) == 0 || !filepath.IsAbs(r.Command[0]) || strings.Contains(strings.Join(r.Command, ""), "\x00") {
			return nil, bad("command", "hook %q needs a command, a list that begins with the path of a program: command = [\"/usr/local/bin/on-event\"]; no shell reads it", r.Name)
		}
		h := Hook{Name: r.Name, Command: r.Command, Timeout: defaultHookTime, table: "hook", place: i}
		if err := add(h, bad, r.Kinds, r.Timeout, r.GiveUp, 10*time.Minute); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func webhookURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return nil, errors.New("a webhook needs one, like \"https://cmdb.example/muster\"")
	case err != nil:
		return nil, errors.New("it cannot be read as a URL") // the parser's error would show the URL, which may be secret
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("want one that begins with https:// or http://")
	case u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("it names no host")
	case u.User != nil:
		return nil, errors.New("no user and password in it: the signature says who sends, see secret_file")
	case u.Fragment != "":
		return nil, errors.New("no fragment (#) in it: it is never sent")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("port %q: want 1 to 65535", p)
		}
	}
	return u, nil
}

// MakeKey is the command that makes the key of a secret_file, for a person.
func MakeKey(file string) string {
	return fmt.Sprintf("make one: (umask 027; openssl rand -base64 32 > %s; chgrp muster %s)", file, file)
}

// ParseAge is time.ParseDuration with days.
func ParseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}

func (r fileEvents) check(f *tomlfile.File) (Retention, error) {
	out := Retention{Max: defaultMaxEvents}
	if r.Keep != "" {
		d, err := ParseAge(r.Keep)
		if err != nil || d != 0 && d < time.Hour {
			return out, f.Errorf("events.keep", 0, "keep %q: want how old events become, like \"400d\", or \"0s\" for any age", r.Keep)
		}
		out.Keep = d
	}
	if r.Max != nil {
		if *r.Max < 1000 || *r.Max > boot.MaxEvents {
			return out, f.Errorf("events.max", 0, "max %d: want how many events are kept, 1000 to %d", *r.Max, boot.MaxEvents)
		}
		out.Max = *r.Max
	}
	return out, nil
}
