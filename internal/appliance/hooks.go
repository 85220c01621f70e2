// hooks.go: [[webhook]], [[hook]] and [events] of the configuration: who is told of
// events, and for how long events are kept.

package appliance

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/hook"
	"github.com/musterboot/muster/internal/trace"
)

// targets reads the files that the hooks name. A mistake in one is an error at the
// line of its hook in the configuration; then no hook is started. Traces are told from
// what asked returns.
func targets(c *config.Config, o Options, asked func(boot.Event) []boot.Request) ([]*hook.Target, error) {
	var out []*hook.Target
	for _, h := range c.Hooks {
		t := &hook.Target{Name: h.Name, Type: hook.Webhook, Kinds: h.Kinds, GiveUp: h.GiveUp}
		if h.URL == nil {
			t.Type = hook.Command
			if st, err := os.Stat(h.Command[0]); err != nil {
				return nil, c.HookError(h, "command", "command: %v", err)
			} else if !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0 {
				return nil, c.HookError(h, "command", "command: %s is no program: chmod +x it", h.Command[0])
			}
			t.Where = h.Command[0] // the arguments may be secret
			t.Sender = hook.NewCommand(hook.CommandConfig{Command: h.Command, Timeout: h.Timeout})
			out = append(out, t)
			continue
		}
		secret, err := readSecret(h.Secret)
		if err != nil {
			return nil, c.HookError(h, "secret_file", "%v", err)
		}
		header := strings.TrimSpace(string(secret))
		var keys hook.Keys
		if !h.Traces {
			if keys, err = hook.ParseKeys(secret); err != nil {
				return nil, c.HookError(h, "secret_file", "secret_file %s: %v; %s", h.Secret, err, config.MakeKey(h.Secret))
			}
		} else if strings.ContainsFunc(header, unicode.IsControl) {
			return nil, c.HookError(h, "secret_file", "secret_file %s: want one line, the value of the Authorization header, like \"Bearer …\"", h.Secret)
		}
		var cas *x509.CertPool
		if h.CA != "" {
			b, err := os.ReadFile(h.CA)
			if err != nil {
				return nil, c.HookError(h, "ca_file", "ca_file: %v", err)
			}
			if cas = x509.NewCertPool(); !cas.AppendCertsFromPEM(b) {
				return nil, c.HookError(h, "ca_file", "ca_file %s: no certificate is in it; want PEM, -----BEGIN CERTIFICATE-----", h.CA)
			}
		}
		t.Where = hook.Where(h.URL)
		post := hook.NewPoster(cas, h.Timeout, o.Now)
		if h.Traces {
			t.Kinds = trace.Kinds
			t.Sender = trace.NewSender(trace.Config{URL: h.URL, Header: header, Version: o.Version, Asked: asked}, post)
		} else {
			t.Sender = hook.NewWebhook(hook.WebhookConfig{URL: h.URL, Keys: keys}, post)
		}
		out = append(out, t)
	}
	return out, nil
}

// asked is what the machine of an event asked for, as far as it is kept.
func (d *daemon) asked(e boot.Event) (out []boot.Request) {
	macs := e.MACs
	if !slices.Contains(macs, e.MAC) {
		macs = append(slices.Clone(macs), e.MAC)
	}
	for _, m := range macs {
		out = append(out, d.engine.Log.Machine(m.String())...)
	}
	return out
}

// readSecret reads a small file. It refuses one that other users may read. Without a name
// there is none.
func readSecret(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("secret_file %s does not exist; %s", file, config.MakeKey(file))
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
	return b, nil
}
