package simclient

// This file is an interpreter of iPXE scripts, as far as boot servers use them:
// what is loaded and where it leads, not what is drawn. How a line is split,
// joined by && and ||, and expanded is as in iPXE's exec.c and settings.c.

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// Bounds of what a script may do.
const (
	maxScript   = 1 << 20 // bytes
	maxCommands = 5000
	maxWork     = 32 << 20 // bytes read while running
	maxDepth    = 16       // scripts inside scripts
	maxChains   = 60
	maxImages   = 64
	maxVars     = 1000
	maxValue    = 4096
	maxLine     = 8192
	maxPauses   = 20 // waits without anything new
	maxRefused  = 3  // failures of one URL
	maxSleep    = 60 * sec
	maxSaid     = 200 // lines kept of what it shows
)

var scriptMagic = []byte("#!ipxe")

// world is what a script reaches of the machine and its network.
type world interface {
	// setting is a value of the machine or its lease, raw.
	setting(name string) (raw []byte, typ string, ok bool)
	dhcp(ctx context.Context) error
	// load fetches a URI as a step of that name. It keeps the bytes of what may
	// be a script.
	load(ctx context.Context, step, uri string, form url.Values) (*loaded, error)
	// exists looks whether a disc image is there.
	exists(ctx context.Context, step, uri string) error
	pause(ctx context.Context, d time.Duration)
}

// loaded is a file.
type loaded struct {
	uri   string
	bytes int64
	sum   string
	head  []byte // all of it, where it is short
}

func (l *loaded) script() bool {
	return bytes.HasPrefix(l.head, scriptMagic) && l.bytes == int64(len(l.head))
}

type image struct {
	*loaded
	name string
	args string
}

// plan is what a script came to: a kernel to start, or a program.
type plan struct {
	kernel  *image
	initrds []*image
}

// booting is the error that carries a plan up.
type booting struct{ plan }

func (*booting) Error() string { return "booting" }

// leaving ends one script, with its status.
type leaving struct{ code int }

func (e *leaving) Error() string { return fmt.Sprintf("exit %d", e.code) }

type variable struct {
	raw []byte
	typ string
}

// ipxe is an iPXE that runs scripts.
type ipxe struct {
	w    world
	vars map[string]variable
	said []string

	images   []*image
	kernel   *image
	forms    map[string]url.Values
	form     string
	items    []string // of a menu
	commands int
	work     int
	chains   int
	pauses   int
	visited  map[string]bool
	refused  map[string]int
	failure  error // of the last load that failed, until one succeeds
	errno    string
}

func newIPXE(w world) *ipxe {
	return &ipxe{w: w, vars: map[string]variable{}, forms: map[string]url.Values{}, visited: map[string]bool{}, refused: map[string]int{}, errno: "0"}
}

// run interprets a script that came from uri, up to an end. It returns
// *booting, *stop, or the error of ctx.
func (x *ipxe) run(ctx context.Context, uri string, text []byte) error {
	x.visited[uri] = true
	err := x.script(ctx, uri, text, 0)
	var b *booting
	var e *stop
	switch l, _ := err.(*leaving); {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &b), errors.As(err, &e):
		return err
	case x.failure != nil:
		return x.broken(x.failure)
	case l != nil:
		return &stop{Local, fmt.Sprintf("the script hands the machine back to its firmware (exit %d), which boots its next entry", l.code), ""}
	case err != nil:
		return &stop{Broken, "the script ended: " + err.Error(), ""}
	}
	return &stop{Local, "the script ended without booting anything: the firmware boots its next entry", ""}
}

func (x *ipxe) broken(err error) *stop {
	if e, ok := err.(*stop); ok {
		return e
	}
	return &stop{Broken, err.Error(), ""}
}

// frame of one running script.
type scriptFrame struct {
	uri    string
	lines  []string
	next   int
	paused bool
	failed bool
}

