package dhcpd

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/musterboot/muster/boot"
)

// agree compares what two codecs read from the same bytes.
func agree(t *testing.T, b []byte) {
	t.Helper()
	lib, libErr := dhcpv4.FromBytes(b)
	var p packet
	err := p.decode(b)
	if err != nil && !errors.Is(err, ErrMalformed) {
		t.Fatalf("error is not ErrMalformed: %v", err)
	}
	if libErr != nil {
		return // ours takes packets without an end mark, the library does not
	}
	if err != nil {
		if !strings.Contains(err.Error(), "further parts") && !strings.Contains(err.Error(), "too many") {
			t.Fatalf("the library reads what we refuse: %v", err)
		}
		return
	}
	if byte(lib.OpCode) != p.op || lib.TransactionID != p.xid || lib.Flags != p.flags || !bytes.Equal(lib.ClientIPAddr.To4(), p.ciaddr[:]) ||
		!bytes.Equal(lib.GatewayIPAddr.To4(), p.giaddr[:]) {
		t.Fatalf("header: %+v, library %+v", p, lib)
	}
	n := 0
	for code, v := range lib.Options {
		if code == 0 || code == 255 {
			continue
		}
		n++
		if !p.has(code) || !bytes.Equal(p.get(code), v) {
			t.Fatalf("option %d: %x, library %x", code, p.get(code), v)
		}
	}
	if n != len(p.options) {
		t.Fatalf("%d options, library %d", len(p.options), n)
	}
}

func TestCodecsAgree(t *testing.T) {
	for _, b := range captured(t) {
		agree(t, b)
	}
}

// FuzzCodec: the library and we read the same, and what we write the library
// reads back.
func FuzzCodec(f *testing.F) {
	for _, b := range captured(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		agree(t, b)
		var p packet
		if p.decode(b) != nil {
			return
		}
		for _, o := range p.options {
			if len(o.data) == 0 && o.code != optRapidCommit {
				return // the library drops some empty ones
			}
		}
		out := p.encode()
		agree(t, out)
		var again packet
		if err := again.decode(out); err != nil || len(again.options) != len(p.options) {
			t.Fatalf("%d options written, %d read: %v", len(p.options), len(again.options), err)
		}
	})
}

// TestMalformedIsCheap: a packet that is refused costs less than one that is
// answered, whatever is wrong with it.
func TestMalformedIsCheap(t *testing.T) {
	good := captured(t)[0]
	cost := func(b []byte) float64 {
		return testing.AllocsPerRun(100, func() { _, _ = parse4(b, Meta{}) })
	}
	e, done, err := newEngine(boot.Full, false)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	full := testing.AllocsPerRun(100, func() {
		_, _, _, _ = Dry(good, Meta{At: at, Interface: "eth0"}, func(in boot.Sighting) (boot.Decision, error) { return e.Next(t.Context(), in) })
	})
	broken := map[string][]byte{
		"empty":      {},
		"short":      good[:200],
		"no cookie":  append(append([]byte(nil), good[:236]...), make([]byte, 300)...),
		"cut option": append(append([]byte(nil), good[:250]...), 60, 200, 1),
		"a reply":    append([]byte{2}, good[1:]...),
		"no type":    append(append(append([]byte(nil), good[:240]...), 53, 2, 1, 1), bytes.Repeat([]byte{99, 1, 1}, 400)...),
		"many":       append(append([]byte(nil), good[:240]...), bytes.Repeat([]byte{60, 1, 65}, 450)...),
	}
	for name, b := range broken {
		if _, err := parse4(b, Meta{}); err == nil {
			t.Errorf("%s: read without an error", name)
		}
		if c := cost(b); c > full/2 {
			t.Errorf("%s: %v allocations, a good packet takes %v", name, c, full)
		}
	}
}
