package script

// This file holds iPXE scripts and where they lead, those that ship among them.

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// shelf is a world of files.
type shelf struct {
	files   map[string]string
	log     []string
	leased  int
	waits   time.Duration
	failing error
}

func (w *shelf) Setting(name string) ([]byte, string, bool) {
	switch name {
	case "mac":
		return []byte{0x52, 0x54, 0, 0xaa, 0xbb, 1}, "hex", true
	case "uuid":
		return []byte("\x4c\x4c\x45\x44\x00\x42\x35\x10\x80\x52\xb4\xc0\x4f\x4a\x31\x32"), "uuid", true
	case "ip":
		return []byte{10, 0, 0, 9}, "ipv4", true
	case "platform":
		return []byte("efi"), "string", true
	case "buildarch":
		return []byte("x86_64"), "string", true
	case "serial":
		return []byte("A/1 &x=2"), "string", true
	case "209":
		return []byte("pxe.cfg"), "string", true
	}
	return nil, "", false
}
func (w *shelf) DHCP(context.Context) error { w.leased++; return w.failing }
func (w *shelf) Load(_ context.Context, step, uri string, form url.Values) (*File, error) {
	t := step + " " + uri
	if form != nil {
		t += " " + form.Encode()
	}
	w.log = append(w.log, t)
	name, _, _ := strings.Cut(uri, "?")
	b, ok := w.files[name]
	if !ok {
		return nil, refused(404)
	}
	return &File{URI: uri, Bytes: int64(len(b)), Head: []byte(b)}, nil
}
func (w *shelf) Exists(ctx context.Context, step, uri string) error {
	_, err := w.Load(ctx, step, uri, nil)
	return err
}
func (w *shelf) Pause(_ context.Context, d time.Duration) { w.waits += d }

// play runs a script that came from http://h/dir/boot.ipxe and says how it ended.
func play(t testing.TB, w *shelf, script string) (*IPXE, string) {
	t.Helper()
	x := NewIPXE(w)
	return x, ending(x.Run(context.Background(), "http://h/dir/boot.ipxe", []byte(script)))
}

