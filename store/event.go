// event.go: events, numbered as they are written.

package store

import "github.com/musterboot/muster/boot"

var events = declare(kind[uint64, boot.Event]{
	what: "event", table: "event", onDisk: true,
	key: numbered[uint64](),
	codec: codec[uint64, boot.Event]{
		encode: func(e boot.Event) ([]byte, error) { return encodeJSON(e) },
		decode: func(seq uint64, b []byte) (e boot.Event, err error) {
			err = decodeJSON(b, &e)
			e.Seq = seq
			return e, err
		},
	},
})

// audit has the events that decide once more, numbered apart.
var audit = declare(kind[uint64, boot.Event]{
	what: "audit record", table: "audit", onDisk: true,
	key: numbered[uint64](),
	codec: codec[uint64, boot.Event]{
		encode: func(e boot.Event) ([]byte, error) { return encodeJSON(e) },
		decode: func(n uint64, b []byte) (e boot.Event, err error) {
			err = decodeJSON(b, &e)
			e.Audit = n
			return e, err
		},
	},
})

func (r *readTx) Audit(after uint64, n int) ([]boot.Event, error) {
	return audit.list(r.s, nil, audit.key.to(after), n)
}

// appendAudit adds an event to the audit trail.
func (w *writeTx) appendAudit(e boot.Event) error {
	n, err := w.Counter(boot.LastAudit)
	if err != nil {
		return err
	}
	n++
	if err := audit.put(w, n, e); err != nil {
		return err
	}
	if n > boot.MaxAudit {
		if err := audit.delete(w, n-boot.MaxAudit); err != nil {
			return err
		}
	}
	return w.SetCounter(boot.LastAudit, n)
}

func (r *readTx) Events(after uint64, n int) ([]boot.Event, error) {
	return events.list(r.s, nil, events.key.to(after), n)
}

func (w *writeTx) Append(e boot.Event) (seq uint64, err error) {
	n, err := w.Counter(boot.LastEvent)
	if err != nil {
		return seq, err
	}
	n++
	e.Seq, e.At = n, e.At.UTC()
	if err := events.put(w, n, e); err != nil {
		return seq, err
	}
	if err := w.SetCounter(boot.LastEvent, n); err != nil {
		return seq, err
	}
	if e.Decides() {
		if err := w.appendAudit(e); err != nil {
			return seq, err
		}
	}
	if n > boot.MaxEvents {
		if _, err := w.DropEvents(n-boot.MaxEvents, 1); err != nil {
			return seq, err
		}
	}
	w.appended = true
	return n, nil
}

// formerMaxEvents is how many events older versions kept, which did not store the
// number of the first one.
const formerMaxEvents = 200_000

func (w *writeTx) DropEvents(upto uint64, n int) (first uint64, err error) {
	last, err := w.Counter(boot.LastEvent)
	if err == nil {
		first, err = w.Counter(boot.FirstEvent)
	}
	if err != nil {
		return first, err
	}
	if first == 0 {
		first = 1
		if last > formerMaxEvents {
			first = last - formerMaxEvents // Append may have added the last of them just now
		}
	}
	upto = min(upto, last)
	if n <= 0 || upto < first {
		return first, nil
	}
	for ; n > 0 && first <= upto; n-- {
		if err := events.delete(w, first); err != nil {
			return first, err
		}
		first++
	}
	return first, w.SetCounter(boot.FirstEvent, first)
}
