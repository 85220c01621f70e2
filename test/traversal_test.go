// traversal_test.go: names that are meant to climb out of what is served, over
// TFTP and HTTP, against a daemon with links to the outside wherever a person
// could have put one.

package test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/musterboot/muster/internal/nettest"
)

// climbs are the ways of writing ".." and "/" that have fooled some server.
func climbs(target string) []string {
	dots := []string{"..", "%2e%2e", ".%2e", "%2E.", "%252e%252e", "%25252e%25252e", "%c0%ae%c0%ae", "\xc0\xae\xc0\xae", "%e0%80%ae%e0%80%ae", "\xe0\x80\xae\xe0\x80\xae",
		"%uff0e%uff0e", "\uff0e\uff0e", "....", "...", ".. ", "..%20", "..;", "..;a=b", "..\t", "..%00", "..\xff", "..%ff", ".%00.", "..%0d%0a"}
	slashes := []string{"/", `\`, "//", "/./", "%2f", "%5c", "%252f", "%c0%af", "\xc0\xaf", "%e0%80%af", "\uff0f", "/%2e/", `\/`}
	var out []string
	for _, d := range dots {
		for _, s := range slashes {
			for _, n := range []int{1, 9} {
				out = append(out, strings.Repeat(d+s, n)+strings.ReplaceAll(target, "/", s))
			}
		}
	}
	return out
}

// hostile lists names for a target, an absolute path.
func hostile(target string) []string {
	rel := strings.TrimPrefix(target, "/")
	all := climbs(rel)
	return append(all,
		target, rel, "/"+target, "///"+rel, "/./"+rel, "./"+rel, target+"/", target+"/.", target+"\x00.efi", target+"%00.efi", target+"%2500.efi", target+"\xff", target+" ", target+"\r\n",
		"file://"+target, "file:"+target, "FILE:///"+rel, "file%3a%2f%2f"+target, "tftp://"+serverAddr+target, "tftp://x/"+target, "tftp://x/../"+rel, "tftp://tftp://"+rel, "tftp://", "http://"+serverAddr+target,
		"C:"+target, "c:/"+rel, `C:\`+strings.ReplaceAll(rel, "/", `\`), `\\127.0.0.1\c$\`+rel, `\\?\C:\`+rel, `//?/`+rel, "~/"+rel, "~root/"+rel, "$HOME/"+rel, "${PWD}"+target, "`cat "+target+"`", "|cat "+target, ";cat "+target, "$(cat "+target+")",
		"proc/self/root"+target, "/proc/self/root"+target, "proc/self/cwd/"+rel, "proc/self/environ", "proc/1/environ", "dev/fd/0", "etc/passwd", "../../../../../../../../etc/passwd", "etc/passwd%00.efi",
		"snponly.efi/"+rel, "snponly.efi/../"+rel, "snponly.efi%2f.."+target, "snponly.efi\x00"+target, "snponly.efi?"+target, "snponly.efi?file="+target, "snponly.efi#"+target, "snponly.efi;"+target,
		"?"+target, "?file="+target+"&path="+target, "x?../../"+rel, "?mac=../../"+rel+"&serial="+target+"&uuid="+target, "boot.ipxe?mac="+strings.Repeat("../", 9)+rel+"&serial="+strings.Repeat("../", 9)+rel, "grub.cfg-01-"+target, "report?stage="+target+"&text="+target,
		// What is beside the served files in the data directory, and the links in it.
		"muster.db", "../muster.db", "..%2fmuster.db", "muster.sock", "requests.log", "muster.db.wal", "loaders", "loaders/", "loaders/secret.txt", "loaders/dir/secret.txt", "secret.txt", "relative.txt", "dir/secret.txt", "reldir/secret.txt", "dir", "dir/", "abs", "rel",
		"files", "files/", "files/link/secret.txt", "files/aa/link", "files/aa", "files/aa/dir/secret.txt", "files/tmp", "tmp", "aa/link", "template.toml", "TEMPLATE.TOML", "template.toml.tmpl", "./template.toml", "template%2etoml", "template.toml%00", "template.toml ", ".", "..", "...",
		// What is there, for others.
		"start4.elf", "overlays/a.dtbo", "vmlinuz", "config.txt", "cmdline.txt", "user-data", "plain.bin", "firmware/start4.elf", "kernels/vmlinuz", "images/firmware/start4.elf", "images/kernels/vmlinuz", "Images/Kernels/VMLINUZ", "images//kernels//vmlinuz",
		"images/pub/../kernels/vmlinuz", "images/pub%2f..%2fkernels/vmlinuz", "../kernels/vmlinuz", "..%2fkernels%2fvmlinuz", "images/kernels%2fvmlinuz", "images%2fkernels%2fvmlinuz", "boot//images/kernels/vmlinuz", "boot/x/images/kernels/vmlinuz", "image:kernels/vmlinuz",
		"/", "//", " ", "%", "%%", "%2", "%zz", "%00", "%ff", "\x01", "\x7f", "\xff", "\xfe\xff", "\xed\xa0\x80", "\xf5\x80\x80\x80", "*", "?", "[", "[a-z]*", "{a,b}", "-", "--help", "CON", "NUL", "aux.txt", "x:y", "x::$DATA", "secret.txt::$DATA",
		strings.Repeat("/", 400)+rel, strings.Repeat("a/", 200)+rel, strings.Repeat("../", 140)+rel, strings.Repeat("A", 600), strings.Repeat("%41", 300), strings.Repeat("\xff", 300), strings.Repeat("/x", 250), strings.Repeat("%2e%2e%2f", 100)+rel,
	)
}