func TestScript(t *testing.T) {
	generated, err := os.ReadFile("../../../templates/testdata/generated.ipxe")
	if err != nil {
		t.Fatal(err)
	}
	local, err := os.ReadFile("../../../templates/testdata/local.ipxe")
	if err != nil {
		t.Fatal(err)
	}
	const files = "http://192.0.2.1/boot/sample/"
	web := map[string]string{
		"http://h/dir/k": "kernel", "http://h/dir/i": "initrd", "http://h/two.ipxe": "#!ipxe\nkernel dir/k two\nboot\n", "http://h/dir/fails.ipxe": "#!ipxe\nexit 3\n", "http://h/dir/sets.ipxe": "#!ipxe\nset a inner\n",
		"http://h/dir/loop.ipxe": "#!ipxe\nprompt --timeout 1000 x ||\nchain --replace loop.ipxe\n", "http://h/dir/self.ipxe": "#!ipxe\nchain self.ipxe\n", "http://h/dir/round.ipxe": "#!ipxe\nchain --replace round.ipxe\n", "http://h/x.efi": "MZ\x00",
		files + "vmlinuz": "kernel", files + "initrd.gz": "a", files + "more/extra.img": "b",
	}
	for _, c := range []struct{ name, script, want string }{
		{"generated", string(generated), "boot " + files + "vmlinuz [console=ttyS0 root=/dev/sda muster.report=http://192.0.2.1/boot/sample/report initrd=initrd.gz initrd=extra.img BOOTIF=01-52-54-00-aa-bb-01] + initrd.gz + extra.img"},
		{"local disk", string(local), "local: the script hands the machine back to its firmware (exit 1), which boots its next entry"},
		{"disk of BIOS", "#!ipxe\nsanboot --no-describe --drive 0x80 || exit 1\n", "local: the script boots the first disk (sanboot)"},
		{"no script", "kernel k\n", "failed: http://h/dir/boot.ipxe is no script"},
		{"relative", "#!ipxe\nkernel k a ${mac} ${net0/mac:hexhyp} ${netX/mac:hexraw}\nboot", "boot http://h/dir/k [a 52:54:00:aa:bb:01 52-54-00-aa-bb-01 525400aabb01]"},
		{"values", "#!ipxe\nkernel k ${uuid} ${ip} ${serial:uristring} ${nothing} ${209:string} ${uuid:hexraw}\nboot", "boot http://h/dir/k [4c4c4544-0042-3510-8052-b4c04f4a3132 10.0.0.9 A%2F1%20%26x%3D2  pxe.cfg 4c4c4544004235108052b4c04f4a3132]"},
		{"no shell by values", "#!ipxe\nset a || shell\nset b ${serial}\nkernel k ${b}\nboot", "boot http://h/dir/k [A/1 &x=2]"},
		{"counting", "#!ipxe\nset n:int32 0\n:again\ninc n\niseq ${n} 5 || goto again\nkernel k ${n}\nboot", "boot http://h/dir/k [5]"},
		{"and, or", "#!ipxe\niseq a b && goto no || goto yes\n:no\nexit 1\n:yes\niseq a a && kernel k ||\nboot", "boot http://h/dir/k []"},
		{"or of nothing mends", "#!ipxe\nkernel missing ||\nkernel k\nboot", "boot http://h/dir/k []"},
		{"a failure ends it", "#!ipxe\nkernel missing\nkernel k\nboot", "failed: it is not there"},
		{"exit after a failure", "#!ipxe\nkernel missing || exit 1\n", "failed: it is not there"},
		{"unknown command", "#!ipxe\nfrobnicate\n", "failed: the script ended: frobnicate: iPXE has no command \"frobnicate\""},
		{"no label", "#!ipxe\ngoto nowhere\n", "failed: the script has no label :nowhere"},
		{"comment", "#!ipxe\n# x\nkernel k a # b\nboot", "boot http://h/dir/k [a]"},
		{"CRLF and joined lines", "#!ipxe\r\nkernel k a \\\r\n b\r\nboot\r\n", "boot http://h/dir/k [a b]"},
		{"chain", "#!ipxe\nchain /two.ipxe\n", "boot http://h/dir/k [two]"},
		{"inner exit", "#!ipxe\nchain fails.ipxe || kernel k outer\nboot", "boot http://h/dir/k [outer]"},
		{"shared variables", "#!ipxe\nchain sets.ipxe\nkernel k ${a}\nboot", "boot http://h/dir/k [inner]"},
		{"program", "#!ipxe\nchain http://h/x.efi a b\n", "boot http://h/x.efi [a b]"},
		{"held", "#!ipxe\necho waiting for approval\nprompt --timeout 1000 x ||\nchain --replace boot.ipxe\n", "hold: the server holds the machine"},
		{"held by a loop", "#!ipxe\n:a\nsleep 10\ngoto a\n", "hold: the script waits in a loop: "},
		{"held elsewhere", "#!ipxe\nchain --replace loop.ipxe\n", "hold: the server holds the machine"},
		{"held by a key", "#!ipxe\nprompt Press a key\n", "hold: the script waits for a key: Press a key"},
		{"menu", "#!ipxe\nmenu x\nitem a A\nitem b B\nchoose --timeout 3000 --default b s\nkernel k ${s}\nboot", "boot http://h/dir/k [b]"},
		{"menu for ever", "#!ipxe\nmenu x\nitem a A\nchoose s\n", "hold: the script shows a menu and waits for a person"},
		{"inside itself", "#!ipxe\nchain self.ipxe\n", "failed: scripts call each other more than 16 deep"},
		{"round and round", "#!ipxe\nchain --replace round.ipxe\n", "failed: scripts chain to each other more than 60 times"},
		{"endless", "#!ipxe\n:a\ngoto a\n", "failed: the script ran 5000 commands without getting anywhere"},
		{"asks a dead URL", "#!ipxe\n:a\nchain gone.ipxe ||\nprompt --timeout 1 x ||\ngoto a\n", "failed: http://h/dir/gone.ipxe could not be loaded 3 times: it is not there"},
		{"named initrd", "#!ipxe\nkernel k initrd=x\ninitrd --name x i\nboot", "boot http://h/dir/k [initrd=x] + x"},
		{"args later", "#!ipxe\nkernel --name z k\nimgargs z late\nboot", "boot http://h/dir/k [late]"},
		{"nothing to boot", "#!ipxe\nboot\n", "failed: the script ended: boot: there is no kernel to boot"},
		{"restart", "#!ipxe\nreboot\n", "failed: the script restarts the machine"},
		{"dynamic name", "#!ipxe\nset a mac\nkernel k ${${a}}\nboot", "boot http://h/dir/k [52:54:00:aa:bb:01]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, got := play(t, &shelf{files: web}, c.script)
			if got != c.want && !strings.HasPrefix(got, c.want) || c.want == "" {
				t.Errorf("got  %s\nwant %s\nsaid %q", got, c.want, x.Said)
			}
		})
	}
	w := &shelf{files: map[string]string{"http://h/dir/p": "#!ipxe\nexit 0\n"}}
	play(t, w, "#!ipxe\nparams\nparam mac ${mac}\nparam serial ${serial}\nchain p##params\n")
	if want := "script http://h/dir/p mac=52%3A54%3A00%3Aaa%3Abb%3A01&serial=A%2F1+%26x%3D2"; len(w.log) != 1 || w.log[0] != want {
		t.Errorf("parameters were posted as %q", w.log)
	}
	if x, _ := play(t, w, "#!ipxe\nsleep 100000\necho bye\n"); w.waits != maxSleep || len(x.Said) != 1 {
		t.Errorf("slept %s", w.waits)
	}
}

