package simclient

// This file is one machine's boot from power-on to its end: the firmware, the
// program that its loader becomes, and the report of the system.

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/musterboot/muster/internal/simclient/script"
)

// Config is what all machines of a process share.
type Config struct {
	Interface string
	IPv6      bool           // IPv6 alone, without IPv4
	Relay     Relay          // if Addr is set, machines are behind this relay
	Roots     *x509.CertPool // trusted by HTTPS; nil means the host's
	Fast      bool           // the firmware's waits are shortened
	Stages    []string       // reported once the kernel runs; nil is "running"
	NoReport  bool
	Keep      bool // leases are not released
	NoDigest  bool // files are counted, not hashed
	NoAddress bool // no address is added to the interface
	UseLease  bool // files are fetched from the leased address even where the host's own would do
	Limit     time.Duration
	MaxFile   int64
	OnlyHead  bool // stops before the kernel would be loaded
}

const (
	defaultLimit   = 10 * time.Minute
	defaultMaxFile = 16 << 30
	// A busy server must not lose a simulated machine that it would not lose as
	// hardware.
	fastWaits   = 0.1
	fastRetries = 0.25
)

// A Host holds the socket that all machines speak through.
type Host struct {
	cfg  Config
	wire wire // one of these two
	six  wire6
	addr *addresses
	dev  string

	mu     sync.Mutex
	owners map[netip.Addr]MAC // leases held now
	twice  int
}

// Open prepares a host for its machines.
func Open(cfg Config) (*Host, error) {
	if cfg.Limit <= 0 {
		cfg.Limit = defaultLimit
	}
	if cfg.MaxFile <= 0 {
		cfg.MaxFile = defaultMaxFile
	}
	h := &Host{cfg: cfg, owners: map[netip.Addr]MAC{}}
	if cfg.Relay.Addr.IsValid() {
		// Behind a relay there is no interface to add addresses to: files are
		// fetched from the relay's own address.
		h.addr = &addresses{relay: cfg.Relay.Addr}
		if cfg.IPv6 {
			a, err := openAgent6(cfg.Relay)
			if err != nil {
				return nil, err
			}
			h.six = a
			return h, nil
		}
		a, err := openAgent(cfg.Relay)
		if err != nil {
			return nil, err
		}
		h.wire = a
		return h, nil
	}
	ifi, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("interface %q: %w", cfg.Interface, err)
	}
	if h.addr, err = newAddresses(ifi, cfg.NoAddress, cfg.UseLease); err != nil {
		return nil, err
	}
	h.dev = ifi.Name
	if cfg.IPv6 {
		l, err := openLink6(ifi)
		if err != nil {
			return nil, err
		}
		h.six = l
		return h, nil
	}
	l, err := openLink(ifi)
	if err != nil {
		return nil, err
	}
	h.wire = l
	return h, nil
}

// Close removes what was added to the interface.
func (h *Host) Close() error {
	var errs []error
	for _, w := range []any{h.wire, h.six} {
		if c, ok := w.(interface{ close() error }); ok {
			errs = append(errs, c.close())
		}
	}
	if err := h.addr.close(); err != nil {
		errs = append(errs, fmt.Errorf("taking addresses back from %s: %w", h.dev, err))
	}
	return errors.Join(errs...)
}

// claim records who holds an address; it returns another machine that holds it
// already.
func (h *Host) claim(a netip.Addr, m MAC) (other MAC) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if o, ok := h.owners[a]; ok && o != m {
		h.twice++
		return o
	}
	h.owners[a] = m
	return MAC{}
}

func (h *Host) unclaim(a netip.Addr, m MAC) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.owners[a] == m {
		delete(h.owners, a)
	}
}

// run is one boot of one machine.
type run struct {
	m    *Machine
	h    *Host
	wire wire
	six  wire6
	addr *addresses
	t    *Transcript
	tell func(Step)

	now   *Kind // what it has become
	l     *lease
	boot  *reply // the reply that named the boot file
	addrs []*lease
	src   netip.Addr
	backs []func()
	webs  map[bool]*web // by whether redirects are followed
	turns int           // how many loaders it became
}

