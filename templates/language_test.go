package templates

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/musterboot/muster/boot"
)

// evil are texts that mean something to somebody.
var evil = []string{
	"x;touch PWNED;#", "$(touch PWNED)", "`touch PWNED`", "${PATH}", "$HOME", "a' ; touch PWNED ; '", `a" ; touch PWNED ; "`, `a\`, "a && touch PWNED", "| touch PWNED", "> PWNED",
	"*", "a b", "#", "a #b", "<b>", "]]>", "&amp;", "yes", "~", "- a", "a: b", "[1]", "{a: 1}", "!!binary x", "", "1e3", "\u2028", "ü",
}

// asFile renders one file for a machine that says text of itself, or has it as a
// parameter.
func asFile(t *testing.T, name, body, value string) (string, error) {
	t.Helper()
	f := folder{SpecFile: "name = \"rescue\"\n[boot]\nkernel = \"vmlinuz\"\n[params.p]\ndefault = \"x\"\n", "vmlinuz": "K", name + ".tmpl": body}
	s, tm := set(t, f)
	m := machine()
	m.Serial, m.Params = value, map[string]string{"p": value}
	return s.text(t, boot.Ref{Kind: boot.RefTemplate, Name: name, Template: pad(tm), Machine: m})
}

// TestShell: whatever a machine says of itself and a parameter holds, /bin/sh runs
// nothing of it, in quotation marks and outside.
func TestShell(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"post.sh", "post"} {
		for _, value := range []string{"{{ .Serial }}", "{{ .SerialText | sh }}", "{{ .Params.p }}", "{{ sh .Params.p }}"} {
			body := "#!/bin/sh\necho " + value + "\n"
			if !strings.Contains(value, "sh") {
				body += "echo \"" + value + "\"\necho '" + value + "'\n"
			}
			for _, text := range evil {
				got, err := asFile(t, name, body, text)
				if err != nil {
					if strings.Contains(value, "Serial") || strings.Contains(value, "sh") {
						t.Errorf("%s of %q is not served: %v", value, text, err)
					}
					continue
				}
				c := exec.Command("/bin/sh", "-c", got)
				c.Dir = dir
				out, err := c.Output()
				if _, bad := os.Stat(filepath.Join(dir, "PWNED")); bad == nil || err != nil {
					t.Fatalf("%s of %q ran: %v\n%s", value, text, err, got)
				}
				if quoted := strings.Contains(value, "sh"); quoted && string(out) != text+"\n" {
					t.Errorf("%s of %q is %q", value, text, out)
				}
			}
		}
	}
}

// TestLanguages: a value that was quoted is read back as it was, and one that was
// not is the same inside quotation marks, or is refused.
func TestLanguages(t *testing.T) {
	var x struct{ V string }
	for _, c := range []struct {
		name, function string
		bare           string // file around a value in quotation marks
		quoted         string
		read           func(string) (string, error)
	}{
		{"a.json", "toJson", `{"V": "%s"}`, `{"V": %s}`, func(s string) (string, error) { return x.V, json.Unmarshal([]byte(s), &x) }},
		{"a.toml", "toml", `V = "%s"`, `V = %s`, func(s string) (string, error) { return x.V, toml.Unmarshal([]byte(s), &x) }},
		{"a.xml", "xml", "<x><V>%s</V></x>", "<x><V>%s</V></x>", func(s string) (string, error) { return x.V, xml.Unmarshal([]byte(s), &x) }},
		{"a.yaml", "yaml", `V: "%s"`, `V: %s`, func(s string) (string, error) { // JSON's strings are YAML's
			return x.V, json.Unmarshal([]byte("{"+strings.Replace(s, "V:", `"V":`, 1)+"}"), &x)
		}},
	} {
		for _, text := range evil {
			for _, from := range []string{".Params.p", ".SerialText"} {
				got, err := asFile(t, c.name, fmt.Sprintf(c.quoted, "{{ "+from+" | "+c.function+" }}"), text)
				if err != nil {
					t.Errorf("%s: %s of %q: %v", c.name, from, text, err)
					continue
				}
				x.V = "nothing"
				c.read(got)
				if v, err := c.read(got); err != nil || v != text {
					t.Errorf("%s: %s of %q is %q, %v:\n%s", c.name, from, text, v, err, got)
				}
			}
			got, err := asFile(t, c.name, fmt.Sprintf(c.bare, "{{ .Params.p }}"), text)
			if err != nil {
				continue
			}
			x.V = "nothing"
			c.read(got)
			if v, err := c.read(got); err != nil || v != text {
				t.Errorf("%s: bare %q is %q, %v:\n%s", c.name, text, v, err, got)
			}
		}
		if _, err := asFile(t, c.name, fmt.Sprintf(c.bare, "{{ .Params.p }}"), "plain-1"); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestUnquoted: what a machine says of itself never stands anywhere as it came; lint
// says so, with the line.
func TestUnquoted(t *testing.T) {
	for _, name := range []string{"a.sh", "a.txt", "user-data", "a.json", "a.xml", "a.toml", "ks.cfg", "x.cfg", "x.ipxe"} {
		for _, body := range []string{
			"\n{{ .SerialText }}", "\n{{ if eq .Name \"none\" }}{{ .SerialText }}{{ end }}", "\n{{ .SerialText | raw }}", "\n{{ printf \"%s\" .SerialText }}",
			"\n{{ with .SerialText }}{{ . }}{{ end }}", "{{ $x := .SerialText }}\n{{ $x }}", "\n{{ .SerialText | indent 2 }}",
		} {
			_, err := folder{SpecFile: "name = \"x\"\n[boot]\nkernel = \"k\"\n", "k": "K", name + ".tmpl": body}.lint()
			if checked := strings.HasPrefix(name, "x."); checked && !strings.Contains(body, "{{ .SerialText") {
				continue // iPXE and GRUB: the check itself takes what no line can be changed by
			}
			if err == nil {
				t.Errorf("%s may hold %q", name, body)
			} else if !strings.Contains(err.Error(), "quote it") && !strings.Contains(err.Error(), "wrong type") {
				t.Errorf("%s, %q: %v", name, body, err)
			}
		}
	}
}

// TestPlain: the serial number that a template sees has letters and digits only, and
// the usual ones are as they are.
func TestPlain(t *testing.T) {
	for in, want := range map[string]string{"RIG-0007": "RIG-0007", "VMware-56 4d 8e": "VMware-56-4d-8e", "x;echo pwned>FILE;#": "x-echo-pwned-FILE", "$()": "", "a/b": "a-b", "": ""} {
		if got := plain(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

// TestNetFacts: a rendered file can configure the machine's address by hand.
func TestNetFacts(t *testing.T) {
	got, err := asFile(t, "network-config", "{{ .Address }}/{{ .Prefix }} {{ .Netmask }} via {{ .Gateway }}{{ range .DNS }} dns={{ . }}{{ end }}{{ range .NTP }} ntp={{ . }}{{ end }} {{ join \",\" .DNS }} {{ .Domain }} {{ .VLAN }} {{ .BOOTIF }}", "x")
	if want := "192.0.2.10/24 255.255.255.0 via 192.0.2.1 dns=192.0.2.1 ntp=192.0.2.1 192.0.2.1 example.org 0 01-52-54-00-12-34-56"; err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if _, err := (folder{SpecFile: "name = \"x\"\n[boot]\nkernel = \"k\"\n", "k": "K", "a.tmpl": "{{ range .Boot }}{{ end }}"}).lint(); err == nil || !bytes.Contains([]byte(err.Error()), []byte("range is allowed over")) {
		t.Errorf("range over a number: %v", err)
	}
}
