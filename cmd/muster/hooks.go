// hooks.go: [[webhook]], [[hook]] and [events] of the configuration: whom to tell
// what happened, and for how long it is kept.

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/hook"
	"github.com/musterboot/muster/internal/tomlfile"
)

// fileWebhook is a [[webhook]], fileHook a [[hook]].
type fileWebhook struct {
	Name       string   `toml:"name"`
	URL        string   `toml:"url"`
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
	Type    hook.Type
	Name    string
	URL     *url.URL // of a webhook
	Secret  string   // file
	CA      string   // file; "" is the system's
	Command []string // of a hook
	Kinds   boot.Kinds
	Timeout time.Duration
	GiveUp  time.Duration
	bad     complain // an error where it stands in the file
}

// Retention says how long events are kept.
type Retention struct {
	Keep time.Duration // 0: no matter how old
	Max  int
}

const (
	defaultMaxEvents   = 200_000
	defaultGiveUp      = 24 * time.Hour
	defaultWebhookTime = 10 * time.Second
	defaultHookTime    = 30 * time.Second
	maxHooks           = 64
)

// A name stands in a counter's key, a metric and a URL.
var hookName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// hooks turns both tables into their typed form.
func (raw *fileConfig) hooks(f *tomlfile.File) ([]Hook, error) {
	var out []Hook
	add := func(h Hook, kinds []string, timeout, giveUp string, longest time.Duration) (err error) {
		if !hookName.MatchString(h.Name) {
			return h.bad("name", "a %s needs a name of up to 63 letters, digits, \".\", \"_\" and \"-\", not %q", h.Type, h.Name)
		}
		if slices.ContainsFunc(out, func(o Hook) bool { return o.Name == h.Name }) {
			return h.bad("name", "name %q is used twice: webhooks and hooks share their names", h.Name)
		}
		h.Kinds = kinds
		if err := h.Kinds.Check(); err != nil {
			return h.bad("kinds", "kinds: %v", err)
		}
		if timeout != "" {
			if h.Timeout, err = time.ParseDuration(timeout); err != nil || h.Timeout < time.Second || h.Timeout > longest {
				return h.bad("timeout", "timeout %q: want a duration from \"1s\" to %q", timeout, longest)
			}
		}
		h.GiveUp = defaultGiveUp
		if giveUp != "" {
			if h.GiveUp, err = parseAge(giveUp); err != nil || h.GiveUp < time.Minute {
				return h.bad("give_up", "give_up %q: want how old an event may become before it is not tried again, like \"24h\" or \"7d\"", giveUp)
			}
		}
		if out = append(out, h); len(out) > maxHooks {
			return h.bad("name", "at most %d webhooks and hooks", maxHooks)
		}
		return nil
	}
	for i, r := range raw.Webhooks {
		bad := func(key, format string, args ...any) error { return f.ErrorIn("webhook", i, key, format, args...) }
		h := Hook{Type: hook.Webhook, Name: r.Name, Secret: r.SecretFile, CA: r.CAFile, Timeout: defaultWebhookTime, bad: bad}
		var err error
		if h.URL, err = webhookURL(r.URL); err != nil {
			return nil, bad("url", "url: %v", err)
		}
		switch {
		case r.SecretFile == "":
			return nil, bad("name", "webhook %q needs a secret_file, the key that signs what it sends; %s", r.Name, makeKey("/etc/muster/"+r.Name+".key"))
		case !filepath.IsAbs(r.SecretFile):
			return nil, bad("secret_file", "secret_file %q: want a path that begins with /", r.SecretFile)
		case r.CAFile != "" && !filepath.IsAbs(r.CAFile):
			return nil, bad("ca_file", "ca_file %q: want a path that begins with /", r.CAFile)
		case r.CAFile != "" && h.URL.Scheme == "http":
			return nil, bad("ca_file", "ca_file is for https, and url is http")
		}
		if err := add(h, r.Kinds, r.Timeout, r.GiveUp, time.Minute); err != nil {
			return nil, err
		}
	}
	for i, r := range raw.Hooks {
		bad := func(key, format string, args ...any) error { return f.ErrorIn("hook", i, key, format, args...) }
		if len(r.Command) == 0 || !filepath.IsAbs(r.Command[0]) || strings.Contains(strings.Join(r.Command, ""), "\x00") {
			return nil, bad("command", "hook %q needs a command, a list that begins with the path of a program: command = [\"/usr/local/bin/on-event\"]; no shell reads it", r.Name)
		}
		h := Hook{Type: hook.Command, Name: r.Name, Command: r.Command, Timeout: defaultHookTime, bad: bad}
		if err := add(h, r.Kinds, r.Timeout, r.GiveUp, 10*time.Minute); err != nil {
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
		return nil, errors.New("it cannot be read as a URL") // the error would show what may be secret
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

func makeKey(file string) string {
	return fmt.Sprintf("make one: (umask 027; openssl rand -base64 32 > %s; chgrp muster %s)", file, file)
}

// parseAge is time.ParseDuration with days.
func parseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}

func (r fileEvents) check(f *tomlfile.File) (Retention, error) {
	out := Retention{Max: defaultMaxEvents}
	if r.Keep != "" {
		d, err := parseAge(r.Keep)
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

// targets reads the files that the hooks name. What is wrong with one is an error
// where the hook stands in the configuration, and none is started.
func (c *Config) targets(now func() time.Time) ([]*hook.Target, error) {
	var out []*hook.Target
	for _, h := range c.Hooks {
		t := &hook.Target{Name: h.Name, Type: h.Type, Kinds: h.Kinds, GiveUp: h.GiveUp}
		if h.Type == hook.Command {
			if st, err := os.Stat(h.Command[0]); err != nil {
				return nil, h.bad("command", "command: %v", err)
			} else if !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0 {
				return nil, h.bad("command", "command: %s is no program: chmod +x it", h.Command[0])
			}
			t.Where = h.Command[0] // what follows may be secret
			t.Sender = hook.NewCommand(hook.CommandConfig{Command: h.Command, Timeout: h.Timeout})
			out = append(out, t)
			continue
		}
		keys, err := readKeys(h.Secret)
		if err != nil {
			return nil, h.bad("secret_file", "%v", err)
		}
		w := hook.WebhookConfig{URL: h.URL, Keys: keys, Timeout: h.Timeout}
		if h.CA != "" {
			b, err := os.ReadFile(h.CA)
			if err != nil {
				return nil, h.bad("ca_file", "ca_file: %v", err)
			}
			if w.CAs = x509.NewCertPool(); !w.CAs.AppendCertsFromPEM(b) {
				return nil, h.bad("ca_file", "ca_file %s: no certificate is in it; want PEM, -----BEGIN CERTIFICATE-----", h.CA)
			}
		}
		t.Where, t.Sender = hook.Where(h.URL), hook.NewWebhook(w, now)
		out = append(out, t)
	}
	return out, nil
}

// readKeys reads a secret that nobody else may read.
func readKeys(file string) (hook.Keys, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("secret_file %s does not exist; %s", file, makeKey(file))
	} else if err != nil {
		return nil, fmt.Errorf("secret_file: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("secret_file: %w", err)
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("secret_file %s is no file", file)
	case st.Mode().Perm()&0o007 != 0:
		return nil, fmt.Errorf("secret_file %s may be used by everybody on this machine: chmod 640 %s", file, file)
	}
	b, err := io.ReadAll(io.LimitReader(f, 4<<10))
	if err != nil {
		return nil, fmt.Errorf("secret_file: %w", err)
	}
	keys, err := hook.ParseKeys(b)
	if err != nil {
		return nil, fmt.Errorf("secret_file %s: %v; %s", file, err, makeKey(file))
	}
	return keys, nil
}

const (
	tidyEventsEvery = time.Minute
	dropAtOnce      = 500 // events in one transaction
	dropPause       = 10 * time.Millisecond
)

// tidyEvents removes the oldest events: what is beyond the number or the age that
// the configuration keeps. It goes in small steps, so that machines need not wait.
func (d *daemon) tidyEvents(ctx context.Context) error {
	tick := time.NewTicker(tidyEventsEvery)
	defer tick.Stop()
	for {
		if n, err := dropOld(ctx, d.store, d.settings().Events, d.app.now()); err != nil && ctx.Err() == nil {
			d.log.Error("old events were not removed", "err", err)
		} else if n > 0 {
			d.log.Debug("old events were removed", "events", n)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func dropOld(ctx context.Context, s boot.Store, r Retention, now time.Time) (dropped uint64, err error) {
	for {
		var es []boot.Event
		var last uint64
		if err := s.View(ctx, func(tx boot.ReadTx) (err error) {
			if last, err = tx.Counter(boot.LastEvent); err == nil {
				es, err = tx.Events(0, dropAtOnce)
			}
			return err
		}); err != nil || len(es) == 0 {
			return dropped, err
		}
		first := es[0].Seq
		var upto uint64
		for _, e := range es {
			if last-e.Seq < uint64(r.Max) && (r.Keep == 0 || now.Sub(e.At) <= r.Keep) {
				break
			}
			upto = e.Seq
		}
		if upto == 0 {
			return dropped, nil
		}
		if err := s.Update(ctx, func(tx boot.Tx) error { _, err := tx.DropEvents(upto, dropAtOnce); return err }); err != nil {
			return dropped, err
		}
		dropped += upto - first + 1
		select {
		case <-ctx.Done():
			return dropped, nil
		case <-time.After(dropPause):
		}
	}
}