func (x *ipxe) script(ctx context.Context, uri string, text []byte, depth int) error {
	for {
		if depth > maxDepth {
			return fault("", "scripts call each other more than %d deep", maxDepth)
		}
		if !bytes.HasPrefix(text, scriptMagic) {
			return fault("a script's first line is #!ipxe, with nothing in front of it", "%s is no script", shown(uri))
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

// replacing goes on in another script, and never comes back.
type replacing struct {
	uri  string
	text []byte
}

func (*replacing) Error() string { return "chain --replace" }

func scriptLines(text []byte) []string {
	t := strings.ReplaceAll(string(text), "\r\n", "\n")
	return strings.Split(strings.ReplaceAll(t, "\\\n", ""), "\n")
}

func (x *ipxe) lines(ctx context.Context, f *scriptFrame, depth int) error {
	for f.next < len(f.lines) {
		line := f.lines[f.next]
		f.next++
		x.work += len(line) + 8
		if len(line) > maxLine {
			return fault("", "a line of %d bytes in %s", len(line), shown(f.uri))
		}
		if strings.HasPrefix(line, ":") {
			continue
		}
		if err := x.line(ctx, f, line, depth); err != nil {
			if ends(err) {
				return err
			}
			return fmt.Errorf("%s: %w", shown(strings.TrimSpace(line)), err)
		}
	}
	return nil
}

// ends reports errors that are no status of a command.
func ends(err error) bool {
	switch err.(type) {
	case *booting, *leaving, *stop, *replacing:
		return true
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// line runs the commands of a line: each decides by its status whether the next
// is run.
func (x *ipxe) line(ctx context.Context, f *scriptFrame, line string, depth int) error {
	words := strings.Fields(line)
	var err error
	process := true
	for {
		n := 0
		for n < len(words) && words[n] != "||" && words[n] != "&&" && words[n] != ";" && words[n][0] != '#' {
			n++
		}
		if process {
			argv := make([]string, n)
			for i, w := range words[:n] {
				argv[i] = x.expand(w)
			}
			if x.commands++; x.commands > maxCommands || x.work > maxWork {
				return fault("does the script loop?", "the script ran %d commands without getting anywhere", x.commands-1)
			}
			if err = x.command(ctx, f, argv, depth); err != nil && ends(err) {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if n == len(words) || words[n][0] == '#' {
			return err
		}
		switch words[n] {
		case "&&":
			process = err == nil
		case "||":
			process = err != nil
		default:
			process = true
		}
		words = words[n+1:]
	}
}

// expand replaces ${…}, the innermost first.
func (x *ipxe) expand(t string) string {
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

// value is a setting as text. One that is not there is empty.
func (x *ipxe) value(name string) string {
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

func (x *ipxe) lookup(name string) ([]byte, string, bool) {
	if v, ok := x.vars[name]; ok {
		return v.raw, v.typ, true
	}
	if name == "errno" {
		return []byte(x.errno), "string", true
	}
	// net0 and netX are the only card there is; net0.dhcp is its lease.
	if scope, rest, ok := strings.Cut(name, "/"); ok {
		switch scope {
		case "net0", "netX", "net0.dhcp", "netX.dhcp", "builtin", "dhcp", "proxydhcp":
			name = rest
		}
	}
	return x.w.setting(name)
}

// format shows raw bytes as a type of iPXE's.
func format(raw []byte, typ string) string {
	join := func(sep string) string {
		var b strings.Builder
		for i, c := range raw {
			if i > 0 {
				b.WriteString(sep)
			}
			fmt.Fprintf(&b, "%02x", c)
		}
		return b.String()
	}
	switch typ {
	case "hex":
		return join(":")
	case "hexhyp":
		return join("-")
	case "hexraw":
		return hex.EncodeToString(raw)
	case "base64":
		return base64.StdEncoding.EncodeToString(raw)
	case "uristring":
		var b strings.Builder
		for _, c := range raw {
			if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
		return b.String()
	case "ipv4":
		if a := addrOf(raw); a.IsValid() && len(raw) == 4 {
			return a.String()
		}
		return ""
	case "ipv6":
		if len(raw) != 16 {
			return ""
		}
		return netip.AddrFrom16([16]byte(raw)).String()
	case "uuid", "guid":
		if len(raw) != 16 {
			return ""
		}
		return UUID(raw).String()
	case "int8", "int16", "int32", "uint8", "uint16", "uint32":
		var n uint64
		for _, c := range raw[max(0, len(raw)-8):] {
			n = n<<8 | uint64(c)
		}
		bits, _ := strconv.Atoi(strings.TrimLeft(typ, "uint"))
		if bits > 0 && typ[0] == 'i' && len(raw) > 0 {
			return strconv.FormatInt(int64(n<<(64-bits))>>(64-bits), 10)
		}
		if typ[0] == 'u' {
			return fmt.Sprintf("%#x", n)
		}
		return strconv.FormatUint(n, 10)
	}
	return string(raw)
}

// parse is the other way round.
func parse(text, typ string) ([]byte, error) {
	switch strings.TrimPrefix(typ, "u") {
	case "int8", "int16", "int32":
		n, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no number", shown(text))
		}
		b := binary.BigEndian.AppendUint32(nil, uint32(n))
		return b[4-map[byte]int{'8': 1, '6': 2, '2': 4}[typ[len(typ)-1]]:], nil
	case "ipv4":
		a, err := netip.ParseAddr(text)
		if err != nil || !a.Is4() {
			return nil, fmt.Errorf("%q is no IPv4 address", shown(text))
		}
		return a.AsSlice(), nil
	case "hex", "hexhyp", "hexraw":
		return hex.DecodeString(strings.NewReplacer(":", "", "-", "").Replace(text))
	}
	return []byte(text), nil
}

var errNo = errors.New("no")

// command runs one. Its error is its status, unless it ends the script.
func (x *ipxe) command(ctx context.Context, f *scriptFrame, argv []string, depth int) error {
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
		return fault("", "the script has no label :%s", shown(arg(0)))
	case "exit":
		n, _ := strconv.Atoi(arg(0))
		return &leaving{n}
	case "sleep":
		n, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		f.paused = true
		x.w.pause(ctx, min(time.Duration(min(max(n, 0), 3600))*sec, maxSleep))
		return x.paused("")
	case "prompt":
		x.say(strings.Join(args, " "))
		f.paused = true
		if flags["timeout"] == "" || flags["timeout"] == "0" {
			return &stop{Held, "the script waits for a key: " + shown(strings.Join(args, " ")), ""}
		}
		if err := x.paused(strings.Join(args, " ")); err != nil {
			return err
		}
		return errNo // nobody is there to press one
	case "menu":
		x.items = nil
		x.say(strings.Join(args, " "))
	case "item":
		if _, gap := flags["gap"]; !gap && len(args) > 0 && len(x.items) < maxVars {
			x.items = append(x.items, args[0])
		}
	case "choose":
		if flags["timeout"] == "" || flags["timeout"] == "0" {
			return &stop{Held, "the script shows a menu and waits for a person", ""}
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
		if err := x.w.dhcp(ctx); err != nil {
			return err
		}
	case "ifconf":
		if c := flags["configurator"]; c == "" || c == "dhcp" {
			return x.w.dhcp(ctx)
		}
		return errNo // no IPv6 here
	case "chain":
		return x.chain(ctx, f, flags, args, depth)
	case "kernel", "imgselect", "imgload", "initrd", "imgfetch", "module":
		return x.fetch(ctx, f, argv[0], flags, args)
	case "imgargs":
		if img := x.named(arg(0)); img != nil {
			img.args = strings.Join(args[min(1, len(args)):], " ")
			return nil
		}
		return fmt.Errorf("there is no image %q", shown(arg(0)))
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
		if x.kernel.script() {
			return x.enter(ctx, f, x.kernel.loaded, flags, depth)
		}
		p := plan{kernel: x.kernel}
		for _, i := range x.images {
			if i != x.kernel {
				p.initrds = append(p.initrds, i)
			}
		}
		return &booting{p}
	case "sanboot":
		if len(args) == 0 {
			return &stop{Local, "the script boots the first disk (sanboot)", ""}
		}
		uri := x.absolute(f, args[0])
		if err := x.w.exists(ctx, "disc", uri); err != nil {
			return x.miss(uri, f, err)
		}
		return &booting{plan{kernel: &image{loaded: &loaded{uri: uri}, name: path.Base(uri)}}}
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
		return &stop{Broken, "the script restarts the machine", ""}
	case "poweroff":
		return &stop{Broken, "the script switches the machine off", ""}
	case "shell", "login", "config", "read":
		return &stop{Held, fmt.Sprintf("the script waits for a person (%s)", argv[0]), ""}
	case "cpuid":
		if raw, _, _ := x.w.setting("buildarch"); string(raw) == "x86_64" || string(raw) == "i386" {
			return nil // the processors of these machines can do everything
		}
		return errNo
	case "ifopen", "ifclose", "ifstat", "iflinkwait", "route", "imgstat", "imgtrust", "imgverify", "imgdecrypt", "console", "colour", "cpair", "sync", "ntp", "show", "time", "nslookup", "sanhook", "sanunhook", "vcreate", "nstat", "pciscan", "usbscan", "shim", "certstat":
	case "iPXE":
		return nil // the first line of a script, seen as a command
	default:
		if strings.HasPrefix(argv[0], "#") {
			return nil
		}
		return fmt.Errorf("iPXE has no command %q", shown(argv[0]))
	}
	return nil
}

// valued lists the options that have a value.
var valued = map[string]string{"name": "", "timeout": "", "key": "", "default": "", "params": "", "drive": "", "filename": "", "configurator": "", "user": "", "pass": "", "title": "", "method": "", "menu": "", "select": "",
	"n": "name", "t": "timeout", "k": "key", "d": "default", "p": "params", "c": "configurator", "f": "filename"}

// options parts the flags from the other words; flags come first.
func options(argv []string) (flags map[string]string, args []string) {
	flags = map[string]string{}
	for len(argv) > 0 {
		name, ok := strings.CutPrefix(argv[0], "-")
		if !ok || name == "" {
			break
		}
		argv = argv[1:]
		name, value, given := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		long, takes := valued[name]
		if long != "" {
			name = long
		}
		if takes && !given && len(argv) > 0 {
			value, argv = argv[0], argv[1:]
		}
		flags[name] = value
	}
	return flags, argv
}

func (x *ipxe) say(t string) {
	if len(x.said) < maxSaid && strings.TrimSpace(t) != "" {
		x.said = append(x.said, shown(t))
	}
}

func (x *ipxe) set(name, value string) error {
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

// paused counts waits; a script that does nothing else keeps the machine.
func (x *ipxe) paused(what string) error {
	if x.pauses++; x.pauses < maxPauses {
		return nil
	}
	if x.failure != nil {
		return x.broken(x.failure)
	}
	return &stop{Held, "the script waits in a loop: " + shown(what), ""}
}

func (x *ipxe) named(name string) *image {
	for _, i := range x.images {
		if i.name == name {
			return i
		}
	}
	return nil
}

// absolute resolves a URI against the running script's.
func (x *ipxe) absolute(f *scriptFrame, uri string) string {
	return resolve(f.uri, uri)
}

func resolve(base, uri string) string {
	if strings.Contains(uri, "://") {
		return uri
	}
	b, err := url.Parse(base)
	if err != nil {
		return uri
	}
	file, query, _ := strings.Cut(uri, "?")
	if !strings.HasPrefix(file, "/") {
		dir, _ := path.Split(b.Path)
		file = dir + file
	}
	u := url.URL{Scheme: b.Scheme, Host: b.Host, Path: file, RawQuery: query}
	return u.String()
}

// miss notes that a load failed.
func (x *ipxe) miss(uri string, f *scriptFrame, err error) error {
	if ends(err) {
		// A diagnosis of the fetch is a status here: a script may have another way.
		if e, ok := err.(*stop); !ok || e.end != Broken {
			return err
		}
	}
	f.failed = true
	x.failure = err
	x.errno = "1d0c6139"
	if e := (*httpError)(nil); errors.As(err, &e) && e.code == 404 {
		x.errno = "2d0c618e"
	}
	if x.refused[uri]++; x.refused[uri] >= maxRefused {
		return x.broken(fmt.Errorf("%s could not be loaded %d times: %w", shown(uri), maxRefused, err))
	}
	return &status{err}
}

// status is a command's failure, whatever it wraps.
type status struct{ err error }

func (s *status) Error() string { return s.err.Error() }

func (x *ipxe) chain(ctx context.Context, f *scriptFrame, flags map[string]string, args []string, depth int) error {
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
			return &stop{Held, "the server holds the machine: its script waits and asks again. It says: " + strings.Join(x.said[max(0, len(x.said)-4):], " / "), ""}
		}
	}
	if x.chains++; x.chains > maxChains {
		return fault("do two scripts chain to each other?", "scripts chain to each other more than %d times", maxChains)
	}
	l, err := x.w.load(ctx, "script", uri, form)
	if err != nil {
		return x.miss(uri, f, err)
	}
	x.failure, x.errno, x.refused[uri] = nil, "0", 0
	x.visited[uri] = true
	if !l.script() {
		return &booting{plan{kernel: &image{loaded: l, name: path.Base(uri), args: strings.Join(args[1:], " ")}}}
	}
	return x.enter(ctx, f, l, flags, depth)
}

// enter runs a script that was loaded, inside this one or in place of it.
func (x *ipxe) enter(ctx context.Context, f *scriptFrame, l *loaded, flags map[string]string, depth int) error {
	if _, replace := flags["replace"]; replace {
		return &replacing{l.uri, l.head}
	}
	err := x.script(ctx, l.uri, l.head, depth+1)
	if e, ok := err.(*leaving); ok {
		if e.code == 0 {
			return nil
		}
		return &status{fmt.Errorf("the script %s ended with status %d", shown(l.uri), e.code)}
	}
	return err
}

func (x *ipxe) fetch(ctx context.Context, f *scriptFrame, command string, flags map[string]string, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s wants a URI", command)
	}
	if len(x.images) >= maxImages {
		return fault("", "the script loads more than %d images", maxImages)
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
	l, err := x.w.load(ctx, step, uri, nil)
	if err != nil {
		return x.miss(uri, f, err)
	}
	x.failure, x.errno = nil, "0"
	img := &image{loaded: l, name: flags["name"], args: strings.Join(args[1:], " ")}
	if img.name == "" {
		name, _, _ := strings.Cut(uri, "?")
		img.name = path.Base(name)
	}
	x.images = append(x.images, img)
	if command == "kernel" || command == "imgselect" || command == "imgload" {
		x.kernel = img
	}
	return nil
}