// encode writes every byte as a percent escape, once or twice.
func encode(s string, times int) string {
	for range times {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, "%%%02x", s[i])
		}
		s = b.String()
	}
	return s
}

// prober asks from one host, and looks for what must not be in any answer.
type prober struct {
	name     string
	ns       *nettest.NS
	from     string
	prefixes []string
	secrets  [][]byte

	mu     sync.Mutex
	asked  int
	served int
	wrong  []string
}

func (p *prober) bad(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrong = append(p.wrong, fmt.Sprintf(format, args...))
}

// look judges one answer.
func (p *prober) look(via, name string, body []byte, served bool) {
	p.mu.Lock()
	p.asked++
	if served {
		p.served++
	}
	p.mu.Unlock()
	for _, s := range p.secrets {
		if bytes.Contains(body, s) {
			p.bad("%s over %s: %.120q is answered with %.40q", p.name, via, name, s)
		}
	}
}

// tftp sends one read request and judges the first packet of the answer.
func (p *prober) tftp(name string) {
	c, err := p.ns.ListenPacket("udp4", p.from+":0")
	if err != nil {
		p.bad("%v", err)
		return
	}
	defer c.Close()
	request := []byte("\x00\x01" + name + "\x00octet\x00")
	to := &net.UDPAddr{IP: net.ParseIP(serverAddr), Port: 69}
	b := make([]byte, 2000)
	for range 3 {
		if _, err := c.WriteTo(request, to); err != nil {
			p.bad("%s: %v", p.name, err)
			return
		}
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, from, err := c.ReadFrom(b)
		if err != nil {
			continue
		}
		p.look("TFTP", name, b[:n], b[1] == 3)
		switch {
		case b[1] == 3:
			c.WriteTo([]byte("\x00\x05\x00\x00enough\x00"), from)
		case b[1] != 5 || b[3] == 0:
			p.bad("%s over TFTP: %.120q is answered with %.80q", p.name, name, b[:n])
		}
		return
	}
	p.bad("%s over TFTP: %.120q is not answered", p.name, name)
}

// web is one connection that is kept as long as the server keeps it.
type web struct {
	p *prober
	c net.Conn
	r *bufio.Reader
}

func (w *web) close() {
	if w.c != nil {
		w.c.Close()
		w.c = nil
	}
}

// get sends a request line as it is and judges the answer.
func (w *web) get(method, target string) {
	p := w.p
	var err error
	for range 2 {
		kept := w.c != nil
		if !kept {
			if err = p.ns.Do(func() (err error) {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(p.from)}, Timeout: 5 * time.Second}
				w.c, err = d.Dial("tcp", serverAddr+":80")
				return err
			}); err != nil {
				break
			}
			w.r = bufio.NewReader(w.c)
		}
		w.c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = fmt.Fprintf(w.c, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: UefiHttpBoot/1.0\r\n\r\n", method, target, serverAddr)
		var resp *http.Response
		if err == nil {
			resp, err = http.ReadResponse(w.r, &http.Request{Method: method})
		}
		var body []byte
		if err == nil {
			body, err = io.ReadAll(resp.Body)
		}
		if err != nil {
			w.close()
			if kept {
				continue // the server had closed it
			}
			break
		}
		if resp.Close {
			w.close()
		}
		p.look("HTTP", target, append(fmt.Appendf(nil, "%v\n", resp.Header), body...), resp.StatusCode < 300)
		if resp.StatusCode >= 500 || resp.StatusCode/100 == 3 {
			p.bad("%s over HTTP: %s %.120q is answered with %s", p.name, method, target, resp.Status)
		}
		return
	}
	p.bad("%s over HTTP: %s %.120q: %v", p.name, method, target, err)
}

