package boot_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/musterboot/muster/boot"
)

func TestTokenComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := boot.Key{rapid.Byte().Draw(t, "key")}
		in := boot.Token{
			Kind: rapid.SampledFrom([]boot.TokenKind{boot.BootToken, boot.ReportToken}).Draw(t, "kind"),
			Boot: rapid.Uint32().Draw(t, "boot"), Version: boot.TemplateID(rapid.Uint32().Draw(t, "version")),
			Issued: began.Add(time.Duration(rapid.IntRange(0, 1e6).Draw(t, "minutes")) * time.Minute),
		}
		if rapid.Bool().Draw(t, "enrolled") {
			in.Host = boot.HostID(rapid.Uint64Min(1).Draw(t, "host"))
		} else {
			in.MAC = boot.MAC{0x52, 1, 2, 3, 4, rapid.Byte().Draw(t, "mac")}
		}
		text := key.Sign(in)
		if len(text) != boot.TokenLen || text != strings.ToLower(text) {
			t.Fatalf("token %q", text)
		}
		// Some firmware shouts.
		for _, s := range []string{text, strings.ToUpper(text)} {
			if out, err := key.Open(s, in.Issued.Add(time.Hour)); err != nil || out != in {
				t.Fatalf("%+v came back as %+v, %v", in, out, err)
			}
		}
		// Any other text is nobody's.
		i := rapid.IntRange(0, len(text)-2).Draw(t, "at")
		c := byte('0')
		if text[i] == '0' {
			c = '1'
		}
		if _, err := key.Open(text[:i]+string(c)+text[i+1:], in.Issued); !errors.Is(err, boot.ErrBadToken) {
			t.Fatalf("changed at %d: %v", i, err)
		}
		// A token has one spelling, although its last letter has bits to spare.
		for _, c := range "0123456789abcdefghjkmnpqrstvwxyz" {
			if s := text[:len(text)-1] + string(c); s != text {
				if _, err := key.Open(s, in.Issued); !errors.Is(err, boot.ErrBadToken) {
					t.Fatalf("%s is another spelling of %s", s, text)
				}
			}
		}
		other := boot.Key{key[0] + 1}
		if _, err := other.Open(text, in.Issued); !errors.Is(err, boot.ErrBadToken) {
			t.Fatalf("another appliance's token: %v", err)
		}
	})
}

func TestTokenExpires(t *testing.T) {
	key := boot.Key{1}
	for _, c := range []struct {
		kind boot.TokenKind
		age  time.Duration
		ok   bool
	}{
		{boot.BootToken, 0, true}, {boot.BootToken, 24 * time.Hour, true}, {boot.BootToken, 24*time.Hour + time.Minute, false},
		{boot.ReportToken, 7 * 24 * time.Hour, true}, {boot.ReportToken, 8 * 24 * time.Hour, false},
		// A clock set back by an hour must not end a boot.
		{boot.BootToken, -time.Hour, true}, {boot.BootToken, -48 * time.Hour, false},
	} {
		text := key.Sign(boot.Token{Kind: c.kind, Host: 1, Issued: began})
		if _, err := key.Open(text, began.Add(c.age)); (err == nil) != c.ok {
			t.Errorf("kind %d after %s: %v", c.kind, c.age, err)
		}
	}
}
