package simclient

// This file is shim and GRUB: the names that signed builds ask for, and an
// interpreter of what boot servers write into grub.cfg.

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of what a configuration may do.
const (
	maxGRUBSteps = 5000
	maxGRUBDepth = 32
)

// shim asks for its own updates first, and then for GRUB, all beside itself.
func (r *run) shim(ctx context.Context, f *loaded) error {
	arch := "x64"
	if r.m.Kind.cpu == "arm64" {
		arch = "aa64"
	}
	m := r.grubManner()
	m.blksize = 512
	for _, name := range []string{"revocations_sku.efi", "revocations_sbat.efi", "shim_certificate_0.efi"} { // shim 16
		if _, err := r.fetch(ctx, "shim", resolve(f.uri, name), m); err != nil && ctx.Err() != nil {
			return err
		}
	}
	m.quiet = false
	g, err := r.fetch(ctx, "loader", resolve(f.uri, "grub"+arch+".efi"), m)
	if err != nil {
		return err
	}
	return r.grub(ctx, g)
}

func (r *run) grubManner() manner {
	return manner{agent: "GRUB 2.06", blksize: 1024, probe: true, quiet: true}
}

// grub is the machine as GRUB: it tells nobody who it is, so a server knows it by
// the address that it asks from, which must be the leased one.
func (r *run) grub(ctx context.Context, f *loaded) error {
	if r.src != r.l.addr && !r.addr.relay.IsValid() {
		src, back, err := r.addr.source(r.l, true)
		if err != nil {
			return r.fail("address", err)
		}
		r.backs = append(r.backs, back)
		r.lent(src, r.l)
		r.step(Step{Name: "address", Verdict: OK, Text: fmt.Sprintf("a server knows GRUB by its address: files are fetched from %s, added to %s for the run", src, r.h.dev)})
		r.src = src
		for _, w := range r.webs {
			w.close()
		}
		clear(r.webs)
	}
	u, err := url.Parse(f.uri)
	if err != nil {
		return err
	}
	dir, _ := path.Split(u.Path)
	m := r.grubManner()
	g := newGRUB(ctx, r.m, u, func(step, uri string) (*loaded, error) { return r.fetch(ctx, step, uri, m) })
	g.vars["net_default_ip"] = r.l.addr.String()
	g.sleep = func(d time.Duration) { (&ipxeWorld{r: r}).pause(ctx, d) }
	g.failed = r.fail
	root, cpu := g.vars["root"], g.vars["grub_cpu"]
	for _, n := range []string{"command", "fs", "crypto", "terminal"} {
		g.open("modules", "("+root+")/grub/"+cpu+"-efi/"+n+".lst")
		if ctx.Err() != nil {
			return r.over(ctx)
		}
	}
	var text *loaded
	names := []string{"/grub/grub.cfg", path.Join("/", dir, "grub.cfg"), "/EFI/BOOT/grub.cfg", "/boot/grub/grub.cfg", "/EFI/redhat/grub.cfg"}
	for _, n := range names {
		if text, err = g.open("config", "("+root+")"+n); err == nil {
			g.visited["("+root+")"+n] = true
			break
		}
		if !refusedThere(err) {
			return r.fail("config", explained(err, n))
		}
	}
	if err != nil {
		return r.fail("config", fault("put GRUB's configuration there, or serve it by the machine's address", "there is no grub.cfg under %s", strings.Join(names, ", ")))
	}
	err = g.run(text)
	r.t.Says = append(r.t.Says, g.said...)
	if b, ok := err.(*booting); ok {
		return r.kernel(ctx, r.m.Kind, b.plan)
	}
	return err
}

// run interprets a configuration up to an end: *booting, *stop, or that of ctx.
func (g *grub) run(f *loaded) error {
	err := g.source(f)
	var b *booting
	var e *stop
	switch {
	case errors.As(err, &b):
		return b
	case errors.As(err, &e), g.ctx.Err() != nil:
		return err
	case len(g.entries) > 0:
		return g.menu()
	case g.failure != nil:
		return g.failure
	}
	return &stop{Broken, "grub.cfg ended without booting anything: GRUB shows its prompt", ""}
}