// TestBuiltin: the scripts that Muster ships lead where they should.
func TestBuiltin(t *testing.T) {
	read := func(name string) string {
		b, err := os.ReadFile("../../../templates/testdata/" + name + ".ipxe")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	hold := read("hold")
	from := func(script string) string {
		for _, w := range strings.Fields(script) {
			if strings.HasPrefix(w, "http://") && strings.Contains(w, "boot.ipxe") {
				u, _, _ := strings.Cut(w, "?")
				return u
			}
		}
		t.Fatalf("no URL in\n%s", script)
		return ""
	}
	for _, name := range []string{"ask", "stranger", "hold"} {
		w := &shelf{files: map[string]string{from(read(name)): hold}}
		x := NewIPXE(w)
		err := x.Run(context.Background(), from(read(name)), []byte(read(name)))
		var s *Stop
		if !errors.As(err, &s) || s.End != Held {
			t.Errorf("%s ends in %v", name, err)
		}
		if name == "ask" && !strings.Contains(w.log[0], "?mac=52-54-00-aa-bb-01&uuid=4c4c4544-0042-3510-8052-b4c04f4a3132&arch=x86_64&platform=efi&version=&serial=A%2F1%20%26x%3D2") {
			t.Errorf("it is asked for as %s", w.log[0])
		}
	}
}

func FuzzScript(f *testing.F) {
	for _, name := range []string{"ask", "generated", "hold", "local", "stranger"} {
		b, err := os.ReadFile("../../../templates/testdata/" + name + ".ipxe")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("#!ipxe\nset a:int8 -1\necho ${a} ${a:uint16} ${a:hex}\nset b:hex 0g\nset c:ipv4 1\nitem --gap x\nchoose --timeout 1 x\nparams\nparam a b\nchain boot.ipxe##params\nkernel --name\nimgselect\ninc\ngoto\n${${${")
	f.Fuzz(func(t *testing.T, s string) {
		if !strings.HasPrefix(s, "#!ipxe") {
			s = "#!ipxe\n" + s
		}
		w := &shelf{files: map[string]string{"http://h/dir/boot.ipxe": s, "http://h/dir/k": "k"}}
		x, end := play(t, w, s)
		if x.commands > maxCommands+1 || len(w.log) > maxCommands || strings.HasPrefix(end, "error") {
			t.Errorf("%d commands, %d loads, %s", x.commands, len(w.log), end)
		}
	})
}
