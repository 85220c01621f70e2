// listen_test.go: the addresses that services listen on, and what a restart is needed for.

package config

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// TestListenErrors: an address that cannot be meant is told of before the start.
func TestListenErrors(t *testing.T) {
	for listen, want := range map[string]string{
		":69": "", "[::]:69": "", "10.77.0.1:69": "", "[fd77::1]:69": "", "[fe80::1%eth1]:69": "",
		"[fe80::1]:69": `"[fe80::1%eth1]:69"`, "fd77::1:69": `"[fd77::1]:80"`, "fd77::1": `"[fd77::1]:80"`, "[fd77::1]": `"[fd77::1]:80"`,
	} {
		c, err := Parse("muster.toml", []byte("[tftp]\nlisten = \""+listen+"\"\n"))
		switch {
		case want == "" && (err != nil || c.TFTP.Listen != listen):
			t.Errorf("%q: %v", listen, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want a word of %s", listen, err, want)
		}
	}
}

// TestRestart: what a reload changes only with a restart is named as the file calls
// it, and stays as it was; the rest is new.
func TestRestart(t *testing.T) {
	const lab = "[[network]]\nname = \"lab\"\ninterface = \"eth1\"\nmode = \"full\"\nrange = \"10.77.0.100-10.77.0.200\"\n"
	const six = "subnet6 = \"fd77::/64\"\n"
	const tls = "[https]\nlisten = \":443\"\n"
	for _, c := range []struct{ name, old, fresh, want string }{
		{"nothing", lab, lab, ""},
		{"a comment", lab, "# new\n" + lab, ""},
		{"what networks give", lab, strings.Replace(lab, "0.200", "0.250", 1), ""},
		{"one network more", lab, lab + strings.NewReplacer("lab", "b", "eth1", "eth2", "10.77", "10.78").Replace(lab), ""},
		{"the first network", "", lab, "the first network that is served, or the last"},
		{"the last one", lab, strings.Replace(lab, `"full"`, `"off"`, 1), "the first network that is served, or the last"},
		{"the first subnet6", lab, lab + six, "the first subnet6, or the last"},
		{"data", lab, "data_dir = \"/srv\"\n" + lab, "data_dir"},
		{"HTTP", lab, lab + "[http]\nlisten = \":8080\"\n", "[http]"},
		{"TFTP's ports", lab, lab + "[tftp]\nports = \"3000-3010\"\n", "[tftp]"},
		{"no log", lab, lab + "[syslog]\nlisten = \"off\"\n", "[syslog]"},
		{"HTTPS", lab, lab + tls, "[https] listen, cert or key"},
		{"HTTPS elsewhere", lab + tls, lab + strings.Replace(tls, ":443", ":8443", 1), "[https] listen, cert or key"},
		{"whom HTTPS serves", lab + tls, lab + tls + "names = [\"boot.example.org\"]\nfirmware_tls = true\n", ""},
		{"what HTTP is called", lab, lab + "[http]\nhost = \"boot.example.org\"\n", ""},
		{"two", lab, lab + tls + "[http]\nlisten = \":8080\"\n", "[http]; [https] listen, cert or key"},
	} {
		old, err := Parse("old", []byte(c.old))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		fresh, err := Parse("fresh", []byte(c.fresh))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		said := *fresh
		if got := strings.Join(fresh.Keep(old), "; "); got != c.want {
			t.Errorf("%s: a restart is needed for %q, want %q", c.name, got, c.want)
		}
		if fresh.Listeners != old.Listeners {
			t.Errorf("%s: listeners became %+v", c.name, fresh.Listeners)
		}
		if fresh.Listeners = said.Listeners; !fresh.Equal(&said) {
			t.Errorf("%s: what needs no restart was changed too: %+v", c.name, fresh)
		}
	}
	for f := range reflect.TypeFor[Listeners]().Fields() {
		if f.Tag.Get("restart") == "" {
			t.Errorf("nobody is told what %s is called", f.Name)
		}
	}
	// The open listener goes on with the names that it had.
	old, _ := Parse("old", []byte(tls+"host = \"boot.example.org\"\nnames = [\"boot.example.org\"]\nfirmware_tls = true\n"))
	fresh, _ := Parse("fresh", nil)
	if fresh.Keep(old); !slices.Equal(fresh.CertNames, old.CertNames) || !fresh.FirmwareTLS || fresh.HTTPSHost != "boot.example.org" {
		t.Errorf("HTTPS goes on with %+v", fresh)
	}
}

// TestEqual: two files that say the same are the same configuration.
func TestEqual(t *testing.T) {
	a, err := Parse("a", []byte(goodConfig))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse("b", []byte("# a comment\n"+strings.Replace(goodConfig, `"1h"`, `"60m"`, 1)))
	if err != nil || !a.Equal(b) {
		t.Errorf("%v, %+v is not %+v", err, b, a)
	}
	if c, err := Parse("c", []byte(strings.Replace(goodConfig, `"1h"`, `"61m"`, 1))); err != nil || a.Equal(c) {
		t.Errorf("%v: another lease is the same", err)
	}
}

// TestBench: the flags of a bench are judged as a file is, and told as flags.
func TestBench(t *testing.T) {
	c, err := Bench{Interface: "eth1", Range: "10.77.0.100-10.77.0.200", Lease: time.Hour}.Config()
	if err != nil || c.Networks[0].Mode != boot.Full || c.Networks[0].UnknownShare != 100 || !c.Active || c.IPv6 {
		t.Errorf("%v, %+v", err, c)
	}
	if c, err = (Bench{Interface: "eth1", Lease: time.Hour}).Config(); err != nil || c.Networks[0].Mode != boot.Proxy {
		t.Errorf("%v, %+v", err, c)
	}
	if _, err = (Bench{Interface: "eth1", Range: "one", Lease: time.Hour}).Config(); !errors.As(err, new(Mistake)) || err.Error() != `--range: range "one": want FIRST-LAST, like 10.77.0.100-10.77.0.200` {
		t.Error(err)
	}
}

// TestAdmin: the API's port, and what is refused of it.
func TestAdmin(t *testing.T) {
	for text, want := range map[string]any{
		"":                                    Admin{Listen: AdminPort},
		"listen = \"off\"":                    Admin{},
		"listen = \"[::1]:9000\"":             Admin{Listen: "[::1]:9000", Asked: true},
		"listen = \":443\"":                   Admin{Listen: ":443", Asked: true},
		"listen = \":80\"":                    "port 80 is that of boot files",
		"listen = \"8067\"":                   "muster.toml:2: listen \"8067\"",
		"cert = \"/c\"":                       "cert and key go together",
		"listen = \"off\"\nnames = [\"a.b\"]": "listen is off",
		"names = [\"10.0.0.1\"]":              "want a DNS name",
		"names = [\"A.example\"]":             "want a DNS name in small letters",
	} {
		c, err := Parse("muster.toml", []byte("[admin]\n"+text+"\n"))
		if err != nil {
			c = Default()
			c.Admin = Admin{}
		}
		if a, ok := want.(Admin); ok && (err != nil || c.Admin != a) {
			t.Errorf("%s: %+v, %v, want %+v", text, c.Admin, err, a)
		} else if s, ok := want.(string); ok && (err == nil || !strings.Contains(err.Error(), s)) {
			t.Errorf("%s: %v, want %s", text, err, s)
		}
	}
	for listen, plain := range map[string]bool{AdminPort: true, "[::1]:1": true, ":1": false, "10.0.0.1:1": false, "localhost:1": false} {
		if (Admin{Listen: listen}).Plain() != plain || (Admin{Listen: listen, Cert: "/c"}).Plain() {
			t.Errorf("%s: want plain %v, and never with a certificate", listen, plain)
		}
	}
}