// refusedThere tells a file that is not there from a server that is not.
func refusedThere(err error) bool {
	var t *tftpRefusal
	var h *httpError
	return errors.As(err, &t) || errors.As(err, &h)
}

// grub interprets configurations of one machine.
type grub struct {
	ctx    context.Context
	m      *Machine
	load   func(step, uri string) (*loaded, error)
	sleep  func(time.Duration)
	failed func(step string, err error) error

	vars    map[string]string
	said    []string
	visited map[string]bool
	pauses  int
	steps   int
	depth   int
	failure error

	kernel  *image
	chained string
	initrds []*image
	entries []*grubNode
}

// newGRUB makes one that was loaded from from.
func newGRUB(ctx context.Context, m *Machine, from *url.URL, load func(step, uri string) (*loaded, error)) *grub {
	g := &grub{ctx: ctx, m: m, load: load, sleep: func(time.Duration) {}, failed: func(_ string, err error) error { return err }, visited: map[string]bool{}}
	root := from.Scheme + "," + from.Host
	g.vars = map[string]string{"root": root, "prefix": "(" + root + ")/grub", "grub_cpu": m.Kind.cpu, "grub_platform": "efi", "net_default_mac": m.MAC.String(), "net_default_server": from.Hostname(), "default": "0"}
	return g
}

