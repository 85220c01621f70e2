// fake_test.go: a computer made up: interfaces that come and go when a test says so,
// sockets without a kernel, and links whose other servers are a list.

package appliance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/dhcpd"
	"github.com/musterboot/muster/httpboot"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/dns"
	"github.com/musterboot/muster/internal/run"
	"github.com/musterboot/muster/radv"
	"github.com/musterboot/muster/syslogd"
	"github.com/musterboot/muster/tftpd"
)

// computer is a system made up.
type computer struct {
	mu       sync.Mutex
	room     uint64 // see Room
	ifaces   map[string]run.Link
	changes  chan struct{}
	hangups  chan os.Signal
	refuse   map[string]error // what cannot be opened: "udp 67", "tcp :80", …
	noFrames bool
	open     map[string]int // sockets by name
	dhcp     map[int]*wire
	six      *wire
	joined   []string
	joinErr  error
	web      map[string]*pipes
	addrs    []string // given to interfaces, and taken away again
	advice   string
	at       []string // where those are: a name, an address, …
	loopback bool     // files and log lines have sockets of the kernel

	probe    func(iface string) ([]boot.Rival, error)
	probe6   func(iface string) ([]boot.Rival, error)
	occupied func(addrs []netip.Addr) (map[netip.Addr]boot.MAC, error)
	answers  func(addrs []netip.Addr) ([]netip.Addr, error)
	lookup   func(server netip.Addr, name string) ([]netip.Addr, error)
}

func newComputer() *computer {
	return &computer{ifaces: map[string]run.Link{}, changes: make(chan struct{}, 1), hangups: make(chan os.Signal, 1), refuse: map[string]error{}, open: map[string]int{}, dhcp: map[int]*wire{}, web: map[string]*pipes{},
		probe:    func(string) ([]boot.Rival, error) { return nil, nil },
		probe6:   func(string) ([]boot.Rival, error) { return nil, nil },
		occupied: func([]netip.Addr) (map[netip.Addr]boot.MAC, error) { return nil, nil },
		answers:  func([]netip.Addr) ([]netip.Addr, error) { return nil, nil },
		lookup:   func(netip.Addr, string) ([]netip.Addr, error) { return nil, dns.ErrUnknown }}
}

// plug puts an interface in, or changes it; with a carrier.
func (c *computer) plug(name string, addrs ...string) {
	l := run.Link{Name: name, Found: true, Up: true, Carry: true}
	for _, a := range addrs {
		l.Addrs = append(l.Addrs, netip.MustParsePrefix(a))
	}
	c.set(name, l)
}

// cut takes the carrier away.
func (c *computer) cut(name string) {
	c.mu.Lock()
	l := c.ifaces[name]
	c.mu.Unlock()
	l.Carry = false
	c.set(name, l)
}

func (c *computer) unplug(name string) { c.set(name, run.Link{}) }

func (c *computer) set(name string, l run.Link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ifaces[name] = l
	select {
	case c.changes <- struct{}{}:
	default:
	}
}

// Room is what a test says is left; 0 is plenty.
func (c *computer) Room(string) (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room == 0 {
		return 1 << 40, true
	}
	return c.room, true
}

func (c *computer) Interfaces() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.ifaces))
}

func (c *computer) Link(name string) (run.Link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ifaces[name], nil
}

func (c *computer) WatchLinks(ctx context.Context, changed func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.changes:
			changed()
		}
	}
}

func (c *computer) SetAddress(name string, p netip.Prefix) (func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.ifaces[name]
	l.Addrs = append(slices.Clone(l.Addrs), p)
	c.ifaces[name] = l
	c.addrs = append(c.addrs, "+"+p.String())
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.addrs = append(c.addrs, "-"+p.String())
	}, nil
}

func (c *computer) Advice(_ context.Context, iface string, udp, tcp []int) string {
	if c.advice == "" {
		return ""
	}
	return fmt.Sprintf("%s: %s udp %d tcp %d", iface, c.advice, udp, tcp)
}

func (c *computer) Container(string) string { return "" }

// opens notes a socket, or says why it cannot be had.
func (c *computer) opens(name string) (closed func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refuse[name]; err != nil {
		return nil, err
	}
	c.open[name]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.open[name]--
	}, nil
}

