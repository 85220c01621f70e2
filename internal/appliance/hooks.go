// hooks.go: [[webhook]], [[hook]] and [events] of the configuration: who is told of
// events, and for how long events are kept.

package appliance

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/hook"
)

// targets reads the files that the hooks name. A mistake in one is an error at the
// line of its hook in the configuration; then no hook is started.
func targets(c *config.Config, now func() time.Time) ([]*hook.Target, error) {
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
		keys, err := readKeys(h.Secret)
		if err != nil {
			return nil, c.HookError(h, "secret_file", "%v", err)
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
		t.Where, t.Sender = hook.Where(h.URL), hook.NewWebhook(hook.WebhookConfig{URL: h.URL, Keys: keys}, hook.NewPoster(cas, h.Timeout, now))
		out = append(out, t)
	}
	return out, nil
}

// readKeys reads a file with keys. It refuses a file that other users may read.
func readKeys(file string) (hook.Keys, error) {
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
	keys, err := hook.ParseKeys(b)
	if err != nil {
		return nil, fmt.Errorf("secret_file %s: %v; %s", file, err, config.MakeKey(file))
	}
	return keys, nil
}
