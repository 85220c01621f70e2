// overlay.go: changes that are not committed yet, of one Update or of a group.

package store

import "bytes"

// overlay holds the newest value of each changed key. A lease is two or three
// keys, so the first few are found by looking at each.
type overlay struct {
	list []Change
	at   map[string]int // table and key -> place in list; made when it is worth it
}

const fewChanges = 8

func (o *overlay) find(t Table, key []byte) int {
	if o.at != nil {
		if i, ok := o.at[string(overlayKey(t, key))]; ok {
			return i
		}
		return -1
	}
	for i := range o.list {
		if c := &o.list[i]; c.Table == t && bytes.Equal(c.Key, key) {
			return i
		}
	}
	return -1
}

func overlayKey(t Table, key []byte) []byte {
	b := make([]byte, 0, 64)
	b = append(b, t...)
	b = append(b, 0)
	return append(b, key...)
}

// get reports a value, and whether the key was changed at all: nil is a
// deletion.
func (o *overlay) get(t Table, key []byte) ([]byte, bool) {
	if i := o.find(t, key); i >= 0 {
		return o.list[i].Value, true
	}
	return nil, false
}

func (o *overlay) put(c Change) {
	if i := o.find(c.Table, c.Key); i >= 0 {
		o.list[i].Value = c.Value
		return
	}
	o.list = append(o.list, c)
	switch {
	case o.at != nil:
		o.at[string(overlayKey(c.Table, c.Key))] = len(o.list) - 1
	case len(o.list) > fewChanges:
		o.at = map[string]int{}
		for i, c := range o.list {
			o.at[string(overlayKey(c.Table, c.Key))] = i
		}
	}
}

func (o *overlay) add(other *overlay) {
	for _, c := range other.list {
		o.put(c)
	}
}

func (o *overlay) reset() {
	o.list = o.list[:0]
	o.at = nil
}
