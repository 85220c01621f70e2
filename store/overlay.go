// overlay.go: the changes of a group's Updates, before they are committed.

package store

import "bytes"

// overlay holds changes in the order in which they were made, those of one Update
// together, and finds the newest of each key. Writing a lease changes two or three
// keys, so a short list is searched one by one.
type overlay struct {
	under source
	list  []Change
	hides []int          // by position in list: the position of the change that this one hides, or nowhere
	at    map[string]int // table and key -> newest position in list, or nowhere; empty while the list is short
	from  int            // position where the Update under way begins
	ends  []int          // positions where the kept Updates end
}

const fewChanges = 8

func (o *overlay) find(t Table, key []byte) int {
	if len(o.at) > 0 {
		if i, ok := o.at[string(overlayKey(t, key))]; ok {
			return i
		}
		return nowhere
	}
	for i := len(o.list) - 1; i >= 0; i-- {
		if c := &o.list[i]; c.Table == t && bytes.Equal(c.Key, key) {
			return i
		}
	}
	return nowhere
}

func overlayKey(t Table, key []byte) []byte {
	b := make([]byte, 0, 64)
	b = append(b, t...)
	b = append(b, 0)
	return append(b, key...)
}

// get returns the newest value of a key, nil if there is none.
func (o *overlay) get(t Table, key []byte) []byte {
	if i := o.find(t, key); i >= 0 {
		return o.list[i].Value
	}
	return o.under.get(t, key)
}

func (o *overlay) put(c Change) {
	i := o.find(c.Table, c.Key)
	if i >= o.from {
		o.list[i].Value = c.Value
		return
	}
	o.list, o.hides = append(o.list, c), append(o.hides, i)
	switch {
	case len(o.at) > 0:
		o.at[string(overlayKey(c.Table, c.Key))] = len(o.list) - 1
	case len(o.list) > fewChanges:
		if o.at == nil {
			o.at = map[string]int{}
		}
		for i, c := range o.list {
			o.at[string(overlayKey(c.Table, c.Key))] = i
		}
	}
}

// begin starts an Update. Changes of the one before are undone if they were not kept.
func (o *overlay) begin() {
	for i := len(o.list) - 1; i >= o.from && len(o.at) > 0; i-- {
		o.at[string(overlayKey(o.list[i].Table, o.list[i].Key))] = o.hides[i]
	}
	clear(o.list[o.from:])
	o.list, o.hides = o.list[:o.from], o.hides[:o.from]
}

// keep ends an Update that succeeded, and reports whether it changed anything.
func (o *overlay) keep() bool {
	wrote := len(o.list) > o.from
	o.from = len(o.list)
	o.ends = append(o.ends, o.from)
	return wrote
}

// kept returns the changes of each Update that succeeded, in order.
func (o *overlay) kept(txs [][]Change) [][]Change {
	from := 0
	for _, end := range o.ends {
		txs = append(txs, o.list[from:end:end])
		from = end
	}
	return txs
}

// manyChanges is a size above which the memory is not kept for the next group.
const manyChanges = 4096

func (o *overlay) reset() {
	if len(o.list) > manyChanges {
		*o = overlay{under: o.under}
		return
	}
	clear(o.list)
	o.list, o.hides, o.ends, o.from = o.list[:0], o.hides[:0], o.ends[:0], 0
	clear(o.at)
}
