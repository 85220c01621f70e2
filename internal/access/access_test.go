package access

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// TestPassword: what is kept is argon2id's, no two are alike, and what is no such hash is
// an error and never a match.
func TestPassword(t *testing.T) {
	const right = "correct horse battery"
	a, err := Hash(right)
	b, err2 := Hash(right)
	if err != nil || err2 != nil || a == b || !strings.HasPrefix(a, "$argon2id$v=19$m=19456,t=2,p=1$") || strings.Contains(a, right) {
		t.Fatalf("%s, %s, %v, %v", a, b, err, err2)
	}
	for password, want := range map[string]bool{right: true, "": false, right + " ": false, "Correct horse battery": false, strings.Repeat("x", 5000): false} {
		if ok, err := Verify(t.Context(), a, password); ok != want || err != nil {
			t.Errorf("%.40q: %v, %v", password, ok, err)
		}
	}
	if ok, err := Verify(t.Context(), nobody, right); ok || err != nil {
		t.Errorf("nobody's: %v, %v", ok, err)
	}
	for _, bad := range []string{"", "x", "$2y$10$abc", "$argon2id$v=19$m=99999999,t=2,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=19456,t=2,p=1$!$!", "$argon2id$v=19$m=19456,t=2,p=1$$", strings.Replace(a, "argon2id", "argon2i", 1)} {
		if ok, err := Verify(t.Context(), bad, right); ok || err == nil {
			t.Errorf("%s: %v, %v", bad, ok, err)
		}
	}
	for _, short := range []string{"", "elevenchars", "\xff\xfe" + right, strings.Repeat("x", 2000)} {
		if _, err := Hash(short); boot.FaultOf(err) == nil {
			t.Errorf("%.20q is taken", short)
		}
	}
}

// TestSecrets: a token has a checksum, so that what is typed wrongly is not looked up.
func TestSecrets(t *testing.T) {
	s := newSecret()
	if d, ok := digestOf(s); !ok || len(d) != 64 || strings.Contains(s, d) || s == newSecret() {
		t.Errorf("%s, %s", s, d)
	}
	for i := range s {
		if _, ok := digestOf(s[:i] + "x" + s[i+1:]); ok {
			t.Errorf("with another letter at %d it is one", i)
		}
		if _, ok := digestOf(s[:i]); ok {
			t.Errorf("the first %d letters are one", i)
		}
	}
}

// TestScope: a scope says what a host is.
func TestScope(t *testing.T) {
	for q, ok := range map[string]bool{
		"tag:lab": true, "net:lab arch:arm64-uefi": true, "-tag:prod": true, "serial:RIG*,SN*": true, "name:web*": true,
		"": false, " ": false, "web": false, "state:pending": false, "seen:<1h": false, "finding:any": false, "ticket:armed": false, "address:10.0.0.1": false, "param.disk:x": false, "nothing:x": false, "tag:lab web": false, "boots:>1": false, "template:x": false,
	} {
		if _, err := Scope(q); (err == nil) != ok {
			t.Errorf("%q: %v", q, err)
		}
	}
	w := &Who{}
	if err := w.within("tag:lab"); err != nil || !w.Confined() {
		t.Fatal(err)
	}
	if err := w.within("arch:bios"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		h    boot.Host
		sees bool
	}{{boot.Host{Tags: []string{"lab"}, Platform: boot.BIOS}, true}, {boot.Host{Tags: []string{"lab"}, Platform: boot.X64UEFI}, false}, {boot.Host{Platform: boot.BIOS}, false}} {
		if w.Sees(&c.h) != c.sees {
			t.Errorf("%+v: %v", c.h, !c.sees)
		}
	}
	if w.within("state:pending") == nil {
		t.Error("a scope that cannot be judged is no hindrance")
	}
}

// TestSlowIsBounded: however many addresses guess, few are remembered; one that is being
// judged is not forgotten.
func TestSlowIsBounded(t *testing.T) {
	var s slow
	now := time.Unix(1e9, 0)
	at := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("2001:db8:%x:%x::1", i/65536, i%65536)) }
	if err := s.enter(at(0), now); err != nil {
		t.Fatal(err)
	}
	if err := s.enter(at(0), now); boot.FaultOf(err) == nil || boot.FaultOf(err).Code != boot.TooMany {
		t.Errorf("two at once from one address: %v", err)
	}
	for i := 1; i < 3*maxKnown; i++ {
		now = now.Add(time.Millisecond)
		if err := s.enter(at(i), now); err != nil {
			t.Fatal(err)
		}
		s.wrong(at(i), now)
		s.leave(at(i))
	}
	if len(s.known) > maxKnown || s.known[group(at(0))] == nil {
		t.Errorf("%d are remembered, the one that is judged: %v", len(s.known), s.known[group(at(0))])
	}
	for i := range maxWaiting - 1 {
		if err := s.enter(at(100_000+i), now); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := s.enter(at(200_000), now); boot.FaultOf(err) == nil {
		t.Error("more are judged at once than may be")
	}
}
