// page_test.go: the page in a real browser.

package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/musterboot/muster/internal/nettest"
)

// browser is Chromium, outside of the lab: what it asks on loopback goes to the appliance's
// own loopback.
type browser struct {
	r     *rig
	ctx   context.Context
	at    string
	mu    sync.Mutex
	rules string   // axe-core
	said  []string // by the console: scripts that failed, and what the policy refused
}

func (r *rig) browser() *browser {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(r.t, err)
	r.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				up, err := r.srv.Dial(r.ctx, "tcp", "127.0.0.1:8067")
				if err != nil {
					return
				}
				defer up.Close()
				go func() { _, _ = io.Copy(up, c); up.Close() }()
				_, _ = io.Copy(c, up)
			}()
		}
	}()
	profile, err := os.MkdirTemp("", "browser")
	must(r.t, err)
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(profile), chromedp.WSURLReadTimeout(2*time.Minute),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-dev-shm-usage", true))
	alloc, done := chromedp.NewExecAllocator(r.ctx, opts...)
	r.t.Cleanup(done)
	ctx, _ := chromedp.NewContext(alloc)
	r.t.Cleanup(func() { _ = chromedp.Cancel(ctx); os.RemoveAll(profile) }) // which the browser writes to until it has gone
	b := &browser{r: r, ctx: ctx, at: "http://" + l.Addr().String()}
	chromedp.ListenTarget(ctx, func(ev any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			b.said = append(b.said, e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError && e.Entry.Source != log.SourceNetwork {
				b.said = append(b.said, e.Entry.Text)
			}
		}
	})
	must(r.t, chromedp.Run(ctx, log.Enable(), runtime.Enable())) // the browser lives as long as the context of its first order
	return b
}

func (b *browser) do(actions ...chromedp.Action) {
	b.r.t.Helper()
	ctx, end := context.WithTimeout(b.ctx, 2*time.Minute)
	defer end()
	if err := chromedp.Run(ctx, actions...); err != nil {
		b.r.t.Fatalf("the browser: %v", err)
	}
}

func (b *browser) open(path string) { b.r.t.Helper(); b.do(chromedp.Navigate(b.at + path)) }

// text is what a person reads on the page.
func (b *browser) text() (s string) {
	b.r.t.Helper()
	b.do(chromedp.Evaluate(`document.body ? document.body.innerText : ""`, &s))
	return s
}

// shows waits until the page says something by itself.
func (b *browser) shows(limit time.Duration, words ...string) {
	b.r.t.Helper()
	b.r.wait(fmt.Sprintf("the page to say %q", words), limit, func() error {
		s := b.text()
		for _, w := range words {
			if !strings.Contains(s, w) {
				return fmt.Errorf("it says %s", s)
			}
		}
		return nil
	})
}

