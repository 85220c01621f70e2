// small.go: kinds that are only a name and a value.

package store

import (
	"bytes"
	"errors"

	"github.com/musterboot/muster/boot"
)

var counters = declare(kind[boot.Counter, uint64]{
	what: "counter", table: "counter",
	key:   keys[boot.Counter]{to: func(c boot.Counter) []byte { return []byte(c.Key()) }},
	codec: asNumber[boot.Counter](),
})

func (r records) Counter(c boot.Counter) (uint64, error) {
	n, _, err := counters.get(r, c)
	return n, err
}

func (w *writeTx) SetCounter(c boot.Counter, n uint64) error {
	if c == (boot.Counter{}) {
		return errors.New("a counter needs a name: boot/counter.go makes them")
	}
	return counters.put(w, c, n)
}

// encBytes is the first byte of a secret.
const encBytes = 'b'

var secrets = declare(kind[string, []byte]{
	what: "secret", table: "secret",
	key: named(),
	codec: codec[string, []byte]{
		encode: func(b []byte) ([]byte, error) { return append([]byte{encBytes}, b...), nil },
		decode: func(_ string, b []byte) ([]byte, error) {
			if len(b) == 0 || b[0] != encBytes {
				return nil, errors.New("record has an unknown encoding")
			}
			return bytes.Clone(b[1:]), nil
		},
	},
})

func (r records) Secret(name string) ([]byte, error) {
	b, _, err := secrets.get(r, name)
	return b, err
}

func (w *writeTx) SetSecret(name string, value []byte) error {
	if value == nil {
		return secrets.delete(w, name)
	}
	return secrets.put(w, name, value)
}

// meta is what the store keeps about itself.
var meta = declare(kind[string, uint64]{
	what: "meta", table: "meta",
	key:   named(),
	codec: asNumber[string](),
})
