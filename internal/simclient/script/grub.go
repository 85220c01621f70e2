package script

// This file runs the grub.cfg files that boot servers serve.

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

// Bounds of a configuration's work.
const (
	maxGRUBSteps = 5000
	maxGRUBDepth = 32
)

// Run interprets a configuration of that name until it ends: in *Booting,
// *Stop, or the error of ctx.
func (g *GRUB) Run(ctx context.Context, name string, f *File) error {
	g.visited[name] = true
	err := g.source(ctx, f)
	var b *Booting
	var e *Stop
	switch {
	case errors.As(err, &b):
		return b
	case errors.As(err, &e), ctx.Err() != nil:
		return err
	case len(g.entries) > 0:
		return g.menu(ctx)
	case g.failure != nil:
		return g.failure
	}
	return &Stop{Broken, "grub.cfg ended without booting anything: GRUB shows its prompt", ""}
}

// A GRUB interprets configurations of one machine.
type GRUB struct {
	Said []string // what it put on the screen

	m    Facts
	host Firmware

	vars    map[string]string
	visited map[string]bool
	pauses  int
	steps   int
	depth   int
	failure error

	kernel  *Image
	chained string
	initrds []*Image
	entries []*grubNode
}

// NewGRUB makes a GRUB that was itself loaded from a URL.
func NewGRUB(m Facts, h Firmware, from *url.URL) *GRUB {
	g := &GRUB{m: m, host: h, visited: map[string]bool{}}
	root := from.Scheme + "," + from.Host
	g.vars = map[string]string{"root": root, "prefix": "(" + root + ")/grub", "grub_cpu": m.CPU, "grub_platform": "efi", "net_default_ip": m.IP, "net_default_mac": m.MAC, "net_default_server": from.Hostname(), "default": "0"}
	return g
}

// File is the name of a file in the folder that GRUB itself came from.
func (g *GRUB) File(name string) string { return "(" + g.vars["root"] + ")" + name }