// left names sockets that are open.
func (c *computer) left() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, i := range c.open {
		if i != 0 {
			names = append(names, n)
		}
	}
	return names
}

func (c *computer) listener(name string) (net.Listener, error) {
	closed, err := c.opens(name)
	if err != nil {
		return nil, err
	}
	p := newPipes(closed)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.web[name] = p
	return p, nil
}

func (c *computer) Admin(string) (net.Listener, error) { return c.listener("admin") }
func (c *computer) HTTP(ctx context.Context, addr string) (net.Listener, error) {
	if c.loopback {
		l, err := httpboot.Listen(ctx, loopAddr+":0")
		c.at = append(c.at, "tcp "+addr, l.Addr().String())
		return l, err
	}
	return c.listener("tcp " + addr)
}

func (c *computer) DHCP(_ context.Context, port int, now func() time.Time) (dhcpd.Conn, bool, error) {
	closed, err := c.opens(fmt.Sprint("udp ", port))
	if err != nil {
		return nil, false, err
	}
	w := newWire(now, closed)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dhcp[port] = w
	return w, !c.noFrames, nil
}

func (c *computer) DHCP6(_ context.Context, now func() time.Time) (conn6, error) {
	closed, err := c.opens("udp 547")
	if err != nil {
		return nil, err
	}
	c.six = newWire(now, closed)
	return joining{c.six, c}, nil
}

type joining struct {
	*wire
	c *computer
}

func (j joining) Join(iface string) error {
	j.c.mu.Lock()
	defer j.c.mu.Unlock()
	j.c.joined = append(j.c.joined, iface)
	return j.c.joinErr
}

// TFTP opens nothing in a bubble: its loop needs a kernel.
func (c *computer) TFTP(ctx context.Context, addr string) ([]*net.UDPConn, error) {
	if c.loopback {
		cs, err := tftpd.Listen(ctx, loopAddr+":0")
		c.at = append(c.at, "udp "+addr, cs[0].LocalAddr().String())
		return cs, err
	}
	closed, err := c.opens("udp " + addr)
	if err == nil {
		closed()
	}
	return nil, err
}

func (c *computer) Syslog(ctx context.Context, addr string) (*syslogd.Sockets, string, error) {
	if c.loopback {
		s, network, err := syslogd.Listen(ctx, loopAddr+":0")
		c.at = append(c.at, "syslog "+addr, s.UDP.LocalAddr().String())
		return s, network, err
	}
	if _, err := c.opens("syslog " + addr); err != nil {
		return nil, "udp", err
	}
	return nil, "", errors.New("a made-up computer has no sockets for log lines: refuse them, or turn them off")
}

func (c *computer) Advertise(ctx context.Context, _ *radv.Server) error {
	<-ctx.Done()
	return nil
}

func (c *computer) Probe(_ context.Context, _ *dhcpd.Server, iface string) ([]boot.Rival, error) {
	found, err := c.probe(iface)
	if len(found) == 0 {
		time.Sleep(dhcpd.ProbeTime)
	}
	return found, err
}

func (c *computer) Probe6(_ context.Context, iface string, _ netip.Addr, _ []byte) ([]boot.Rival, error) {
	time.Sleep(dhcpd.ProbeTime)
	return c.probe6(iface)
}

func (c *computer) Occupied(_ context.Context, _ string, _ netip.Addr, addrs []netip.Addr, wait time.Duration) (map[netip.Addr]boot.MAC, error) {
	time.Sleep(wait)
	return c.occupied(addrs)
}

func (c *computer) Answers(_ context.Context, _ netip.Addr, addrs []netip.Addr, wait time.Duration) ([]netip.Addr, error) {
	time.Sleep(wait)
	return c.answers(addrs)
}

func (c *computer) Lookup(_ context.Context, server netip.Addr, name string) ([]netip.Addr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lookup(server, name)
}

func (c *computer) Hangups() (<-chan os.Signal, func()) { return c.hangups, func() {} }

