package script

// This file runs iPXE scripts as far as boot servers use them: the files that
// are loaded and where that leads, but not what is drawn on the screen.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// Bounds of a script's work.
const (
	MaxSize     = 1 << 20 // bytes of a file that may be a script
	maxCommands = 5000
	maxWork     = 32 << 20 // bytes read while running
	maxDepth    = 16       // scripts inside scripts
	maxChains   = 60
	maxImages   = 64
	maxVars     = 1000
	maxValue    = 4096
	maxLine     = 8192
	maxPauses   = 20 // waits during which nothing new happens
	maxRefused  = 3  // failures of one URL
	maxSleep    = 60 * time.Second
	maxSaid     = 200 // lines kept of what it shows
)

var scriptMagic = []byte("#!ipxe")

type variable struct {
	raw []byte
	typ string
}

// An IPXE runs scripts.
type IPXE struct {
	Said []string // what it put on the screen

	w    World
	vars map[string]variable

	images   []*Image
	kernel   *Image
	forms    map[string]url.Values
	form     string
	items    []string // of a menu
	commands int
	work     int
	chains   int
	pauses   int
	visited  map[string]bool
	refused  map[string]int
	failure  error // of the last failed load; nil again after a success
	errno    string
}

// NewIPXE makes an iPXE that has run nothing yet.
func NewIPXE(w World) *IPXE {
	return &IPXE{w: w, vars: map[string]variable{}, forms: map[string]url.Values{}, visited: map[string]bool{}, refused: map[string]int{}, errno: "0"}
}

// Run interprets a script that came from uri until it ends. It returns
// *Booting, *Stop, or the error of ctx.
func (x *IPXE) Run(ctx context.Context, uri string, text []byte) error {
	x.visited[uri] = true
	err := x.script(ctx, uri, text, 0)
	var b *Booting
	var e *Stop
	switch l, _ := err.(*leaving); {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &b), errors.As(err, &e):
		return err
	case x.failure != nil:
		return x.broken(x.failure)
	case l != nil:
		return &Stop{Local, fmt.Sprintf("the script hands the machine back to its firmware (exit %d), which boots its next entry", l.code), ""}
	case err != nil:
		return &Stop{Broken, "the script ended: " + err.Error(), ""}
	}
	return &Stop{Local, "the script ended without booting anything: the firmware boots its next entry", ""}
}

func (x *IPXE) broken(err error) *Stop {
	if e, ok := err.(*Stop); ok {
		return e
	}
	return &Stop{Broken, err.Error(), ""}
}

// frame is the state of one running script.
type scriptFrame struct {
	uri    string
	lines  []string
	next   int
	paused bool
	failed bool
}

func (x *IPXE) script(ctx context.Context, uri string, text []byte, depth int) error {
	for {
		if depth > maxDepth {
			return Fault("", "scripts call each other more than %d deep", maxDepth)
		}
		if !bytes.HasPrefix(text, scriptMagic) {
			return Fault("a script's first line is #!ipxe, with nothing in front of it", "%s is no script", Shown(uri))
		}
		f := &scriptFrame{uri: uri, lines: scriptLines(text)}
		err := x.lines(ctx, f, depth)
		next, ok := err.(*replacing)
		if !ok {
			return err
		}
		uri, text = next.uri, next.text
	}
}

// replacing continues in another script, and never returns to this one.
type replacing struct {
	uri  string
	text []byte
}

func (*replacing) Error() string { return "chain --replace" }

func (x *IPXE) lines(ctx context.Context, f *scriptFrame, depth int) error {
	for f.next < len(f.lines) {
		line := f.lines[f.next]
		f.next++
		x.work += len(line) + 8
		if len(line) > maxLine {
			return Fault("", "a line of %d bytes in %s", len(line), Shown(f.uri))
		}
		if strings.HasPrefix(line, ":") {
			continue
		}
		if err := x.line(ctx, f, line, depth); err != nil {
			if ends(err) {
				return err
			}
			return fmt.Errorf("%s: %w", Shown(strings.TrimSpace(line)), err)
		}
	}
	return nil
}

