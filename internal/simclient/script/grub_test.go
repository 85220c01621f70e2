package script

// This file holds configurations of GRUB and where they lead.

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

// cupboard is a host of files.
type cupboard map[string]string

func (c cupboard) Load(_ context.Context, _, uri string) (*File, error) {
	name, _, _ := strings.Cut(uri, "?")
	b, ok := c[name]
	if !ok {
		return nil, refused(0)
	}
	return &File{URI: uri, Bytes: int64(len(b)), Head: []byte(b)}, nil
}
func (cupboard) Pause(context.Context, time.Duration) {}
func (cupboard) Fail(_ string, err error) error       { return err }
func (cupboard) Explained(err error, name string) error {
	return Fault("", "%s: %v", name, err)
}

// refused is a server's answer of that status.
type refused int

func (r refused) Status() int   { return int(r) }
func (r refused) Error() string { return "it is not there" }

// ending says how a script ended: what it boots, where it stopped, or the error.
func ending(err error) string {
	var b *Booting
	var s *Stop
	switch {
	case errors.As(err, &b):
		out := "boot " + b.Kernel.URI + " [" + b.Kernel.Args + "]"
		for _, i := range b.Initrds {
			out += " + " + i.Name
		}
		return out
	case errors.As(err, &s):
		return string(s.End) + ": " + s.Text
	}
	return fmt.Sprint("error: ", err)
}

// playGRUB runs a configuration that came from a TFTP server and says how it
// ended.
func playGRUB(t testing.TB, files map[string]string, text string) (*GRUB, string) {
	t.Helper()
	m := Facts{CPU: "x86_64", MAC: "52:54:00:01:02:03", UUID: "00000000-0000-0000-0000-000000000007", Serial: "S 1"}
	from, _ := url.Parse("tftp://10.0.0.1/grubx64.efi")
	files["tftp://10.0.0.1//grub.cfg"] = text
	g := NewGRUB(m, cupboard(files), from)
	f, err := g.Open(t.Context(), "config", "/grub.cfg")
	if err != nil {
		t.Fatal(err)
	}
	return g, ending(g.Run(t.Context(), "", f))
}

func TestGRUB(t *testing.T) {
	const k = "tftp://10.0.0.1//k"
	files := func() map[string]string {
		return map[string]string{k: "kernel", "tftp://10.0.0.1//i": "initrd", "tftp://10.0.0.1//two.cfg": "set a=two\n", "tftp://10.0.0.1//hold.cfg": "set ok=1\necho waiting for approval\nsleep --interruptible 10\n", "tftp://10.0.0.1//self.cfg": "source /self.cfg\n", "http://10.0.0.1/w": "web"}
	}
	for _, c := range []struct{ name, text, want string }{
		{"plain", "linux /k a 'b c' \"d $net_default_mac\"\ninitrd /i /i\nboot\n", "boot " + k + " [a b c d 52:54:00:01:02:03] + i + i"},
		{"if command", "if linux /k x; then\n  if initrd /i; then boot; fi\nfi\n", "boot " + k + " [x] + i"},
		{"missing", "if linux /gone; then boot; fi\n", "failed: /gone: it is not there"},
		{"else", "if [ \"$lockdown\" = y ]; then exit; elif [ -z \"$x\" -a 1 != 2 ]; then linux /k elif; else linux /k else; fi\nboot", "boot " + k + " [elif]"},
		{"for", "for d in a b c; do\n set all=$all$d\ndone\nlinux /k $all ${all}x\nboot\n", "boot " + k + " [abc abcx]"},
		{"while", "set n=x\nwhile [ $n != xxxx ]; do set n=x$n; done\nlinux /k $n; boot", "boot " + k + " [xxxx]"},
		{"source", "source /two.cfg; linux /k $a; boot", "boot " + k + " [two]"},
		{"smbios", "smbios --type 1 --get-uuid 8 --set u\nsmbios --type 1 --get-string 7 --set s\nlinux /k $u \"$s\"\nboot", "boot " + k + " [00000000-0000-0000-0000-000000000007 S 1]"},
		{"held", "while [ 1 = 1 ]; do source /hold.cfg; done\n", "hold: the server holds the machine"},
		{"held by a loop", "while true; do sleep 1; done\n", "hold: GRUB's configuration waits in a loop"},
		{"disk", "search --file --set=root /EFI/debian/shimx64.efi\nif chainloader /EFI/debian/shimx64.efi; then boot; fi", "local: GRUB starts a loader of the local disk"},
		{"exit", "exit", "local: GRUB hands the machine back"},
		{"restart", "echo once more\nreboot", "failed: GRUB restarts the machine: once more"},
		{"menu", "set timeout=5\nset default=1\nmenuentry 'A' --class x {\n linux /gone\n}\nmenuentry \"B\"\n{\n linux /k menu\n initrd /i\n}\n", "boot " + k + " [menu] + i"},
		{"menu for ever", "menuentry A { linux /k; }", "hold: GRUB shows a menu"},
		{"nothing", "echo hello", "failed: grub.cfg ended"},
		{"web", "linux (http,10.0.0.1)/w; boot", "boot http://10.0.0.1/w []"},
		{"inside itself", "source /self.cfg", "failed: configurations read each other more than 32 deep"},
		{"endless", "while true; do true; done", "failed: the configuration ran 5000 commands"},
		{"no end", "if true; then\n", "failed: tftp://10.0.0.1//grub.cfg: the syntax is not understood"},
		{"no quote", "echo 'x", "failed: tftp://10.0.0.1//grub.cfg: the syntax is not understood"},
		{"unknown commands are passed over", "frobnicate x\nlinux /k\nboot", "boot " + k + " []"},
		{"comment", "# if\nlinux /k a#b # c\nboot", "boot " + k + " [a#b]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if g, got := playGRUB(t, files(), c.text); !strings.HasPrefix(got, c.want) {
				t.Errorf("got  %s\nwant %s\nsaid %q", got, c.want, g.Said)
			}
		})
	}
}

func FuzzGRUB(f *testing.F) {
	f.Add("set a='b'\nif [ -n \"$a\" ]; then source /grub.cfg; elif ! true; then menuentry x { boot; }; else for i in a b; do echo $i ${a}; done; fi\nwhile false; do sleep 1; done\nsearch --set=root /x\nchainloader +1\nboot\n")
	f.Fuzz(func(t *testing.T, text string) {
		start := time.Now()
		g, end := playGRUB(t, map[string]string{"tftp://10.0.0.1//k": "k"}, text)
		if g.steps > 2*maxGRUBSteps || strings.HasPrefix(end, "error") || time.Since(start) > 20*time.Second {
			t.Errorf("%d steps, %s, %s", g.steps, time.Since(start), end)
		}
	})
}