// TestPage: a person signs in, sees a machine appear at the door while they look, lets it
// in with a click, and watches it boot; a page that is open through a restart catches up;
// and every page holds at every width, in light and dark, with hostile names in it.
func TestPage(t *testing.T) {
	nettest.Need(t, "chromium")
	r := newRig(t)
	config := filepath.Join(t.TempDir(), "muster.toml")
	must(t, os.WriteFile(config, []byte("[[network]]\nname=\"lab\"\ninterface=\"eth0\"\nmode=\"full\"\nrange=\"10.77.0.10-10.77.0.250\"\n[enroll]\npolicy=\"approve\"\n"), 0o644))
	r.serve("--config", config)
	kernel, initrd, cmdline := r.kernelFor(nettest.BIOS)
	r.pushLinux("linux", "[match]\narch = [\"bios\"]\n", kernel, initrd, cmdline)
	r.pushLinux("linux", "[match]\narch = [\"bios\"]\n", kernel, initrd, cmdline+" second=version")
	password := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(password, []byte("correct horse\n"), 0o600))
	r.muster("user", "add", "ann", "--role", "admin", "--password-file", password)
	var eve struct{ Link, URL string }
	r.json(&eve, "user", "add", "eve", "--role", "read")
	if eve.URL != "http://127.0.0.1:8067"+eve.Link {
		t.Errorf("she is told to go to %s", eve.URL)
	}
	const hostile = `"><img src=x onerror=alert(1)><script>alert(2)</script>`
	r.muster("host", "add", "evil", "--mac", "52:54:00:00:00:66", "--serial", hostile)
	b := r.browser()
	signIn := func(name, password string) {
		t.Helper()
		b.do(chromedp.SetValue(`input[name=name]`, name), chromedp.SetValue(`input[name=password]`, password), chromedp.Click(`form.login button`))
	}

	b.open("/hosts?q=state:pending")
	b.shows(time.Minute, "Sign in")
	signIn("ann", "wrong")
	b.shows(time.Minute, "password")
	signIn("ann", "correct horse")
	b.shows(time.Minute, "Hosts", "evil", hostile) // where they were going, and the name as text

	// A machine appears while the page is open, and is let in by a click.
	b.open("/inbox")
	b.shows(time.Minute, "evil")
	vm := r.boot(guest(nettest.BIOS))
	b.shows(2*time.Minute, guestSerial)
	name := r.show(guestMAC).Name
	b.do(chromedp.Click(fmt.Sprintf(`button[formaction="/hosts/%s/approve"]`, name)))
	b.shows(time.Minute, "Approved.")
	b.open("/")
	b.shows(time.Minute, "Moving", name)
	b.open("/hosts/" + name)
	b.shows(3*time.Minute, "running", "boot.report")
	r.reported(vm)

	// A plan: what it would do is shown, and it does that.
	b.open("/hosts?q=name:evil")
	b.do(chromedp.Click(`input[name=name][value=evil]`), chromedp.SetValue(`select[name=action]`, "deny"), chromedp.Click(`.bulk button`))
	b.shows(time.Minute, "deny 1 machine", "evil")
	b.do(chromedp.Click(`main form button`))
	b.shows(time.Minute, "Changed.")
	if s := r.show("evil").State; s != "denied" {
		t.Errorf("evil is %s", s)
	}

	// Two people, one host: the second is told, and nothing is done.
	b.open("/hosts/evil")
	r.muster("host", "set", "evil", "--tag", "seen")
	b.do(chromedp.Evaluate(`document.querySelector('main input[name=tag]').value = '"1.1"'`, nil), chromedp.Click(`button[formaction="/hosts/evil/approve"]`))
	b.shows(time.Minute, "changed")
	if s := r.show("evil").State; s != "denied" {
		t.Errorf("evil is %s", s)
	}

	// A page that is open through a restart says so, and catches up.
	b.open("/events")
	b.shows(time.Minute, "host.approved")
	r.stop(true)
	b.shows(time.Minute, "Not live since")
	r.serve("--config", config)
	r.muster("host", "add", "afterwards", "--mac", "52:54:00:00:00:77")
	b.shows(time.Minute, "afterwards")
	r.wait("the page to be live again", time.Minute, func() error {
		if s := b.text(); strings.Contains(s, "Not live") {
			return fmt.Errorf("it says %s", s)
		}
		return nil
	})

	b.open("/templates/linux?version=2")
	b.shows(time.Minute, "From version 1 to 2", "second=version")

	// What a version would change is seen before it is put in force, and after the newest.
	b.open("/templates/linux?version=1&preview=1")
	b.shows(time.Minute, "What version 1 would change", "Of 1 machine", name)
	b.do(chromedp.Click(`section.card form button`))
	b.shows(time.Minute, "Changed.", "yes, pinned")
	if s := r.inForce("linux"); s != 1 {
		t.Errorf("version %d is in force", s)
	}
	b.do(chromedp.Click(`form[action="/templates/linux/pin"] button`))
	b.shows(time.Minute, "Changed.")
	r.wait("the newest to be in force", time.Minute, func() error {
		if s := r.inForce("linux"); s != 2 {
			return fmt.Errorf("version %d is in force", s)
		}
		return nil
	})

	// Five hundred machines that wait: one of them first, then the rest.
	csv := "mac,name\n"
	for i := range 500 {
		csv += fmt.Sprintf("52:54:00:01:%02x:%02x,many%d\n", i>>8, i&0xff, i)
	}
	many := filepath.Join(t.TempDir(), "many.csv")
	must(t, os.WriteFile(many, []byte(csv), 0o600))
	r.muster("host", "import", many)
	order := func(share, want string) {
		t.Helper()
		b.open("/inbox")
		b.do(chromedp.Click(`a[href="/hosts?q=state:pending"]`))
		b.shows(time.Minute, "that match")
		b.do(chromedp.Click(`input[name=all][value="1"]`), chromedp.SetValue(`select[name=action]`, "approve"), chromedp.SetValue(`select[name=share]`, share), chromedp.Click(`.bulk button`))
		b.shows(time.Minute, want)
		b.do(chromedp.Click(`main form button`))
		b.shows(time.Minute, "Changed.")
	}
	order("1", "approve 1 machine")
	order("", "approve 500 machines") // one more has waited before them
	var in []host
	if r.json(&in, "host", "list", "--match", "name:many* state:approved"); len(in) != 500 {
		t.Errorf("%d are let in", len(in))
	}

	// A filter that is kept is there on the next visit.
	b.open("/hosts?q=tag:seen")
	b.do(chromedp.Click(`#kept button`))
	b.open("/hosts")
	b.shows(time.Minute, "tag:seen")
	b.do(chromedp.Click(`#kept a`))
	b.shows(time.Minute, "evil", "Forget this filter")

	shots := os.Getenv("MUSTER_SHOTS")
	if shots == "" {
		shots = t.TempDir()
	}
	everyWay := func(paths ...string) {
		t.Helper()
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{1280, 360} {
				b.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}), chromedp.EmulateViewport(width, 800))
				for _, path := range paths {
					b.open(path)
					var wide int64
					var png []byte
					var bad []string
					b.do(chromedp.Evaluate(`document.documentElement.scrollWidth`, &wide), chromedp.Evaluate(faults, &bad), chromedp.FullScreenshot(&png, 100))
					if path == eve.Link {
						path = "/join" // the rest is her secret
					}
					for _, f := range append(bad, b.axe()...) {
						t.Errorf("%s at %d, %s: %s", path, width, scheme, f)
					}
					if wide > width {
						t.Errorf("%s at %d: scrolls sideways to %d", path, width, wide)
					}
					file := strings.NewReplacer("/", "_", "?", "_", "=", "_", ":", "_").Replace(path)
					must(t, os.WriteFile(filepath.Join(shots, fmt.Sprintf("%s-%d%s.png", scheme, width, file)), png, 0o644))
				}
			}
		}
	}
	everyWay("/", "/inbox", "/hosts", "/hosts/"+name, "/templates", "/templates/linux", "/templates/linux?version=2&preview=2", "/hosts?q=tag:seen", "/images", "/networks", "/events", "/events?audit=1", "/settings", "/api", "/hosts/nobody", "/hosts?q=nothing:x")

	// Who may only look is shown no order, and the port takes none from them.
	b.open("/")
	b.do(chromedp.Click(`form.me button`))
	b.shows(time.Minute, "Sign in")
	everyWay("/login", eve.Link)
	b.do(chromedp.SetValue(`input[name=password]`, "her own words"), chromedp.SetValue(`input[name=again]`, "her own wards"), chromedp.Click(`form.login button`))
	b.shows(time.Minute, "not the same")
	b.do(chromedp.SetValue(`input[name=password]`, "her own words"), chromedp.SetValue(`input[name=again]`, "her own words"), chromedp.Click(`form.login button`))
	b.shows(time.Minute, "Now")
	b.open("/hosts/evil")
	b.shows(time.Minute, "Orders want the role operate")
	b.open("/events?audit=1")
	if s := b.text(); strings.Contains(s, "user.added") {
		t.Errorf("who may only look reads the audit trail: %s", s)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.said {
		t.Errorf("the console says: %s", s)
	}
}