// ends reports whether an error ends the script, and is not just a command's
// status.
func ends(err error) bool {
	switch err.(type) {
	case *Booting, *leaving, *Stop, *replacing:
		return true
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// line runs the commands of a line. The status of each decides whether the next
// one runs.
func (x *IPXE) line(ctx context.Context, f *scriptFrame, line string, depth int) error {
	var err error
	process := true
	for _, c := range scriptLine(line) {
		if process {
			argv := make([]string, len(c.words))
			for i, w := range c.words {
				argv[i] = x.Expand(w)
			}
			if x.commands++; x.commands > maxCommands || x.work > maxWork {
				return Fault("does the script loop?", "the script ran %d commands without getting anywhere", x.commands-1)
			}
			if err = x.command(ctx, f, argv, depth); err != nil && ends(err) {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		switch c.join {
		case "&&":
			process = err == nil
		case "||":
			process = err != nil
		default:
			process = true
		}
	}
	return err
}

// Expand replaces ${…}, the innermost first.
func (x *IPXE) Expand(t string) string {
	for range 100 {
		x.work += len(t)
		end, start := -1, -1
		for i := 0; i < len(t); i++ {
			if strings.HasPrefix(t[i:], "${") {
				start = i
			}
			if start >= 0 && t[i] == '}' {
				end = i
				break
			}
		}
		if end < 0 {
			return t
		}
		t = t[:start] + x.value(t[start+2:end]) + t[end+1:]
		if len(t) > maxLine {
			return t[:maxLine]
		}
	}
	return t
}

// value is a setting as text; a missing one is empty.
func (x *IPXE) value(name string) string {
	name, want, typed := strings.Cut(name, ":")
	raw, typ, ok := x.lookup(name)
	if !ok {
		return ""
	}
	if typed {
		typ = want
	}
	return format(raw, typ)
}

func (x *IPXE) lookup(name string) ([]byte, string, bool) {
	if v, ok := x.vars[name]; ok {
		return v.raw, v.typ, true
	}
	if name == "errno" {
		return []byte(x.errno), "string", true
	}
	// net0 and netX both name the only card; net0.dhcp is its lease.
	if scope, rest, ok := strings.Cut(name, "/"); ok {
		switch scope {
		case "net0", "netX", "net0.dhcp", "netX.dhcp", "builtin", "dhcp", "proxydhcp":
			name = rest
		}
	}
	return x.w.Setting(name)
}

var errNo = errors.New("no")

// command runs one command. The error is its status, unless it ends the script.
func (x *IPXE) command(ctx context.Context, f *scriptFrame, argv []string, depth int) error {
	if len(argv) == 0 {
		return nil
	}
	flags, args := options(argv[1:])
	switch argv[0] {
	case "set", "iseq", "isset", "inc", "echo": // their words may look like options
		flags, args = nil, argv[1:]
	}
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch argv[0] {
	case "echo":
		x.say(strings.Join(args, " "))
	case "set", "clear":
		return x.set(arg(0), strings.Join(args[min(1, len(args)):], " "))
	case "inc":
		by := int64(1)
		if len(args) > 1 {
			by, _ = strconv.ParseInt(args[1], 0, 32)
		}
		n, _ := strconv.ParseInt(x.value(arg(0)), 0, 64)
		name, _, _ := strings.Cut(arg(0), ":")
		return x.set(name+":int32", strconv.FormatInt(n+by, 10))
	case "isset":
		if len(args) == 0 || args[0] == "" {
			return errNo
		}
	case "iseq":
		if arg(0) != arg(1) {
			return errNo
		}
	case "goto":
		for i, l := range f.lines {
			x.work += len(l) + 8
			if label, ok := strings.CutPrefix(l, ":"); ok && strings.TrimRight(label, " \t") == arg(0) {
				f.next = i + 1
				return nil
			}
		}
		return Fault("", "the script has no label :%s", Shown(arg(0)))
	case "exit":
		n, _ := strconv.Atoi(arg(0))
		return &leaving{n}
	case "sleep":
		n, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		f.paused = true
		x.w.Pause(ctx, min(time.Duration(min(max(n, 0), 3600))*time.Second, maxSleep))
		return x.paused("")
	case "prompt":
		x.say(strings.Join(args, " "))
		f.paused = true
		if flags["timeout"] == "" || flags["timeout"] == "0" {
			return &Stop{Held, "the script waits for a key: " + Shown(strings.Join(args, " ")), ""}
		}
		if err := x.paused(strings.Join(args, " ")); err != nil {
			return err
		}
		return errNo // nobody is there to press a key
	case "menu":
		x.items = nil
		x.say(strings.Join(args, " "))
	case "item":
		if _, gap := flags["gap"]; !gap && len(args) > 0 && len(x.items) < maxVars {
			x.items = append(x.items, args[0])
		}
	case "choose":
		if flags["timeout"] == "" || flags["timeout"] == "0" {
			return &Stop{Held, "the script shows a menu and waits for a person", ""}
		}
		pick := flags["default"]
		if pick == "" && len(x.items) > 0 {
			pick = x.items[0]
		}
		f.paused = true
		if err := x.paused("menu"); err != nil {
			return err
		}
		return x.set(arg(0), pick)
	case "dhcp", "autoboot":
		if err := x.w.DHCP(ctx); err != nil {
			return err
		}
	case "ifconf":
		if c := flags["configurator"]; c == "" || c == "dhcp" {
			return x.w.DHCP(ctx)
		}
		return errNo // no IPv6 here
	case "chain":
		return x.chain(ctx, f, flags, args, depth)
	case "kernel", "imgselect", "imgload", "initrd", "imgfetch", "module":
		return x.fetch(ctx, f, argv[0], flags, args)
	case "imgargs":
		if img := x.named(arg(0)); img != nil {
			img.Args = strings.Join(args[min(1, len(args)):], " ")
			return nil
		}
		return fmt.Errorf("there is no image %q", Shown(arg(0)))
	case "imgfree":
		x.images, x.kernel = nil, nil
	case "boot", "imgexec":
		if len(args) > 0 {
			if x.named(args[0]) == nil {
				if err := x.fetch(ctx, f, "kernel", flags, args); err != nil {
					return err
				}
			} else {
				x.kernel = x.named(args[0])
			}
		}
		if x.kernel == nil {
			return errors.New("there is no kernel to boot")
		}
		if x.kernel.Script() {
			return x.enter(ctx, f, x.kernel.File, flags, depth)
		}
		p := Plan{Kernel: x.kernel}
		for _, i := range x.images {
			if i != x.kernel {
				p.Initrds = append(p.Initrds, i)
			}
		}
		return &Booting{p}
	case "sanboot":
		if len(args) == 0 {
			return &Stop{Local, "the script boots the first disk (sanboot)", ""}
		}
		uri := x.absolute(f, args[0])
		if err := x.w.Exists(ctx, "disc", uri); err != nil {
			return x.miss(uri, f, err)
		}
		return &Booting{Plan{Kernel: &Image{File: &File{URI: uri}, Name: path.Base(uri)}}}
	case "params":
		x.form = flags["name"]
		x.forms[x.form] = url.Values{}
	case "param":
		name, ok := flags["params"]
		if !ok {
			name = x.form
		}
		if x.forms[name] == nil || len(x.forms[name]) > maxVars {
			return errNo
		}
		x.forms[name].Add(arg(0), strings.Join(args[min(1, len(args)):], " "))
	case "reboot":
		return &Stop{Broken, "the script restarts the machine", ""}
	case "poweroff":
		return &Stop{Broken, "the script switches the machine off", ""}
	case "shell", "login", "config", "read":
		return &Stop{Held, fmt.Sprintf("the script waits for a person (%s)", argv[0]), ""}
	case "cpuid":
		if raw, _, _ := x.w.Setting("buildarch"); string(raw) == "x86_64" || string(raw) == "i386" {
			return nil // the processors of simulated machines have every feature
		}
		return errNo
	case "ifopen", "ifclose", "ifstat", "iflinkwait", "route", "imgstat", "imgtrust", "imgverify", "imgdecrypt", "console", "colour", "cpair", "sync", "ntp", "show", "time", "nslookup", "sanhook", "sanunhook", "vcreate", "nstat", "pciscan", "usbscan", "shim", "certstat":
	case "iPXE":
		return nil // the first line of a script, seen as a command
	default:
		if strings.HasPrefix(argv[0], "#") {
			return nil
		}
		return fmt.Errorf("iPXE has no command %q", Shown(argv[0]))
	}
	return nil
}

func (x *IPXE) say(t string) {
	if len(x.Said) < maxSaid && strings.TrimSpace(t) != "" {
		x.Said = append(x.Said, Shown(t))
	}
}

func (x *IPXE) set(name, value string) error {
	name, typ, _ := strings.Cut(name, ":")
	if name == "" {
		return errNo
	}
	if typ == "" {
		typ = "string"
	}
	if value == "" {
		delete(x.vars, name)
		return nil
	}
	if len(value) > maxValue || len(x.vars) >= maxVars {
		return errors.New("too much is set")
	}
	raw, err := parse(value, typ)
	if err == nil {
		x.vars[name] = variable{raw, typ}
	}
	return err
}

// paused counts waits. A script that only waits holds the machine.
func (x *IPXE) paused(what string) error {
	if x.pauses++; x.pauses < maxPauses {
		return nil
	}
	if x.failure != nil {
		return x.broken(x.failure)
	}
	return &Stop{Held, "the script waits in a loop: " + Shown(what), ""}
}

func (x *IPXE) named(name string) *Image {
	for _, i := range x.images {
		if i.Name == name {
			return i
		}
	}
	return nil
}

// absolute resolves a URI against the running script's.
func (x *IPXE) absolute(f *scriptFrame, uri string) string {
	return Resolve(f.uri, uri)
}

// miss records a failed load.
func (x *IPXE) miss(uri string, f *scriptFrame, err error) error {
	if ends(err) {
		// The cause of a failed fetch becomes a status here, because a script
		// may have an alternative.
		if e, ok := err.(*Stop); !ok || e.End != Broken {
			return err
		}
	}
	f.failed = true
	x.failure = err
	x.errno = "1d0c6139"
	if e := Refusal(nil); errors.As(err, &e) && e.Status() == 404 {
		x.errno = "2d0c618e"
	}
	if x.refused[uri]++; x.refused[uri] >= maxRefused {
		return x.broken(fmt.Errorf("%s could not be loaded %d times: %w", Shown(uri), maxRefused, err))
	}
	return &status{err}
}

// status is a command's failure, whatever error it wraps.
type status struct{ err error }

func (s *status) Error() string { return s.err.Error() }

func (x *IPXE) chain(ctx context.Context, f *scriptFrame, flags map[string]string, args []string, depth int) error {
	if len(args) == 0 {
		return errors.New("chain wants a URI")
	}
	uri, form := args[0], url.Values(nil)
	if u, params, ok := strings.Cut(uri, "##params"); ok {
		uri, form = u, x.forms[strings.TrimPrefix(params, "=")]
	}
	uri = x.absolute(f, uri)
	if x.visited[uri] && f.paused {
		switch {
		case f.failed && x.failure != nil:
			return x.broken(x.failure)
		default:
			return &Stop{Held, "the server holds the machine: its script waits and asks again. It says: " + strings.Join(x.Said[max(0, len(x.Said)-4):], " / "), ""}
		}
	}
	if x.chains++; x.chains > maxChains {
		return Fault("do two scripts chain to each other?", "scripts chain to each other more than %d times", maxChains)
	}
	l, err := x.w.Load(ctx, "script", uri, form)
	if err != nil {
		return x.miss(uri, f, err)
	}
	x.failure, x.errno, x.refused[uri] = nil, "0", 0
	x.visited[uri] = true
	if !l.Script() {
		return &Booting{Plan{Kernel: &Image{File: l, Name: path.Base(uri), Args: strings.Join(args[1:], " ")}}}
	}
	return x.enter(ctx, f, l, flags, depth)
}

// enter runs a script that was loaded, inside this one or in its place.
func (x *IPXE) enter(ctx context.Context, f *scriptFrame, l *File, flags map[string]string, depth int) error {
	if _, replace := flags["replace"]; replace {
		return &replacing{l.URI, l.Head}
	}
	err := x.script(ctx, l.URI, l.Head, depth+1)
	if e, ok := err.(*leaving); ok {
		if e.code == 0 {
			return nil
		}
		return &status{fmt.Errorf("the script %s ended with status %d", Shown(l.URI), e.code)}
	}
	return err
}

func (x *IPXE) fetch(ctx context.Context, f *scriptFrame, command string, flags map[string]string, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s wants a URI", command)
	}
	if len(x.images) >= maxImages {
		return Fault("", "the script loads more than %d images", maxImages)
	}
	if img := x.named(args[0]); img != nil && command == "imgselect" {
		x.kernel = img
		return nil
	}
	uri := x.absolute(f, args[0])
	step := map[string]string{"kernel": "kernel", "initrd": "initrd", "module": "initrd"}[command]
	if step == "" {
		step = "image"
	}
	l, err := x.w.Load(ctx, step, uri, nil)
	if err != nil {
		return x.miss(uri, f, err)
	}
	x.failure, x.errno = nil, "0"
	img := &Image{File: l, Name: flags["name"], Args: strings.Join(args[1:], " ")}
	if img.Name == "" {
		name, _, _ := strings.Cut(uri, "?")
		img.Name = path.Base(name)
	}
	x.images = append(x.images, img)
	if command == "kernel" || command == "imgselect" || command == "imgload" {
		x.kernel = img
	}
	return nil
}