// wire is a DHCP socket: what clients send, and what they hear.
type wire struct {
	now    func() time.Time
	in     chan dhcpd.Packet
	out    chan []byte
	closed chan struct{}
	once   sync.Once
	after  func()
}

func newWire(now func() time.Time, after func()) *wire {
	return &wire{now: now, in: make(chan dhcpd.Packet), out: make(chan []byte, 64), closed: make(chan struct{}), after: after}
}

func (w *wire) Read(ps []dhcpd.Packet) (int, error) {
	select {
	case <-w.closed:
		return 0, net.ErrClosed
	case p := <-w.in:
		ps[0].N = copy(ps[0].Buf, p.Buf)
		ps[0].Meta = p.Meta
		return 1, nil
	}
}

func (w *wire) Send(reply []byte, _ dhcpd.Dest, _ dhcpd.Meta) error {
	select {
	case w.out <- bytes.Clone(reply):
	default:
	}
	return nil
}

// Close counts the socket as closed before it wakes the reader: the daemon may be over
// as soon as the reader is.
func (w *wire) Close() error {
	w.once.Do(func() { w.after(); close(w.closed) })
	return nil
}

// pipes is a listener in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	after  func()
}

func newPipes(after func()) *pipes {
	return &pipes{conns: make(chan net.Conn), closed: make(chan struct{}), after: after}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { p.after(); close(p.closed) })
	return nil
}

// Addr is one that machines have, for what reads it.
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 77, 0, 1), Port: 80} }

// client speaks to the listener, once a connection.
func (p *pipes) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		a, b := net.Pipe()
		select {
		case p.conns <- addressed{b}:
			return a, nil
		case <-p.closed:
			return nil, syscall.ECONNREFUSED
		}
	}}}
}

// addressed is a pipe between addresses of a network.
type addressed struct{ net.Conn }

func (addressed) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 77, 0, 1), Port: 80} }
func (addressed) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(10, 77, 0, 100), Port: 40000}
}

// said is a log, one line a record.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *said) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// loopAddr is an address of this host in a network of its own, which needs nobody's leave.
const loopAddr = "127.77.0.1"

// rig is a daemon on a computer made up.
type rig struct {
	*daemon
	t    *testing.T
	c    *computer
	toml string
	said said
	show []client.Entry
	stop context.CancelFunc
	done chan error
}

// newRig makes one that is not started. Of log lines there are none.
func newRig(t *testing.T, toml string) *rig {
	t.Helper()
	r := &rig{t: t, c: newComputer(), toml: toml, done: make(chan error, 1)}
	r.c.plug("eth0", "10.77.0.1/24")
	dir := t.TempDir()
	r.daemon = newDaemon(Options{
		Read: func() (*config.Config, error) {
			c, err := config.Parse("muster.toml", []byte(r.toml))
			if err == nil {
				c.DataDir = dir
			}
			return c, err
		},
		Path: "/etc/muster/muster.toml", Version: "7", Log: r.said.log(), Now: time.Now,
	}, r.c)
	return r
}

// bench makes the rig one for an interface.
func (r *rig) bench(b Bench, ranges string) {
	r.opt.Bench = b
	read := r.opt.Read
	r.opt.Read = func() (*config.Config, error) {
		file, err := read()
		if err != nil {
			return nil, err
		}
		c, err := config.Bench{Interface: b.Interface, Range: ranges, Lease: time.Hour}.Config()
		if err == nil {
			c.DataDir, c.Syslog.Listen = file.DataDir, ""
		}
		return c, err
	}
	r.opt.Show = func(e client.Entry) { r.show = append(r.show, e) }
}

// run starts the daemon in a bubble, and ends it with the test.
func (r *rig) run() {
	r.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.done <- r.daemon.run(ctx) }()
	r.t.Cleanup(r.end)
	r.settle()
}

// settle waits until everything that is under way has come to rest.
func (r *rig) settle() {
	r.t.Helper()
	synctest.Wait()
	select {
	case err := <-r.done:
		r.done <- err
		r.t.Fatalf("it ended: %v\n%s", err, &r.said)
	default:
	}
}

// after lets time pass.
func (r *rig) after(d time.Duration) {
	r.t.Helper()
	time.Sleep(d)
	r.settle()
}