// axe is what axe-core says is wrong with the page, by the rules of WCAG 2.2 AA.
func (b *browser) axe() (bad []string) {
	b.r.t.Helper()
	if b.rules == "" {
		s, err := os.ReadFile(nettest.Cached(b.r.t, "axe/package/axe.min.js"))
		must(b.r.t, err)
		b.rules = string(s)
	}
	b.do(chromedp.Evaluate(b.rules, nil), chromedp.Evaluate(`axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }).then((r) => {
		if (r.passes.length === 0) return ["no rule was looked at"];
		return r.violations.map((v) => v.id + ": " + v.help + ": " + v.nodes.map((n) => n.html.slice(0, 120)).join(" | "));
	})`, &bad, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	return bad
}

// inForce is the version of a template that is in force.
func (r *rig) inForce(name string) int {
	r.t.Helper()
	var vs []struct {
		Version int
		InForce bool `json:"in_force"`
	}
	r.json(&vs, "template", "history", name)
	for _, v := range vs {
		if v.InForce {
			return v.Version
		}
	}
	return 0
}

// faults looks for what keeps people out: a control without a name, a picture without words,
// a target too small to hit, text too faint to read, headings that skip, an id twice.
const faults = `(() => {
	const bad = [];
	const say = (x, why) => bad.push(why + ": " + x.outerHTML.slice(0, 120));
	const seen = (x) => x.checkVisibility() && !x.closest(".unseen") && !x.closest("thead");
	for (const x of document.querySelectorAll("input:not([type=hidden]), select, button, a[href]")) {
		const name = (x.getAttribute("aria-label") || x.textContent || [...(x.labels || [])].map((l) => l.textContent).join("")).trim();
		if (!name) say(x, "no name");
		const r = x.getBoundingClientRect();
		if (seen(x) && !x.matches("a, .skip") && (r.width < 24 || r.height < 24)) say(x, "smaller than 24 px");
	}
	for (const x of document.querySelectorAll("img")) if (!x.hasAttribute("alt")) say(x, "no alt");
	for (const x of document.querySelectorAll("svg")) if (!x.getAttribute("aria-label")) say(x, "no label");
	let level = 0;
	for (const x of document.querySelectorAll("h1, h2, h3")) { const n = +x.tagName[1]; if (n > level + 1) say(x, "skips a heading"); level = n; }
	if (document.querySelectorAll("h1").length !== 1) bad.push("not one h1");
	const ids = new Set();
	for (const x of document.querySelectorAll("[id]")) { if (ids.has(x.id)) say(x, "an id twice"); ids.add(x.id); }
	if (!document.documentElement.lang || !document.title) bad.push("no language or title");
	const light = (c) => { const v = c.map((n) => { n /= 255; return n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4; }); return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
	const rgb = (s) => { const m = s.match(/[\d.]+/g).map(Number); return m.length > 3 && m[3] === 0 ? null : m.slice(0, 3); };
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n; (n = texts.nextNode()); ) {
		const x = n.parentElement;
		if (!n.textContent.trim() || !seen(x) || x.matches("script, style, option")) continue;
		let back = null;
		for (let p = x; p && !back; p = p.parentElement) back = rgb(getComputedStyle(p).backgroundColor);
		const a = light(rgb(getComputedStyle(x).color)), b = light(back || [255, 255, 255]);
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) say(x, "contrast " + ratio.toFixed(1));
	}
	return bad;
})()`