// Boot boots a machine; tell, if given, is called with each step as it ends.
func (h *Host) Boot(ctx context.Context, m *Machine, tell func(Step)) *Transcript {
	if tell == nil {
		tell = func(Step) {}
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Limit)
	defer cancel()
	r := &run{m: m, h: h, wire: h.wire, six: h.six, addr: h.addr, tell: tell, webs: map[bool]*web{},
		t: &Transcript{Kind: m.Kind.Name, MAC: m.MAC.String(), UUID: m.UUID.String(), Serial: m.Serial}}
	err := r.power(ctx)
	r.t.End, r.t.Text = Broken, "it ended"
	var e *stop
	switch {
	case errors.As(err, &e):
		r.t.End, r.t.Text = e.End, e.Text
		r.t.Hint = e.Hint
	case err != nil:
		if ctx.Err() != nil {
			err = r.over(ctx)
		}
		r.t.Text = err.Error()
	}
	for _, w := range r.webs {
		w.close()
	}
	// The address goes before it is given back: the server probes what it gives next,
	// and would find this host on it.
	for _, back := range r.backs {
		back()
	}
	if !h.cfg.Keep {
		r.release()
	} else {
		for _, l := range r.addrs {
			if l.held {
				r.step(Step{Name: "release", Verdict: Skipped, Text: l.addr.String() + " is kept"})
				break
			}
		}
	}
	r.t.Took = time.Since(start)
	return r.t
}

func (r *run) step(s Step) {
	r.t.Steps = append(r.t.Steps, s)
	r.tell(s)
}

// fail notes a failed step and returns its error.
func (r *run) fail(name string, err error) error {
	s := Step{Name: name, Verdict: Failed, Text: err.Error()}
	var e *stop
	if errors.As(err, &e) {
		s.Hint = e.Hint
	}
	r.step(s)
	return err
}

func (r *run) over(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ended(Broken, fmt.Sprintf("it took longer than %s", r.h.cfg.Limit), "raise --timeout if the network is slow")
	}
	return ended(Broken, "it was interrupted", "")
}

// wait scales the time that the firmware waits for further answers; retry
// scales the time until it asks again.
func (r *run) wait(d time.Duration) time.Duration {
	if r.h.cfg.Fast {
		return scaled(d, fastWaits)
	}
	return d
}

func (r *run) retry(d time.Duration) time.Duration { return scaled(d, r.scale()) }

func (r *run) scale() float64 {
	if r.h.cfg.Fast {
		return fastRetries
	}
	return 1
}

// power is the machine from power-on. It returns why the boot ended.
func (r *run) power(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a mistake of the simulator: %v", p)
		}
	}()
	k := r.m.Kind
	if k.way == asIPXE {
		return r.ipxe(ctx, k, "", nil)
	}
	l, boot, err := r.lease(ctx, k, "")
	if err != nil {
		if l != nil && k.way == asONIE {
			return r.onie(ctx, l)
		}
		return err
	}
	if err := r.at(l); err != nil {
		return err
	}
	r.boot = boot
	switch k.way {
	case asPi:
		return r.pi(ctx, l, boot)
	case asONIE:
		return r.onie(ctx, l)
	case asUBoot:
		return r.uboot(ctx, k, l, boot)
	}
	return r.loader(ctx, k, l, boot)
}

// at sets the lease that files are fetched with.
func (r *run) at(l *lease) error {
	r.l = l
	src, back, err := r.addr.source(l, false)
	if err != nil {
		return r.fail("address", err)
	}
	r.backs = append(r.backs, back)
	r.lent(src, l)
	if src != r.src {
		text := "files are fetched from " + src.String()
		switch {
		case src != l.addr && !r.addr.relay.IsValid():
			text += ", the interface's own"
		case src == l.addr:
			text += ", added to " + r.h.dev + " for the run"
		}
		r.step(Step{Name: "address", Verdict: OK, Text: text})
		r.src = src
		for _, w := range r.webs {
			w.close()
		}
		clear(r.webs)
	}
	return nil
}

// lent announces that the address src is here, if it is the leased one.
func (r *run) lent(src netip.Addr, l *lease) {
	if w, ok := r.wire.(interface{ lend(MAC, netip.Addr) func() }); ok && src == l.addr {
		r.backs = append(r.backs, w.lend(r.m.MAC, src))
	}
}

