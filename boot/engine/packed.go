// packed.go: a Request encoded in few bytes and without pointers. The log keeps more
// than a hundred thousand requests, and the garbage collector would have to follow
// every string in them.

package engine

import (
	"encoding/binary"
	"net/netip"
	"time"
	"unsafe"

	"github.com/musterboot/muster/boot"
)

// packed is one entry of a machine's ring. It begins with the length of its first
// part and that part: what a repetition of the request has in common with it.
type packed struct {
	b        []byte
	repeated int32
	last     int64 // of the repetitions, Unix nanoseconds
}

// size is roughly the memory that it takes.
func (p *packed) size() int { return cap(p.b) + int(unsafe.Sizeof(*p)) }

func pack(r *boot.Request, buf []byte) packed {
	b := buf[:0]
	text := func(s string) {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	for _, s := range []string{string(r.Via), string(r.Step), r.Path, r.Reply, r.Got, r.Outcome, r.Why} {
		text(s)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Reasons)))
	for i := range r.Reasons {
		for x := &r.Reasons[i]; x != nil; x = x.Cause {
			text(x.Rule)
			text(string(x.Code))
			b = binary.AppendUvarint(b, uint64(len(x.Args)))
			for _, a := range x.Args {
				text(a)
			}
			b = append(b, caused(x))
		}
	}
	b = binary.AppendUvarint(b, uint64(r.Boot))
	if l := r.Line; l == nil {
		b = append(b, 0)
	} else {
		b = append(b, 1+byte(l.Severity))
		text(l.Facility)
		text(l.App)
		text(l.Text)
		b = binary.AppendUvarint(b, uint64(l.Cut))
	}
	shared := len(b)
	text(r.Name)
	text(r.Network)
	text(string(r.Class))
	text(string(r.Source.AsSlice()))
	b = append(b, r.MAC[:]...)
	b = binary.AppendVarint(b, r.At.UnixNano())
	for _, n := range []uint64{r.Seq, uint64(r.Host), uint64(r.Bytes), uint64(r.Took)} {
		b = binary.AppendUvarint(b, n)
	}
	out := make([]byte, 0, len(b)+2)
	out = binary.AppendUvarint(out, uint64(shared))
	p := packed{b: append(out, b...), repeated: int32(r.Repeated)}
	if !r.Last.IsZero() {
		p.last = r.Last.UnixNano()
	}
	return p
}

func caused(r *boot.Reason) byte {
	if r.Cause != nil {
		return 1
	}
	return 0
}

// shared is the first part, which repetitions have in common.
func (p *packed) same() string {
	n, w := binary.Uvarint(p.b)
	return string(p.b[w : w+int(n)])
}

// unpack does not check its input, because this process packed it.
func (p *packed) unpack() (r boot.Request) {
	b := p.b
	number := func() uint64 {
		n, w := binary.Uvarint(b)
		b = b[w:]
		return n
	}
	text := func() string {
		n := number()
		s := string(b[:n])
		b = b[n:]
		return s
	}
	number() // shared
	r.Via, r.Step, r.Path, r.Reply, r.Got, r.Outcome, r.Why = boot.Via(text()), boot.Step(text()), text(), text(), text(), text(), text()
	if n := number(); n > 0 {
		r.Reasons = make(boot.Reasons, n)
	}
	for i := range r.Reasons {
		for x, more := &r.Reasons[i], true; more; {
			x.Rule, x.Code = text(), boot.Code(text())
			for range number() {
				x.Args = append(x.Args, text())
			}
			if more, b = b[0] == 1, b[1:]; more {
				x.Cause = new(boot.Reason)
				x = x.Cause
			}
		}
	}
	r.Boot = uint32(number())
	severity := b[0]
	if b = b[1:]; severity > 0 {
		r.Line = &boot.Line{Severity: boot.Severity(severity - 1), Facility: text(), App: text(), Text: text(), Cut: int(number())}
	}
	r.Name, r.Network, r.Class = text(), text(), boot.Class(text())
	r.Source, _ = netip.AddrFromSlice([]byte(text()))
	b = b[copy(r.MAC[:], b):]
	at, w := binary.Varint(b)
	b = b[w:]
	r.At = time.Unix(0, at).UTC()
	r.Seq, r.Host, r.Bytes, r.Took = number(), boot.HostID(number()), int64(number()), time.Duration(number())
	r.Repeated = int(p.repeated)
	if p.last != 0 {
		r.Last = time.Unix(0, p.last).UTC()
	}
	return r
}