// end stops the daemon.
func (r *rig) end() {
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Errorf("it ended with %v", err)
	}
	r.done <- nil
	if l := r.c.left(); l != nil {
		r.t.Errorf("sockets are left open: %v", l)
	}
	if r.t.Failed() {
		r.t.Logf("it said:\n%s", &r.said)
	}
}

// says reports words that stand in one line of the log.
func (r *rig) says(words ...string) bool {
	for line := range strings.Lines(r.said.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return true
		}
	}
	return false
}

// must have the log say words in one line.
func (r *rig) must(words ...string) {
	r.t.Helper()
	if !r.says(words...) {
		r.t.Errorf("the log does not say %q", words)
	}
}

// never may the log say them.
func (r *rig) never(words ...string) {
	r.t.Helper()
	if r.says(words...) {
		r.t.Errorf("the log says %q", words)
	}
}

// network is how a network stands.
func (r *rig) network(name string) client.NetworkStatus {
	r.t.Helper()
	s, err := r.status(r.t.Context())
	must(r.t, err)
	for _, n := range s.Networks {
		if n.Name == name {
			return n
		}
	}
	r.t.Fatalf("no network is called %s: %+v", name, s.Networks)
	return client.NetworkStatus{}
}

// events are the texts of stored events of a kind.
func (r *rig) events(kind boot.EventKind) (texts []string) {
	r.t.Helper()
	must(r.t, r.engine.View(r.t.Context(), func(tx boot.ReadTx) error {
		es, err := tx.Events(0, 1000)
		texts = nil
		for _, e := range es {
			if e.Kind == kind {
				texts = append(texts, e.Text)
			}
		}
		return err
	}))
	return texts
}

// send sends a client's DHCP request on an interface, and returns the replies.
func (r *rig) send(iface string, q dhcpd.Query) (replies [][]byte) {
	r.t.Helper()
	w := r.c.dhcp[67]
	for len(w.out) > 0 {
		<-w.out
	}
	w.in <- dhcpd.Packet{Buf: q.Packet(), Meta: dhcpd.Meta{At: time.Now(), Interface: iface}}
	r.settle()
	for len(w.out) > 0 {
		replies = append(replies, <-w.out)
	}
	return replies
}

// lease has a client ask for an address all the way; without one it is not valid.
func (r *rig) lease(iface string, mac byte) netip.Addr {
	r.t.Helper()
	q := dhcpd.Query{MAC: boot.MAC{0x52, 0x54, 0, 0, 0, mac}, Arch: boot.ArchNone}
	offers := r.send(iface, q)
	if len(offers) == 0 {
		return netip.Addr{}
	}
	q.Addr, q.Server = yours(offers[0]), by(offers[0])
	if acks := r.send(iface, q); len(acks) == 1 && yours(acks[0]) == q.Addr {
		return q.Addr
	}
	return netip.Addr{}
}

// file writes a file into the data directory.
func (r *rig) file(name, text string) string {
	r.t.Helper()
	f := filepath.Join(r.dataDir, name)
	must(r.t, os.MkdirAll(filepath.Dir(f), 0o700))
	must(r.t, os.WriteFile(f, []byte(text), 0o600))
	return f
}

// figure must have a value; labels are "name=value …".
func (r *rig) figure(name, labels string, want float64) {
	r.t.Helper()
	for _, s := range r.figures() {
		var ls []string
		for _, l := range s.Labels {
			ls = append(ls, l.Name+"="+l.Value)
		}
		if s.Name == name && strings.Join(ls, " ") == labels {
			if s.Value != want {
				r.t.Errorf("%s{%s} is %v, want %v", name, labels, s.Value, want)
			}
			return
		}
	}
	r.t.Errorf("there is no %s{%s}", name, labels)
}

// by is the server of a reply (RFC 2132 9.7).
func by(reply []byte) netip.Addr {
	i := bytes.Index(reply[240:], []byte{54, 4})
	return netip.AddrFrom4([4]byte(reply[240+i+2:]))
}

// yours is the address in a reply (RFC 2131 2, yiaddr).
func yours(reply []byte) netip.Addr { return netip.AddrFrom4([4]byte(reply[16:20])) }