// loader loads the first file of the firmware, and goes on as that program.
func (r *run) loader(ctx context.Context, k *Kind, l *lease, boot *reply) error {
	var target string
	if k.way == byHTTP {
		target = boot.name()
		if u, err := url.Parse(target); err != nil || u.Scheme != "http" && u.Scheme != "https" {
			return r.fail("loader", fault("option 67 must be a URL like http://10.0.0.1/ipxe.efi", "UEFI HTTP boot is told to load %q, which is no URL of HTTP", shown(target)))
		}
	} else {
		server, name := boot.tftpServer(), boot.name()
		if k.collect == 0 && k.way == byTFTP {
			server, name = boot.next, boot.file // U-Boot reads only the header
		}
		if name == "" {
			return r.fail("loader", fault("is this machine allowed to boot, and does the server know its kind ("+k.class+")?", "%s gives an address and names no boot file", boot.who()))
		}
		if !server.IsValid() && !strings.Contains(name, "://") {
			return r.fail("loader", fault("the server must fill in siaddr (next-server): firmware ignores option 66", "no answer says where %s is", shown(name)))
		}
		target = tftpURL(server, name)
	}
	f, err := r.fetch(ctx, "loader", target, r.firmwareAgent(k))
	if err != nil {
		return err
	}
	return r.started(ctx, k, f)
}

func tftpURL(server netip.Addr, name string) string {
	if strings.Contains(name, "://") {
		return name
	}
	// The name is sent as the server wrote it: it is a file name, and no URL's
	// path.
	if server.Is6() {
		return "tftp://[" + server.String() + "]/" + name
	}
	return "tftp://" + server.String() + "/" + name
}

// started goes on as the program f. The program is not run; its name says what
// it is.
func (r *run) started(ctx context.Context, k *Kind, f *script.File) error {
	name, _, _ := strings.Cut(f.URI, "?")
	name = strings.ToLower(path.Base(name))
	if r.turns++; r.turns > 4 {
		return ended(Broken, "loaders load each other: the machine would go round for ever", "the server must tell iPXE from firmware, by user class or option 175")
	}
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(name, w) {
				return true
			}
		}
		return false
	}
	switch {
	case f.Script():
		return r.ipxe(ctx, k, "", f)
	case has("ipxe", "snponly", "undionly"):
		next := k
		if k.becomes != "" {
			next = kindNamed(k.becomes)
		}
		r.gone(ctx)
		return r.ipxe(ctx, next, "ipxe ", nil)
	case has("shim"):
		return r.shim(ctx, f)
	case has("grub"):
		return r.grub(ctx, f)
	}
	return ended(Loaded, fmt.Sprintf("%s was loaded, %d bytes: what it does next cannot be told without running it", shown(path.Base(f.URI)), f.Bytes), "")
}

// firmwareAgent loads as firmware or as iPXE does.
func (r *run) firmwareAgent(k *Kind) manner {
	m := manner{agent: agentFirmware, blksize: k.blksize, probe: k.probe}
	if r.six != nil {
		m.blksize = k.six.blksize
	}
	if k.way == asIPXE {
		m.agent, m.follow = agentIPXE, true
	}
	return m
}

// manner is how a program loads files.
type manner struct {
	agent   string
	follow  bool // redirects
	blksize int
	probe   bool
	header  map[string][]string
	form    url.Values
	quiet   bool // a missing file is no failed step
}

// ipxe is the machine as iPXE: it gets an address of its own, then a script. f
// is a script that it has already.
func (r *run) ipxe(ctx context.Context, k *Kind, stage string, f *script.File) error {
	r.now = k
	w := &ipxeWorld{r: r, k: k, stage: stage}
	if f == nil {
		if err := w.lease(ctx); err != nil {
			return err
		}
		name := r.boot.ipxeName()
		x := script.NewIPXE(w)
		name = x.Expand(name) // iPXE expands settings in it
		target := name
		if !strings.Contains(name, "://") {
			if !r.boot.next.IsValid() {
				return r.fail("script", fault("the server must fill in siaddr (next-server)", "no answer says where %s is", shown(name)))
			}
			target = tftpURL(r.boot.next, name)
		}
		var err error
		if f, err = r.fetch(ctx, "script", target, r.firmwareAgent(k)); err != nil {
			return err
		}
		if !f.Script() {
			return r.started(ctx, k, f)
		}
	}
	x := script.NewIPXE(w)
	err := x.Run(ctx, f.URI, f.Head)
	r.t.Says = append(r.t.Says, x.Said...)
	var b *script.Booting
	if !errors.As(err, &b) {
		return err
	}
	return r.kernel(ctx, k, b.Plan)
}