// target is a GRUB path as a URL, or on a disk.
func (g *GRUB) target(name string) (uri string, disk bool) {
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

// Open loads a file by its name.
func (g *GRUB) Open(ctx context.Context, step, name string) (*File, error) {
	uri, disk := g.target(name)
	if disk {
		return nil, fmt.Errorf("%s is on a disk", Shown(name))
	}
	f, err := g.host.Load(ctx, step, uri)
	if err == nil && step != "config" {
		f.Head = nil // with many machines, many kernels need not stay in memory
	}
	return f, err
}

func (g *GRUB) source(ctx context.Context, f *File) error {
	if f.Bytes != int64(len(f.Head)) {
		return Fault("", "%s is no text", Shown(Short(f.URI)))
	}
	nodes, err := parseGRUB(string(f.Head))
	if err != nil {
		return Fault("", "%s: %v", Shown(Short(f.URI)), err)
	}
	if g.depth++; g.depth > maxGRUBDepth {
		return Fault("", "configurations read each other more than %d deep", maxGRUBDepth)
	}
	defer func() { g.depth-- }()
	_, err = g.list(ctx, nodes)
	return err
}

// menu runs the entry that GRUB takes when nobody presses a key.
func (g *GRUB) menu(ctx context.Context) error {
	if t, err := strconv.Atoi(g.vars["timeout"]); err != nil || t < 0 {
		return &Stop{Held, "GRUB shows a menu and waits for a person", ""}
	}
	pick, err := strconv.Atoi(g.vars["default"])
	if err != nil || pick < 0 || pick >= len(g.entries) {
		pick = 0
	}
	e := g.entries[pick]
	g.entries = nil
	_, err = g.list(ctx, e.body)
	if err == nil {
		err = g.boot() // an entry ends in an implied boot
	}
	if err == nil && g.failure != nil {
		return g.failure
	}
	if err == nil {
		err = &Stop{Broken, "the menu's entry boots nothing", ""}
	}
	return err
}

// expand makes arguments from words: an unquoted variable is split at blanks.
func (g *GRUB) expand(words []grubWord) (out []string) {
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
func (g *GRUB) list(ctx context.Context, nodes []*grubNode) (ok bool, err error) {
	ok = true
	for _, n := range nodes {
		if ok, err = g.node(ctx, n); err != nil {
			return false, err
		}
	}
	return ok, nil
}

func (g *GRUB) node(ctx context.Context, n *grubNode) (bool, error) {
	if g.steps++; g.steps > maxGRUBSteps {
		return false, Fault("does it loop?", "the configuration ran %d commands without getting anywhere", maxGRUBSteps)
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	switch n.kind {
	case "if":
		ok, err := g.list(ctx, n.cond)
		if err != nil {
			return false, err
		}
		if ok {
			return g.list(ctx, n.body)
		}
		return g.list(ctx, n.els)
	case "while", "until":
		for {
			ok, err := g.list(ctx, n.cond)
			if err != nil || ok != (n.kind == "while") {
				return true, err
			}
			if g.steps++; g.steps > maxGRUBSteps {
				return false, Fault("does it loop?", "the configuration ran %d commands without getting anywhere", maxGRUBSteps)
			}
			if _, err := g.list(ctx, n.body); err != nil {
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
			if _, err := g.list(ctx, n.body); err != nil {
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
	return g.command(ctx, g.expand(n.words))
}

func (g *GRUB) boot() error {
	switch {
	case g.chained == "disk":
		return &Stop{Local, "GRUB starts a loader of the local disk", ""}
	case g.kernel == nil:
		return nil
	}
	return &Booting{Plan{Kernel: g.kernel, Initrds: g.initrds}}
}

func (g *GRUB) command(ctx context.Context, a []string) (bool, error) {
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
		if t := Shown(strings.Join(a[1:], " ")); t != "" && len(g.Said) < maxSaid {
			g.Said = append(g.Said, t)
		}
	case "sleep":
		n, _ := strconv.Atoi(a[len(a)-1])
		g.host.Pause(ctx, min(time.Duration(min(max(n, 0), 3600))*time.Second, maxSleep))
		if g.pauses++; g.pauses > maxPauses {
			if g.failure != nil {
				return false, g.failure
			}
			return false, &Stop{Held, "GRUB's configuration waits in a loop. It says: " + strings.Join(g.Said[max(0, len(g.Said)-2):], " / "), ""}
		}
	case "true", ":", "insmod", "normal", "clear", "terminal_input", "terminal_output", "serial", "loadfont", "net_bootp", "net_dhcp", "save_env", "load_env", "load_video", "probe", "background_image", "play", "net_add_dns":
	case "false":
		return false, nil
	case "!":
		ok, err := g.command(ctx, a[1:])
		return !ok, err
	case "[", "test":
		w := a[1:]
		if a[0] == "[" && len(w) > 0 && w[len(w)-1] == "]" {
			w = w[:len(w)-1]
		}
		return g.test(ctx, w), nil
	case "smbios":
		v := ""
		switch {
		case after("--type") == "1" && after("--get-uuid") == "8":
			v = g.m.UUID
		case after("--type") == "1" && after("--get-string") == "7":
			v = g.m.Serial
		}
		set(after("--set"), v)
	case "search", "search.file", "search.fs_uuid":
		// A simulated machine has a disk with a system on it.
		set(after("--set"), "hd0,gpt1")
		set("root", "hd0,gpt1")
	case "source", ".", "configfile":
		name := arg(1)
		if g.visited[name] && g.pauses > 0 {
			if g.failure != nil {
				return false, g.failure
			}
			return false, &Stop{Held, "the server holds the machine: its GRUB waits and asks again. It says: " + strings.Join(g.Said[max(0, len(g.Said)-4):], " / "), ""}
		}
		f, err := g.Open(ctx, "config", name)
		if err != nil {
			if !Refused(err) {
				return false, g.host.Fail("config", g.host.Explained(err, name))
			}
			g.failure = g.host.Explained(err, name)
			g.visited[name] = true
			return false, nil // GRUB reads it as an empty file
		}
		g.visited[name], g.failure = true, nil
		if err := g.source(ctx, f); err != nil {
			return false, err
		}
	case "linux", "linuxefi", "linux16":
		l, err := g.Open(ctx, "kernel", arg(1))
		if err != nil {
			return g.missed("kernel", err, arg(1))
		}
		g.kernel = &Image{File: l, Name: path.Base(arg(1)), Args: strings.Join(a[min(2, len(a)):], " ")}
		g.initrds = nil
	case "initrd", "initrdefi", "initrd16":
		for _, n := range a[1:] {
			l, err := g.Open(ctx, "initrd", n)
			if err != nil {
				return g.missed("initrd", err, n)
			}
			if len(g.initrds) < maxImages {
				g.initrds = append(g.initrds, &Image{File: l, Name: path.Base(n)})
			}
		}
	case "chainloader":
		name := a[len(a)-1]
		if _, disk := g.target(name); disk || name == "+1" {
			g.chained = "disk"
			return true, nil
		}
		l, err := g.Open(ctx, "loader", name)
		if err != nil {
			return g.missed("loader", err, name)
		}
		g.kernel, g.initrds = &Image{File: l, Name: path.Base(name)}, nil
	case "boot":
		return false, g.boot()
	case "exit":
		return false, &Stop{Local, "GRUB hands the machine back to its firmware, which boots its next entry", ""}
	case "reboot":
		return false, &Stop{Broken, "GRUB restarts the machine: " + strings.Join(g.Said[max(0, len(g.Said)-2):], " / "), ""}
	case "halt":
		return false, &Stop{Broken, "GRUB switches the machine off", ""}
	default:
		if name, v, ok := strings.Cut(a[0], "="); ok && name != "" {
			set(name, v)
			return true, nil
		}
		return false, nil // GRUB says "can't find command" and goes on
	}
	return true, nil
}

// missed handles a failed load, which the configuration may handle itself.
func (g *GRUB) missed(step string, err error, name string) (bool, error) {
	g.failure = g.host.Fail(step, g.host.Explained(err, name))
	if !Refused(err) {
		return false, g.failure
	}
	return false, nil
}

func (g *GRUB) test(ctx context.Context, w []string) bool {
	for i, x := range w {
		if x == "-o" || x == "||" {
			return g.test(ctx, w[:i]) || g.test(ctx, w[i+1:])
		}
	}
	for i, x := range w {
		if x == "-a" || x == "&&" {
			return g.test(ctx, w[:i]) && g.test(ctx, w[i+1:])
		}
	}
	if len(w) > 0 && w[0] == "!" {
		return !g.test(ctx, w[1:])
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
		_, err := g.Open(ctx, "config", w[1])
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
