package dhcpd

import (
	"bytes"
	"errors"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
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
		t.Fatalf("the library reads what we refuse: %v", err)
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