// kernel is the last load: the system would run next.
func (r *run) kernel(ctx context.Context, k *Kind, p script.Plan) error {
	args := p.Kernel.Args
	name, _, _ := strings.Cut(p.Kernel.URI, "?")
	if lower := strings.ToLower(path.Base(name)); args == "" && len(p.Initrds) == 0 {
		for _, w := range []string{"ipxe", "snponly", "undionly", "shim", "grub"} {
			if strings.Contains(lower, w) {
				return r.started(ctx, k, p.Kernel.File)
			}
		}
	}
	r.t.Cmdline = shown4k(args)
	total := p.Kernel.Bytes
	for _, i := range p.Initrds {
		total += i.Bytes
	}
	what := fmt.Sprintf("%s starts", shown(p.Kernel.Name))
	if len(p.Initrds) > 0 {
		what += fmt.Sprintf(" with %d initrd", len(p.Initrds))
	}
	r.step(Step{Name: "boot", Verdict: OK, Text: fmt.Sprintf("%s, %d bytes in all", what, total)})
	if r.h.cfg.NoReport {
		return ended(Booted, what, "")
	}
	report, install := "", ""
	for _, w := range strings.Fields(args) {
		if v, ok := strings.CutPrefix(w, "muster.report="); ok {
			report = v
		}
		if v, ok := strings.CutPrefix(w, "muster.install="); ok {
			install = v
		}
	}
	m := manner{agent: "Wget", follow: true}
	stages := r.h.cfg.Stages
	if stages == nil {
		stages = []string{"running"}
		if install != "" {
			stages = append(stages, "installed")
		}
	}
	for _, stage := range stages {
		if install != "" && stage == "installed" {
			if _, err := r.fetch(ctx, "install", install, m); err != nil {
				return err
			}
		}
		if report == "" {
			break
		}
		sep := "?"
		if strings.Contains(report, "?") {
			sep = "&"
		}
		f, err := r.get(ctx, report+sep+"stage="+url.QueryEscape(stage), m)
		if err != nil && ctx.Err() != nil {
			err = r.over(ctx)
		}
		if err != nil {
			return r.fail("report", explained(err, report))
		}
		r.step(Step{Name: "report", Verdict: OK, Text: stage, File: shown(report), Took: f.took})
	}
	return ended(Booted, what, "")
}

func shown4k(t string) string {
	if len(t) > 4096 {
		t = t[:4096]
	}
	return strings.ToValidUTF8(t, ".")
}

// fetched is a loaded file with details of its fetch.
type fetched struct {
	script.File
	took time.Duration
}

// fetch loads a file as a step of that name.
func (r *run) fetch(ctx context.Context, name, target string, m manner) (*script.File, error) {
	f, err := r.get(ctx, target, m)
	if err != nil {
		if ctx.Err() != nil {
			return nil, r.fail(name, r.over(ctx))
		}
		if m.quiet {
			return nil, err
		}
		return nil, r.fail(name, explained(err, target))
	}
	st := Step{Name: name, Verdict: OK, File: shown(target), Bytes: f.Bytes, SHA256: f.Sum, Took: f.took, Text: shown(short(target))}
	if u, err := url.Parse(target); err == nil {
		st.Server = u.Host
	}
	r.step(st)
	return &f.File, nil
}

// explained adds to a failed load what a person should do.
func explained(err error, target string) error {
	what := shown(short(target)) + ": "
	var e *stop
	var h *httpError
	var t *tftpRefusal
	switch {
	case errors.As(err, &e):
		return ended(e.End, what+e.Text, e.Hint)
	case errors.As(err, &h) && h.to != "":
		return fault("the server must serve the file under the URL that it gives", "%s%v", what, err)
	case errors.As(err, &h) && h.code == 404:
		return fault("is the file there, under this name?", "%s%v", what, err)
	case errors.As(err, &h):
		return fault("the server's log says why", "%s%v", what, err)
	case errors.As(err, &t) && t.code == 1:
		return fault("is the file there, under this name, for this machine?", "%s%v", what, err)
	case errors.As(err, &t):
		return fault("the server's log says why", "%s%v", what, err)
	case errors.Is(err, errNoTFTP):
		return fault("is a TFTP server running there? does a firewall drop UDP 69, or the high ports that transfers answer from?", "%s%v", what, err)
	}
	return fault("is the server reachable from here, and no firewall in between?", "%s%v", what, err)
}