// target is a GRUB path as a URL, or on a disk.
func (g *grub) target(name string) (uri string, disk bool) {
	dev, file := g.vars["root"], name
	if strings.HasPrefix(name, "(") {
		dev, file, _ = strings.Cut(name[1:], ")")
	}
	proto, host, _ := strings.Cut(dev, ",")
	if proto == "pxe" {
		proto = "tftp"
	}
	if host == "" {
		host = g.vars["net_default_server"]
	}
	if proto != "tftp" && proto != "http" {
		return "", true
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if proto == "tftp" {
		return "tftp://" + host + "/" + file, false
	}
	return "http://" + host + "/" + strings.TrimLeft(file, "/"), false
}

func (g *grub) open(step, name string) (*loaded, error) {
	uri, disk := g.target(name)
	if disk {
		return nil, fmt.Errorf("%s is on a disk", shown(name))
	}
	f, err := g.load(step, uri)
	if err == nil && step != "config" {
		f.head = nil // many machines need not keep many kernels
	}
	return f, err
}

func (g *grub) source(f *loaded) error {
	if f.bytes != int64(len(f.head)) {
		return fault("", "%s is no text", shown(short(f.uri)))
	}
	nodes, err := parseGRUB(string(f.head))
	if err != nil {
		return fault("", "%s: %v", shown(short(f.uri)), err)
	}
	if g.depth++; g.depth > maxGRUBDepth {
		return fault("", "configurations read each other more than %d deep", maxGRUBDepth)
	}
	defer func() { g.depth-- }()
	_, err = g.list(nodes)
	return err
}

// menu runs the entry that GRUB takes when nobody presses a key.
func (g *grub) menu() error {
	if t, err := strconv.Atoi(g.vars["timeout"]); err != nil || t < 0 {
		return &stop{Held, "GRUB shows a menu and waits for a person", ""}
	}
	pick, err := strconv.Atoi(g.vars["default"])
	if err != nil || pick < 0 || pick >= len(g.entries) {
		pick = 0
	}
	e := g.entries[pick]
	g.entries = nil
	_, err = g.list(e.body)
	if err == nil {
		err = g.boot() // an entry ends in an implied boot
	}
	if err == nil && g.failure != nil {
		return g.failure
	}
	if err == nil {
		err = &stop{Broken, "the menu's entry boots nothing", ""}
	}
	return err
}

// A grubNode is one command, or a block of them.
type grubNode struct {
	kind  string // "", if, while, until, for, menuentry, function
	words []grubWord
	cond  []*grubNode
	body  []*grubNode
	els   []*grubNode
}

// A grubWord is made of parts that are text or variables.
type grubWord []grubPart

type grubPart struct {
	text   string
	name   bool // of a variable
	quoted bool
}

// plain is the word as a keyword would be written.
func (w grubWord) plain() string {
	if len(w) == 1 && !w[0].name && !w[0].quoted {
		return w[0].text
	}
	return ""
}

var errGRUB = errors.New("the syntax is not understood")

// lexGRUB parts a text into words; nil is the end of a command.
func lexGRUB(t string) (out []grubWord, err error) {
	t = strings.ReplaceAll(strings.ReplaceAll(t, "\r\n", "\n"), "\\\n", "")
	var word grubWord
	started := false
	put := func(text string, name, quoted bool) {
		started = true
		word = append(word, grubPart{text, name, quoted})
	}
	flush := func() {
		if started {
			var w grubWord // neighbours of one sort are one
			for _, p := range word {
				if n := len(w); n > 0 && !p.name && !w[n-1].name && p.quoted == w[n-1].quoted {
					w[n-1].text += p.text
				} else {
					w = append(w, p)
				}
			}
			out, word, started = append(out, w), nil, false
		}
	}
	variable := func(i int, quoted bool) int {
		end := i + 1
		name := ""
		if end < len(t) && t[end] == '{' {
			n := strings.IndexByte(t[end:], '}')
			if n < 0 {
				return -1
			}
			name, end = t[end+1:end+n], end+n+1
		} else {
			for end < len(t) && (t[end] == '_' || t[end] >= '0' && t[end] <= '9' || t[end]|0x20 >= 'a' && t[end]|0x20 <= 'z') {
				end++
			}
			if name = t[i+1 : end]; name == "" && end < len(t) && strings.IndexByte("?#*@", t[end]) >= 0 {
				name, end = t[end:end+1], end+1
			}
		}
		if name == "" {
			put("$", false, quoted)
		} else {
			put(name, true, quoted)
		}
		return end
	}
	for i := 0; i < len(t); {
		switch c := t[i]; {
		case c == '\n' || c == ';':
			flush()
			out = append(out, nil)
			i++
		case c == ' ' || c == '\t':
			flush()
			i++
		case c == '#' && !started:
			for i < len(t) && t[i] != '\n' {
				i++
			}
		case c == '\'':
			n := strings.IndexByte(t[i+1:], '\'')
			if n < 0 {
				return nil, errGRUB
			}
			put(t[i+1:i+1+n], false, true)
			i += n + 2
		case c == '"':
			put("", false, true)
			for i++; ; {
				if i >= len(t) {
					return nil, errGRUB
				}
				if t[i] == '"' {
					i++
					break
				}
				switch {
				case t[i] == '\\' && i+1 < len(t) && strings.IndexByte("\"\\$", t[i+1]) >= 0:
					put(t[i+1:i+2], false, true)
					i += 2
				case t[i] == '$':
					if i = variable(i, true); i < 0 {
						return nil, errGRUB
					}
				default:
					put(t[i:i+1], false, true)
					i++
				}
			}
		case c == '\\' && i+1 < len(t):
			put(t[i+1:i+2], false, true)
			i += 2
		case c == '$':
			if i = variable(i, false); i < 0 {
				return nil, errGRUB
			}
		case (c == '{' || c == '}') && !started:
			put(t[i:i+1], false, false)
			flush()
			i++
		default:
			put(t[i:i+1], false, false)
			i++
		}
	}
	flush()
	return append(out, nil), nil
}

type grubParser struct {
	words []grubWord
	depth int
}

func parseGRUB(t string) ([]*grubNode, error) {
	words, err := lexGRUB(t)
	if err != nil {
		return nil, err
	}
	p := &grubParser{words: words}
	nodes, end, err := p.list()
	if err == nil && end != "" {
		err = fmt.Errorf("%w: %q stands alone", errGRUB, end)
	}
	return nodes, err
}

// list parses up to a word that ends a block, which it takes.
func (p *grubParser) list(ends ...string) (nodes []*grubNode, end string, err error) {
	if p.depth++; p.depth > 100 {
		return nil, "", errGRUB
	}
	defer func() { p.depth-- }()
	for len(p.words) > 0 {
		w := p.words[0]
		if w == nil {
			p.words = p.words[1:]
			continue
		}
		word := w.plain()
		if slices.Contains([]string{"then", "elif", "else", "fi", "do", "done", "}"}, word) {
			p.words = p.words[1:]
			if !slices.Contains(ends, word) {
				return nil, "", fmt.Errorf("%w: %q stands alone", errGRUB, word)
			}
			return nodes, word, nil
		}
		n := &grubNode{}
		switch word {
		case "if":
			p.words = p.words[1:]
			err = p.branch(n)
		case "while", "until":
			p.words = p.words[1:]
			n.kind = word
			if n.cond, _, err = p.list("do"); err == nil {
				n.body, _, err = p.list("done")
			}
		case "for":
			n.kind, n.words = word, p.command(false)
			if _, _, err = p.list("do"); err == nil {
				n.body, _, err = p.list("done")
			}
		case "menuentry", "submenu", "function":
			n.kind, n.words = word, p.command(true)
			n.body, _, err = p.list("}")
		default:
			n.words = p.command(false)
		}
		if err != nil {
			return nil, "", err
		}
		nodes = append(nodes, n)
	}
	if len(ends) > 0 {
		return nil, "", fmt.Errorf("%w: %q is missing", errGRUB, ends[len(ends)-1])
	}
	return nodes, "", nil
}

// branch parses what follows an if.
func (p *grubParser) branch(n *grubNode) (err error) {
	n.kind = "if"
	if n.cond, _, err = p.list("then"); err != nil {
		return err
	}
	var end string
	if n.body, end, err = p.list("elif", "else", "fi"); err != nil {
		return err
	}
	switch end {
	case "elif":
		if p.depth++; p.depth > 100 {
			return errGRUB
		}
		e := &grubNode{}
		n.els = []*grubNode{e}
		err = p.branch(e)
		p.depth--
	case "else":
		n.els, _, err = p.list("fi")
	}
	return err
}

// command takes the words of one, up to its end or an opening brace.
func (p *grubParser) command(brace bool) (words []grubWord) {
	for len(p.words) > 0 {
		w := p.words[0]
		if w == nil {
			if brace { // the brace may stand on the next line
				p.words = p.words[1:]
				continue
			}
			return words
		}
		p.words = p.words[1:]
		if brace && w.plain() == "{" {
			return words
		}
		words = append(words, w)
	}
	return words
}

// expand makes arguments of words: a variable without quotes is parted at blanks.
func (g *grub) expand(words []grubWord) (out []string) {
	for _, w := range words {
		cur, some := "", false
		for _, p := range w {
			text := p.text
			if p.name {
				text = g.vars[p.text]
			}
			if p.name && !p.quoted {
				f := strings.Fields(text)
				for i, x := range f {
					if i > 0 {
						out, cur = append(out, cur), ""
					}
					cur, some = cur+x, true
				}
				continue
			}
			cur, some = cur+text, true
		}
		if some && len(cur) <= maxLine {
			out = append(out, cur)
		}
	}
	return out
}

// list runs commands; its status is the last one's.
func (g *grub) list(nodes []*grubNode) (ok bool, err error) {
	ok = true
	for _, n := range nodes {
		if ok, err = g.node(n); err != nil {
			return false, err
		}
	}
	return ok, nil
}

func (g *grub) node(n *grubNode) (bool, error) {
	if g.steps++; g.steps > maxGRUBSteps {
		return false, fault("does it loop?", "the configuration ran %d commands without getting anywhere", maxGRUBSteps)
	}
	if g.ctx.Err() != nil {
		return false, g.ctx.Err()
	}
	switch n.kind {
	case "if":
		ok, err := g.list(n.cond)
		if err != nil {
			return false, err
		}
		if ok {
			return g.list(n.body)
		}
		return g.list(n.els)
	case "while", "until":
		for {
			ok, err := g.list(n.cond)
			if err != nil || ok != (n.kind == "while") {
				return true, err
			}
			if g.steps++; g.steps > maxGRUBSteps {
				return false, fault("does it loop?", "the configuration ran %d commands without getting anywhere", maxGRUBSteps)
			}
			if _, err := g.list(n.body); err != nil {
				return false, err
			}
		}
	case "for":
		w := g.expand(n.words)
		if len(w) < 3 || w[2] != "in" {
			return false, nil
		}
		for _, v := range w[3:] {
			g.vars[w[1]] = v
			if _, err := g.list(n.body); err != nil {
				return false, err
			}
		}
		return true, nil
	case "menuentry", "submenu":
		if len(g.entries) < maxImages {
			g.entries = append(g.entries, n)
		}
		return true, nil
	case "function":
		return true, nil
	}
	if len(n.words) == 0 {
		return true, nil
	}
	return g.command(g.expand(n.words))
}

func (g *grub) boot() error {
	switch {
	case g.chained == "disk":
		return &stop{Local, "GRUB starts a loader of the local disk", ""}
	case g.kernel == nil:
		return nil
	}
	return &booting{plan{kernel: g.kernel, initrds: g.initrds}}
}

func (g *grub) command(a []string) (bool, error) {
	if len(a) == 0 {
		return true, nil
	}
	arg := func(i int) string {
		if i < len(a) {
			return a[i]
		}
		return ""
	}
	after := func(flag string) string {
		for i, w := range a {
			if w == flag {
				return arg(i + 1)
			}
			if v, ok := strings.CutPrefix(w, flag+"="); ok {
				return v
			}
		}
		return ""
	}
	set := func(name, v string) {
		if len(g.vars) < maxVars && len(v) <= maxValue && name != "" {
			g.vars[name] = v
		}
	}
	switch a[0] {
	case "set", "export":
		if name, v, ok := strings.Cut(strings.Join(a[1:], " "), "="); ok && a[0] == "set" {
			set(name, v)
		}
	case "unset":
		delete(g.vars, arg(1))
	case "echo":
		if t := shown(strings.Join(a[1:], " ")); t != "" && len(g.said) < maxSaid {
			g.said = append(g.said, t)
		}
	case "sleep":
		n, _ := strconv.Atoi(a[len(a)-1])
		g.sleep(min(time.Duration(min(max(n, 0), 3600))*sec, maxSleep))
		if g.pauses++; g.pauses > maxPauses {
			if g.failure != nil {
				return false, g.failure
			}
			return false, &stop{Held, "GRUB's configuration waits in a loop. It says: " + strings.Join(g.said[max(0, len(g.said)-2):], " / "), ""}
		}
	case "true", ":", "insmod", "normal", "clear", "terminal_input", "terminal_output", "serial", "loadfont", "net_bootp", "net_dhcp", "save_env", "load_env", "load_video", "probe", "background_image", "play", "net_add_dns":
	case "false":
		return false, nil
	case "!":
		ok, err := g.command(a[1:])
		return !ok, err
	case "[", "test":
		w := a[1:]
		if a[0] == "[" && len(w) > 0 && w[len(w)-1] == "]" {
			w = w[:len(w)-1]
		}
		return g.test(w), nil
	case "smbios":
		v := ""
		switch {
		case after("--type") == "1" && after("--get-uuid") == "8":
			v = g.m.UUID.String()
		case after("--type") == "1" && after("--get-string") == "7":
			v = g.m.Serial
		}
		set(after("--set"), v)
	case "search", "search.file", "search.fs_uuid":
		// A machine in software has a disk with a system on it.
		set(after("--set"), "hd0,gpt1")
		set("root", "hd0,gpt1")
	case "source", ".", "configfile":
		name := arg(1)
		if g.visited[name] && g.pauses > 0 {
			if g.failure != nil {
				return false, g.failure
			}
			return false, &stop{Held, "the server holds the machine: its GRUB waits and asks again. It says: " + strings.Join(g.said[max(0, len(g.said)-4):], " / "), ""}
		}
		f, err := g.open("config", name)
		if err != nil {
			if !refusedThere(err) {
				return false, g.failed("config", explained(err, name))
			}
			g.failure = explained(err, name)
			g.visited[name] = true
			return false, nil // GRUB takes it for an empty one
		}
		g.visited[name], g.failure = true, nil
		if err := g.source(f); err != nil {
			return false, err
		}
	case "linux", "linuxefi", "linux16":
		l, err := g.open("kernel", arg(1))
		if err != nil {
			return g.missed("kernel", err, arg(1))
		}
		g.kernel = &image{loaded: l, name: path.Base(arg(1)), args: strings.Join(a[min(2, len(a)):], " ")}
		g.initrds = nil
	case "initrd", "initrdefi", "initrd16":
		for _, n := range a[1:] {
			l, err := g.open("initrd", n)
			if err != nil {
				return g.missed("initrd", err, n)
			}
			if len(g.initrds) < maxImages {
				g.initrds = append(g.initrds, &image{loaded: l, name: path.Base(n)})
			}
		}
	case "chainloader":
		name := a[len(a)-1]
		if _, disk := g.target(name); disk || name == "+1" {
			g.chained = "disk"
			return true, nil
		}
		l, err := g.open("loader", name)
		if err != nil {
			return g.missed("loader", err, name)
		}
		g.kernel, g.initrds = &image{loaded: l, name: path.Base(name)}, nil
	case "boot":
		return false, g.boot()
	case "exit":
		return false, &stop{Local, "GRUB hands the machine back to its firmware, which boots its next entry", ""}
	case "reboot":
		return false, &stop{Broken, "GRUB restarts the machine: " + strings.Join(g.said[max(0, len(g.said)-2):], " / "), ""}
	case "halt":
		return false, &stop{Broken, "GRUB switches the machine off", ""}
	default:
		if name, v, ok := strings.Cut(a[0], "="); ok && name != "" {
			set(name, v)
			return true, nil
		}
		return false, nil // GRUB says "can't find command" and goes on
	}
	return true, nil
}

// missed is a load that failed, which the configuration may have an answer to.
func (g *grub) missed(step string, err error, name string) (bool, error) {
	g.failure = g.failed(step, explained(err, name))
	if !refusedThere(err) {
		return false, g.failure
	}
	return false, nil
}

func (g *grub) test(w []string) bool {
	for i, x := range w {
		if x == "-o" || x == "||" {
			return g.test(w[:i]) || g.test(w[i+1:])
		}
	}
	for i, x := range w {
		if x == "-a" || x == "&&" {
			return g.test(w[:i]) && g.test(w[i+1:])
		}
	}
	if len(w) > 0 && w[0] == "!" {
		return !g.test(w[1:])
	}
	num := func(t string) int { n, _ := strconv.Atoi(t); return n }
	switch {
	case len(w) == 1:
		return w[0] != ""
	case len(w) == 2 && w[0] == "-z":
		return w[1] == ""
	case len(w) == 2 && w[0] == "-n":
		return w[1] != ""
	case len(w) == 2 && slices.Contains([]string{"-f", "-e", "-s"}, w[0]):
		_, err := g.open("config", w[1])
		return err == nil
	case len(w) == 3:
		switch w[1] {
		case "=", "==":
			return w[0] == w[2]
		case "!=":
			return w[0] != w[2]
		case "-eq":
			return num(w[0]) == num(w[2])
		case "-ne":
			return num(w[0]) != num(w[2])
		case "-lt":
			return num(w[0]) < num(w[2])
		case "-gt":
			return num(w[0]) > num(w[2])
		case "-le":
			return num(w[0]) <= num(w[2])
		case "-ge":
			return num(w[0]) >= num(w[2])
		}
	}
	return false
}
