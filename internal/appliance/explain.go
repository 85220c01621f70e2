// explain.go: a machine, stored or imagined, through the same function as live
// serving.

package appliance

import (
	"context"
	"io"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// explain walks a machine through its boot without writing anything. Each step sees
// what the steps before it would have written.
func (d *daemon) explain(ctx context.Context, q client.ExplainRequest) (client.Explanation, error) {
	w := walk{policy: d.engine.Policy(), now: d.now(), q: q}
	if err := d.engine.View(ctx, w.describe); err != nil {
		return client.Explanation{}, err
	}
	steps := []walked{}
	err := d.engine.Rehearse(ctx, func(decide func(boot.Sighting) (boot.Decision, error)) error {
		again := w // the store may run this twice
		again.decide = decide
		err := again.boot()
		steps = again.steps
		return err
	})
	out := client.Explanation{Network: w.net.Name}
	if !q.Relay.IsValid() {
		ns := client.NetworkStatus{Name: w.net.Name, Interface: w.net.Interface}
		d.mu.Lock()
		d.describeRA(&ns)
		d.mu.Unlock()
		if out.RA = ns.RA; out.RA != nil && out.RA.Says == "off" {
			out.RA = nil
		}
	}
	for _, s := range steps {
		out.Steps = append(out.Steps, d.shown(ctx, s))
	}
	return out, err
}

// shown is a step as the API shows it, with the bytes that it refers to.
func (d *daemon) shown(ctx context.Context, w walked) client.ExplainStep {
	s := w.ExplainStep
	var ref boot.Ref
	switch x := w.dec.Reply.(type) {
	case boot.Script:
		ref = x.Ref
	case boot.File:
		ref = x.Ref
	default:
		return s
	}
	c := d.content()
	c.Seal = nil // whoever asks for an explanation sees no secret
	obj, err := c.Open(ctx, ref)
	if err != nil {
		s.Script = err.Error()
		return s
	}
	defer obj.Body.Close()
	if s.Size = obj.Size; s.Reply == "script" {
		b, _ := io.ReadAll(obj.Body)
		s.Script = string(b)
	}
	return s
}

// rendered renders all files of a version for a machine, with stars for secrets.
func (d *daemon) rendered(t *boot.Template, dialect boot.Dialect, m boot.Machine) (map[string][]byte, error) {
	c := d.content()
	c.Seal = nil
	open, err := c.Unsealed(m)
	if err != nil {
		return nil, err
	}
	return c.Set.Rendered(t, dialect, open)
}