// line reports that a text can stand in a request line without ending it.
func line(s string) bool { return !strings.ContainsAny(s, "\r\n") && s != "" }

// run asks for all names, over both protocols.
func (p *prober) run(targets ...string) {
	names := make(chan string)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			w := &web{p: p}
			defer w.close()
			for name := range names {
				p.tftp(name)
				if line(name) {
					w.get("GET", "/"+name)
				}
				w.get("GET", "/"+encode(name, 1))
				w.get("GET", "/"+encode(name, 2))
				w.get("GET", "/"+(&url.URL{Path: name}).EscapedPath())
			}
		})
	}
	for i, t := range targets {
		for _, name := range hostile(t) {
			for j, prefix := range p.prefixes {
				if i == 0 || j == 0 {
					names <- prefix + name
				}
			}
		}
	}
	close(names)
	wg.Wait()

	// Request lines that are no path at all.
	w := &web{p: p}
	defer w.close()
	for _, t := range targets {
		for _, target := range []string{t, "file://" + t, "http://" + serverAddr + t, "http://" + serverAddr + "/../.." + t, "//" + serverAddr + t, "tftp://x" + t, "../.." + t, "..", "*", "x", "C:" + t, `\..\..` + t,
			"/" + strings.Repeat("A", 20_000), "/?" + strings.Repeat("../", 4000), "/" + strings.Repeat("%2e%2e/", 2000) + t, "/x?a=" + strings.Repeat("b&", 5000)} {
			for _, m := range []string{"GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT", "PROPFIND", "get"} {
				w.get(m, target)
			}
		}
	}
}

// plant puts links that lead outside into a folder.
func plant(t *testing.T, dir, outside string) {
	t.Helper()
	up, err := filepath.Rel(dir, outside)
	must(t, err)
	for name, to := range map[string]string{"secret.txt": filepath.Join(outside, "secret.txt"), "relative.txt": filepath.Join(up, "secret.txt"), "dir": outside, "reldir": up} {
		must(t, os.Symlink(to, filepath.Join(dir, name)))
	}
}

