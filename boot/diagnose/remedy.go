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

// orders are the orders that a remedy may have, by their names in JSON, with how
// each is read.
var orders = map[string]func([]byte) (boot.Order, error){
	"approve":  read[boot.Approve],
	"install":  read[boot.Install],
	"update":   read[boot.Update],
	"set-host": read[boot.SetHost],
}

func read[O boot.Order](b []byte) (boot.Order, error) {
	var o O
	err := json.Unmarshal(b, &o)
	return o, err
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
	read, ok := orders[j.Order]
	if !ok {
		return nil
	}
	var err error
	if r.Order, err = read(j.Args); err != nil {
		return fmt.Errorf("order %s of a remedy: %w", j.Order, err)
	}
	return nil
}