// get loads a file, and keeps all bytes of a short one.
func (r *run) get(ctx context.Context, target string, m manner) (*fetched, error) {
	start := time.Now()
	s := &sink{limit: r.h.cfg.MaxFile}
	if !r.h.cfg.NoDigest {
		s.hash = sha256.New()
	}
	scheme, rest, _ := strings.Cut(target, "://")
	var err error
	switch scheme {
	case "http", "https":
		err = r.overHTTP(ctx, target, m, s)
	case "tftp":
		host, file, _ := strings.Cut(rest, "/")
		err = r.overTFTP(ctx, host, file, m, s)
	default:
		err = fmt.Errorf("%s is no URL of HTTP, HTTPS or TFTP", shown(target))
	}
	if err != nil {
		return nil, err
	}
	f := &fetched{File: script.File{URI: target, Bytes: s.n}, took: time.Since(start)}
	if s.hash != nil {
		f.Sum = hex.EncodeToString(s.hash.Sum(nil))
	}
	if s.n == int64(len(s.head)) {
		f.Head = s.head
	}
	return f, nil
}

// sink counts and hashes the bytes written to it, and keeps those of a short
// file.
type sink struct {
	n, limit int64
	hash     hash.Hash
	head     []byte
	binary   bool
}

func (s *sink) Write(b []byte) (int, error) {
	if s.n += int64(len(b)); s.n > s.limit {
		return 0, fmt.Errorf("it is longer than this machine takes (%d bytes)", s.limit)
	}
	if s.hash != nil {
		s.hash.Write(b)
	}
	if s.n > script.MaxSize {
		s.head, s.binary = nil, true
	} else if !s.binary {
		s.head = append(s.head, b...)
		if len(s.head) >= 2 && !looksText(s.head[:min(len(s.head), 64)]) {
			s.head, s.binary = nil, true // a kernel need not be kept
		}
	}
	return len(b), nil
}

func looksText(b []byte) bool {
	for _, c := range b {
		if c == 0 {
			return false
		}
	}
	return true
}

func (r *run) overHTTP(ctx context.Context, target string, m manner, dst io.Writer) error {
	u, err := url.Parse(strings.ReplaceAll(target, " ", "%20"))
	if err != nil || u.Host == "" {
		return fmt.Errorf("%s is no URL", shown(target))
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := r.addr.reach(r.l, r.src, a); err != nil {
			return err
		}
	}
	w := r.webs[m.follow]
	if w == nil {
		w = newWeb(r.src, r.h.dev, r.l.dns, r.h.cfg.Roots, m.follow)
		r.webs[m.follow] = w
	}
	size := int64(-1)
	if m.agent == agentFirmware {
		if size, err = w.sized(ctx, u.String()); err != nil {
			return err
		}
	}
	if m.form != nil {
		a, err := w.ask(ctx, "POST", u.String(), m.agent, map[string][]string{"Content-Type": {"application/x-www-form-urlencoded"}}, strings.NewReader(m.form.Encode()))
		if err != nil {
			return err
		}
		defer a.Body.Close()
		_, err = io.Copy(dst, io.LimitReader(a.Body, r.h.cfg.MaxFile))
		return err
	}
	n, err := w.read(ctx, u.String(), m.agent, m.header, dst, r.h.cfg.MaxFile)
	if err == nil && size >= 0 && n != size {
		return fmt.Errorf("HEAD announced %d bytes, GET brought %d", size, n)
	}
	return err
}

func (r *run) overTFTP(ctx context.Context, host, file string, m manner, dst io.Writer) error {
	server, err := netip.ParseAddrPort(host)
	if err != nil {
		a, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil {
			family := "ip4"
			if r.src.Is6() {
				family = "ip6"
			}
			names, lerr := resolver(r.src, r.l.dns).LookupNetIP(ctx, family, host)
			if lerr != nil || len(names) == 0 {
				return fmt.Errorf("the name %s cannot be resolved: %w", shown(host), lerr)
			}
			a = names[0].Unmap()
		}
		server = netip.AddrPortFrom(a, 69)
	}
	if err := r.addr.reach(r.l, r.src, server.Addr()); err != nil {
		return err
	}
	size := int64(-1)
	if m.probe {
		if size, err = probeTFTP(ctx, r.src, server, file, m.blksize, r.scale()); err != nil {
			return err
		}
	}
	n, err := readTFTP(ctx, r.src, server, file, m.blksize, dst, r.scale())
	if err == nil && size >= 0 && n != size {
		return fmt.Errorf("%d bytes were announced (tsize), %d came", size, n)
	}
	return err
}
