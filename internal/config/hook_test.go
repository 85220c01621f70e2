// hook_test.go: [[webhook]], [[hook]] and [events].

package config

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/tomlfile"
)

const goodHooks = `[[webhook]]
name = "cmdb"
url = "https://cmdb.example/muster?token=x"
secret_file = "/etc/muster/cmdb.key"
kinds = ["host.*", "ticket.*"]
timeout = "20s"
give_up = "2d"

[[hook]]
name = "notify"
command = ["/usr/local/bin/on-event", "--now"]

[events]
keep = "400d"
max = 50000
`

// TestTracesConfig: the receiver of traces needs no key, and sends one over https alone.
func TestTracesConfig(t *testing.T) {
	text := "[[webhook]]\nname = \"traces\"\nformat = \"otlp\"\nurl = \"http://127.0.0.1:4318/v1/traces\"\n"
	c, err := Parse("muster.toml", []byte(text))
	if err != nil || !c.Hooks[0].Traces || c.Hooks[0].Secret != "" {
		t.Errorf("%+v: %v", c, err)
	}
	text += "secret_file = \"/etc/muster/traces.key\"\n"
	if _, err := Parse("muster.toml", []byte(text)); err == nil || !strings.Contains(err.Error(), "muster.toml:5: secret_file holds the Authorization header") {
		t.Errorf("a secret over http: %v", err)
	}
	if c, err := Parse("muster.toml", []byte(strings.Replace(text, "http:", "https:", 1))); err != nil || c.Hooks[0].Secret != "/etc/muster/traces.key" {
		t.Errorf("%+v: %v", c, err)
	}
	if c, err := Parse("muster.toml", []byte(goodHooks)); err != nil || c.Hooks[0].Traces {
		t.Errorf("%+v: %v", c, err)
	}
}

func TestHooksConfig(t *testing.T) {
	c, err := Parse("muster.toml", []byte(goodHooks))
	if err != nil {
		t.Fatal(err)
	}
	w, h := c.Hooks[0], c.Hooks[1]
	if w.URL == nil || w.Timeout != 20*time.Second || w.GiveUp != 48*time.Hour || !w.Kinds.Match(boot.TicketArm) || w.Kinds.Match(boot.BootReport) {
		t.Errorf("%+v", w)
	}
	if h.URL != nil || h.Timeout != 30*time.Second || h.GiveUp != 24*time.Hour || !h.Kinds.Match(boot.BootReport) {
		t.Errorf("%+v", h)
	}
	if c.Events != (Retention{Keep: 400 * 24 * time.Hour, Max: 50000}) || Default().Events != (Retention{Max: 200_000}) {
		t.Errorf("%+v", c.Events)
	}
	for _, x := range []struct{ name, old, new, want string }{
		{"no name", `name = "cmdb"`, ``, "muster.toml:1: a webhook needs a name"},
		{"name", `"cmdb"`, `"a b"`, `muster.toml:2: a webhook needs a name of up to 63 letters`},
		{"name twice", `"notify"`, `"cmdb"`, `muster.toml:10: name "cmdb" is used twice`},
		{"no url", `url = "https://cmdb.example/muster?token=x"`, ``, "muster.toml:1: url: a webhook needs one"},
		{"ftp", "https://", "ftp://", "muster.toml:3: url: want one that begins with https:// or http://"},
		{"password", "https://", "https://u:hush@", "muster.toml:3: url: no user and password"},
		{"no host", "https://cmdb.example/", "https:///", "muster.toml:3: url: it names no host"},
		{"port", "cmdb.example/", "cmdb.example:0/", `muster.toml:3: url: port "0"`},
		{"no url at all", "https://cmdb.example/", "https://%zz hush/", "muster.toml:3: url: it cannot be read as a URL"},
		{"fragment", "?token=x", "#x", "muster.toml:3: url: no fragment"},
		{"no secret", `secret_file = "/etc/muster/cmdb.key"`, ``, "muster.toml:2: webhook \"cmdb\" needs a secret_file, the key that signs what it sends; make one: (umask 027; openssl rand -base64 32 > /etc/muster/cmdb.key"},
		{"secret itself", `"/etc/muster/cmdb.key"`, `"aGFsbG8="`, "muster.toml:4: secret_file"},
		{"format", `name = "cmdb"`, "name = \"cmdb\"\nformat = \"xml\"", `muster.toml:3: format "xml": want "cloudevents"`},
		{"kinds of traces", `name = "cmdb"`, "name = \"cmdb\"\nformat = \"otlp\"", "muster.toml:6: kinds choose events"},
		{"kind", `"host.*"`, `"hosts.*"`, `muster.toml:5: kinds: no event is of kind "hosts.*"`},
		{"timeout", `"20s"`, `"20"`, `muster.toml:6: timeout "20": want a duration from "1s" to "1m0s"`},
		{"give up", `"2d"`, `"2y"`, "muster.toml:7: give_up"},
		{"shell", `["/usr/local/bin/on-event", "--now"]`, `["on-event"]`, "muster.toml:11: hook \"notify\" needs a command"},
		{"keep", `"400d"`, `"4min"`, "muster.toml:14: keep"},
		{"max", `50000`, `5`, "muster.toml:15: max 5"},
		{"key", `give_up`, `giveup`, `unknown key "giveup" in [webhook]; did you mean "give_up"?`},
	} {
		text := strings.Replace(goodHooks, x.old, x.new, 1)
		_, err := Parse("muster.toml", []byte(text))
		var te *tomlfile.Error
		if text == goodHooks || err == nil || !strings.Contains(err.Error(), x.want) || !errors.As(err, &te) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s:\n got %v\nwant %s", x.name, err, x.want)
		}
	}
}
