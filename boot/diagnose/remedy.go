// remedy.go: what to do about a finding, in words. Where one order does it, the
// remedy has that order too, so that a page can offer it as a button.

package diagnose

import (
	"encoding/json"
	"fmt"

	"github.com/musterboot/muster/boot"
)

// Remedy is what to do.
type Remedy struct {
	Text  string
	Order boot.Order // nil where it takes more than one order, or a look at the machine
}

// orders are the orders that a remedy may have, by their names in JSON.
var orders = map[string]func() boot.Order{
	"approve":  func() boot.Order { return new(boot.Approve) },
	"install":  func() boot.Order { return new(boot.Install) },
	"update":   func() boot.Order { return new(boot.Update) },
	"set-host": func() boot.Order { return new(boot.SetHost) },
}

func kindOf(o boot.Order) string {
	switch o.(type) {
	case boot.Approve:
		return "approve"
	case boot.Install:
		return "install"
	case boot.Update:
		return "update"
	case boot.SetHost:
		return "set-host"
	}
	return ""
}

type remedyJSON struct {
	Text  string          `json:"text"`
	Order string          `json:"order,omitempty"` // approve, install, update, set-host
	Args  json.RawMessage `json:"args,omitempty"`  // of the order
}

// MarshalJSON names the order and what it takes.
func (r Remedy) MarshalJSON() ([]byte, error) {
	j := remedyJSON{Text: r.Text}
	if r.Order != nil {
		if j.Order = kindOf(r.Order); j.Order == "" {
			return nil, fmt.Errorf("order %T is no remedy's", r.Order)
		}
		var err error
		if j.Args, err = json.Marshal(r.Order); err != nil {
			return nil, err
		}
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads it back; an order of a newer version is left out.
func (r *Remedy) UnmarshalJSON(b []byte) error {
	var j remedyJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*r = Remedy{Text: j.Text}
	fresh, ok := orders[j.Order]
	if !ok {
		return nil
	}
	o := fresh()
	if err := json.Unmarshal(j.Args, o); err != nil {
		return fmt.Errorf("order %s of a remedy: %w", j.Order, err)
	}
	switch x := o.(type) { // orders are values
	case *boot.Approve:
		r.Order = *x
	case *boot.Install:
		r.Order = *x
	case *boot.Update:
		r.Order = *x
	case *boot.SetHost:
		r.Order = *x
	}
	return nil
}