// folderOf makes a folder of files.
func folderOf(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

var bootPath = regexp.MustCompile(`/?boot/[A-Za-z0-9_.~-]+/`)

// TestNothingClimbsOut: no name, however written and whoever asks, gets bytes from
// outside; none brings the daemon down.
func TestNothingClimbsOut(t *testing.T) {
	nettest.Need(t, "xorriso")
	r := newRig(t)
	outside := t.TempDir()
	secret := []byte("outside-" + rand.Text() + rand.Text())
	must(t, os.WriteFile(filepath.Join(outside, "secret.txt"), secret, 0o644))
	settings := []byte("settings-" + rand.Text()) // of template.toml and muster.toml, which nobody reads
	private := []byte("private-" + rand.Text())   // of what only approved machines read
	passwd, err := os.ReadFile("/etc/passwd")
	must(t, err)
	passwd, _, _ = bytes.Cut(passwd, []byte("\n"))

	// The operator's own link to a loader is his to make.
	loaders := filepath.Join(r.data, "loaders")
	must(t, os.MkdirAll(loaders, 0o755))
	good := "a loader kept elsewhere"
	must(t, os.WriteFile(filepath.Join(outside, "snponly.efi"), []byte(good), 0o644))
	must(t, os.Symlink(filepath.Join(outside, "snponly.efi"), filepath.Join(loaders, "snponly.efi")))
	plant(t, loaders, outside)
	plant(t, r.data, outside)
	r.serveConfig("# " + string(settings) + "\n" + piNetwork + "[boot]\nbind_tokens = false\n") // one host asks for all of them

	// Imports that refuse links refuse these; afterwards they are put there by
	// hand.
	importing := func(name string, files map[string]string, flags ...string) {
		t.Helper()
		dir := folderOf(t, files)
		for _, link := range []string{filepath.Join(outside, "secret.txt"), outside} {
			must(t, os.Symlink(link, filepath.Join(dir, "link")))
			r.fails(append([]string{"image", "import", name, dir}, flags...)...)
			must(t, os.Remove(filepath.Join(dir, "link")))
		}
		r.muster(append([]string{"image", "import", name, dir}, flags...)...)
		plant(t, dir, outside)
	}
	importing("pub", map[string]string{"good.bin": "public", "one.bin": "to be replaced"}, "--public")
	importing("firmware", map[string]string{"start4.elf": string(private), "overlays/a.dtbo": string(private) + "a"})
	importing("kernels", map[string]string{"vmlinuz": string(private) + "k"})
	push := func(files map[string]string) {
		t.Helper()
		dir := folderOf(t, files)
		must(t, os.Symlink(outside, filepath.Join(dir, "dir")))
		r.fails("template", "push", dir)
		must(t, os.Remove(filepath.Join(dir, "dir")))
		r.muster("template", "push", dir)
		plant(t, dir, outside)
	}
	push(map[string]string{"template.toml": "# " + string(settings) + "\nname = \"kiosk\"\nauto_approve = true\n[match]\nserial = [\"a1*\"]\n[boot]\nfirmware = \"image:firmware\"\n",
		"config.txt": "# " + string(private) + " {{ .Serial }}", "cmdline.txt": string(private)})
	push(map[string]string{"template.toml": "# " + string(settings) + "\nname = \"linux\"\nauto_approve = true\n[match]\nmac = [\"52:54:00:*\"]\n[boot]\nkernel = \"image:kernels/vmlinuz\"\ncmdline = \"quiet\"\n",
		"user-data": "#cloud-config\n# " + string(private) + " {{ .Name }}", "plain.bin": string(private)})

	pi := folderOf(t, map[string]string{"start4.elf": "x"})
	must(t, os.Symlink(filepath.Join(outside, "secret.txt"), filepath.Join(pi, "cmdline.txt")))
	r.fails("template", "import-dir", "leak", pi)

	// A disc whose own links lead out of it.
	tree := folderOf(t, map[string]string{"good.bin": "on the disc"})
	plant(t, tree, outside)
	must(t, os.Symlink(strings.Repeat("../", 20)+strings.TrimPrefix(outside, "/")+"/secret.txt", filepath.Join(tree, "rel")))
	iso := filepath.Join(t.TempDir(), "disc.iso")
	if out, err := exec.Command("xorriso", "-as", "mkisofs", "-R", "-J", "-V", "DISC", "-o", iso, tree).CombinedOutput(); err != nil {
		t.Fatalf("xorriso: %v\n%s", err, out)
	}
	r.muster("image", "import", "disc", iso, "--public")

	// In the store, as if somebody had been at it. One file gets a folder of
	// its own, for that folder is moved away at the end.
	store := filepath.Join(r.data, "files")
	lone := "to be moved"
	for {
		if _, err := os.Stat(filepath.Join(store, fmt.Sprintf("%x", sha256.Sum256([]byte(lone)))[:2])); err != nil {
			break
		}
		lone += "."
	}
	importing("moved", map[string]string{"two.bin": lone}, "--public")
	must(t, os.MkdirAll(filepath.Join(store, "aa"), 0o755))
	plant(t, filepath.Join(store, "aa"), outside)
	must(t, os.Symlink(outside, filepath.Join(store, "link")))
	must(t, os.Symlink(filepath.Join(outside, "secret.txt"), filepath.Join(store, "aa", "link")))

	stranger := &prober{name: "a stranger", ns: r.host("stranger", "10.77.0.30/24"), from: "10.77.0.30", secrets: [][]byte{secret, passwd, settings, private},
		prefixes: []string{"", "images/pub/", "images/disc/tree/", "images/firmware/", "deadbeef/", "02-00-00-00-00-99/", "boot/AAAAAAAAAAAAAAAA/", "loaders/", "images/"}}
	cli := r.host("cli", "")
	c := newCrowd(t, cli)
	p := newPi(pis[1], cli, c, "a1", 200)
	must(t, p.lease(r.ctx))
	if b, err := p.read(p.folder+"cmdline.txt", false); err != nil || !bytes.Equal(b, private) {
		t.Fatalf("an approved Pi gets %q, %v", b, err)
	}
	board := &prober{name: "a Pi", ns: cli, from: p.addr.String(), secrets: [][]byte{secret, passwd, settings},
		prefixes: []string{p.folder, "", strings.ReplaceAll(p.mac.String(), ":", "-") + "/", p.folder + "overlays/", "images/firmware/", p.folder + "images/firmware/"}}

	// A machine with a boot path of its own.
	mac := net.HardwareAddr{0x52, 0x54, 0, 0xaa, 0xbb, 1}
	ch, leave := c.hear(mac)
	defer leave()
	var file string
	var addr net.IP
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest} {
		m, err := dhcpv4.New(dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(kind), dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003000")),
			dhcpv4.WithGeneric(dhcpv4.OptionClientSystemArchitectureType, []byte{0, 7}), dhcpv4.WithRequestedOptions(dhcpv4.OptionBootfileName))
		must(t, err)
		if kind == dhcpv4.MessageTypeRequest {
			m.UpdateOption(dhcpv4.OptRequestedIPAddress(addr))
			m.UpdateOption(dhcpv4.OptServerIdentifier(net.ParseIP(serverAddr)))
		}
		answer, err := c.ask(r.ctx, m, ch)
		must(t, err)
		file, addr = answer.BootFileName, answer.YourIPAddr
	}
	path := "/" + strings.TrimPrefix(bootPath.FindString(file), "/")
	fetch := func(ns *nettest.NS, target string) (string, int) {
		t.Helper()
		tr := &http.Transport{DialContext: ns.Dial, DisableKeepAlives: true}
		resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Get("http://" + serverAddr + target)
		must(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		must(t, err)
		return string(b), resp.StatusCode
	}
	script, _ := fetch(cli, path+"boot.ipxe?mac="+mac.String()+"&uuid="+guestUUID+"&serial=X1&arch=x86_64&platform=efi")
	own := strings.TrimPrefix(bootPath.FindString(script), "/")
	if b, code := fetch(cli, "/"+own+"plain.bin"); code != 200 || b != string(private) {
		t.Fatalf("an approved machine gets %d %q with the script\n%s", code, b, script)
	}
	machine := &prober{name: "a machine", ns: cli, from: p.addr.String(), secrets: [][]byte{secret, passwd, settings},
		prefixes: []string{own, own + "images/kernels/", own + "images/disc/tree/", own + "images/", strings.TrimPrefix(path, "/")}}

	start := time.Now()
	var asked, served int
	for _, p := range []*prober{stranger, board, machine} {
		p.run(filepath.Join(outside, "secret.txt"), filepath.Join(r.data, "muster.db"), "/etc/passwd")
		for i, s := range p.wrong {
			if i == 20 {
				t.Errorf("%s: and %d more", p.name, len(p.wrong)-i)
				break
			}
			t.Error(s)
		}
		t.Logf("%s: %d requests, %d of them served", p.name, p.asked, p.served)
		asked, served = asked+p.asked, served+p.served
	}
	t.Logf("%d hostile requests in %s", asked, time.Since(start).Round(time.Second/10))
	if served == 0 {
		t.Error("nothing at all was served: the names that mean a good file in disguise are no test")
	}

	// It lives and serves.
	if said := r.out.String(); strings.Contains(said, "panic") || strings.Contains(said, "could not be made") {
		t.Errorf("the log tells of trouble")
	}
	alive := func() {
		t.Helper()
		select {
		case <-r.done:
			t.Fatal("muster has ended")
		default:
		}
		r.status()
		if b, code := fetch(stranger.ns, "/images/pub/good.bin"); code != 200 || b != "public" {
			t.Errorf("a good file: %d %q", code, b)
		}
		if b, code := fetch(stranger.ns, "/images/disc/tree/good.bin"); code != 200 || b != "on the disc" {
			t.Errorf("a good file of a disc: %d %q", code, b)
		}
		if b, code := fetch(stranger.ns, "/snponly.efi"); code != 200 || b != good {
			t.Errorf("a loader: %d %q", code, b)
		}
		if b, err := p.read(p.folder+"start4.elf", false); err != nil || string(b) != string(private) {
			t.Errorf("a Pi's file: %q, %v", b, err)
		}
	}
	alive()

	// A stored file that somebody replaced with a link is an error to whoever
	// asks for it, and not what the link leads to.
	for i, name := range []string{"pub/one.bin", "moved/two.bin"} {
		image, file, _ := strings.Cut(name, "/")
		var img imported
		r.json(&img, "image", "show", image)
		d := img.Files[file].Digest
		at := filepath.Join(store, d[:2], d)
		if i == 0 {
			up, err := filepath.Rel(filepath.Dir(at), filepath.Join(outside, "secret.txt"))
			must(t, err)
			must(t, os.Remove(at))
			must(t, os.Symlink(up, at))
		} else {
			// The whole folder lies outside, with a file of that digest in it.
			must(t, os.Rename(filepath.Dir(at), filepath.Join(outside, "moved")))
			must(t, os.WriteFile(filepath.Join(outside, "moved", d), secret, 0o644))
			must(t, os.Symlink(filepath.Join(outside, "moved"), filepath.Dir(at)))
		}
		if b, code := fetch(stranger.ns, "/images/"+name); code < 400 || strings.Contains(b, string(secret)) {
			t.Errorf("%s, replaced with a link: %d %q", name, code, b)
		}
		var no *refusal
		if b, err := p.read("images/"+name, false); !errors.As(err, &no) {
			t.Errorf("%s, replaced with a link, over TFTP: %q, %v", name, b, err)
		}
	}
	alive()
}
