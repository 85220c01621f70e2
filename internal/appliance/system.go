// system.go: what the appliance needs of the computer that it runs on.

package appliance

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/dhcpd"
	"github.com/musterboot/muster/httpboot"
	"github.com/musterboot/muster/internal/admin"
	"github.com/musterboot/muster/internal/dns"
	"github.com/musterboot/muster/internal/run"
	"github.com/musterboot/muster/radv"
	"github.com/musterboot/muster/syslogd"
	"github.com/musterboot/muster/tftpd"
)

// system is everything outside of the process except files.
type system interface {
	links
	sockets
	probes
	// Hangups returns the signals that ask for a reload, until stop is called.
	Hangups() (c <-chan os.Signal, stop func())
	Room(dir string) (free uint64, ok bool) // bytes that this user may still write there
}

// links are the computer's interfaces, and what may keep them from serving.
type links interface {
	Interfaces() []string
	Link(name string) (run.Link, error)
	WatchLinks(ctx context.Context, changed func()) error
	SetAddress(name string, p netip.Prefix) (undo func(), err error)
	Advice(ctx context.Context, iface string, udp, tcp []int) string // what to do about a firewall; "" if nothing is needed
	Container(iface string) string                                   // why serving from inside a container will not work
}

// sockets are what the appliance listens on.
type sockets interface {
	Admin(dir string) (net.Listener, error)
	DHCP(ctx context.Context, port int, now func() time.Time) (c dhcpd.Conn, frames bool, err error)
	DHCP6(ctx context.Context, now func() time.Time) (conn6, error)
	TFTP(ctx context.Context, addr string) ([]*net.UDPConn, error)
	HTTP(ctx context.Context, addr string) (net.Listener, error)
	Syslog(ctx context.Context, addr string) (s *syslogd.Sockets, network string, err error)
	Advertise(ctx context.Context, s *radv.Server) error // opens a socket for each interface that appears
}

// conn6 is a socket of DHCPv6, which hears clients on the interfaces that it joined.
type conn6 interface {
	dhcpd.Conn
	Join(iface string) error
}

// probes ask a link as a client or a neighbour would.
type probes interface {
	Probe(ctx context.Context, s *dhcpd.Server, iface string) ([]boot.Rival, error)
	Probe6(ctx context.Context, iface string, from netip.Addr, duid []byte) ([]boot.Rival, error)
	Occupied(ctx context.Context, iface string, own netip.Addr, addrs []netip.Addr, wait time.Duration) (map[netip.Addr]boot.MAC, error)
	Answers(ctx context.Context, own netip.Addr, addrs []netip.Addr, wait time.Duration) ([]netip.Addr, error)
	Lookup(ctx context.Context, server netip.Addr, name string) ([]netip.Addr, error) // the addresses that this name server has for a name
}

// kernel is the system of Linux.
type kernel struct{}

func (kernel) Interfaces() []string               { return run.Interfaces() }
func (kernel) Link(name string) (run.Link, error) { return run.Look(name) }
func (kernel) WatchLinks(ctx context.Context, changed func()) error {
	return run.WatchLinks(ctx, changed)
}
func (kernel) SetAddress(name string, p netip.Prefix) (func(), error) { return run.SetAddress(name, p) }
func (kernel) Advice(ctx context.Context, iface string, udp, tcp []int) string {
	return run.FirewallAdvice(ctx, iface, udp, tcp)
}
func (kernel) Container(iface string) string { return run.ContainerAdvice(iface) }

func (kernel) Room(dir string) (uint64, bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return st.Bavail * uint64(st.Bsize), true
}

func (kernel) Admin(dir string) (net.Listener, error) { return admin.Listen(dir) }
func (kernel) DHCP(ctx context.Context, port int, now func() time.Time) (dhcpd.Conn, bool, error) {
	return dhcpd.Listen(ctx, port, now)
}
func (kernel) TFTP(ctx context.Context, addr string) ([]*net.UDPConn, error) {
	return tftpd.Listen(ctx, addr)
}
func (kernel) HTTP(ctx context.Context, addr string) (net.Listener, error) {
	return httpboot.Listen(ctx, addr)
}
func (kernel) Syslog(ctx context.Context, addr string) (*syslogd.Sockets, string, error) {
	return syslogd.Listen(ctx, addr)
}

func (kernel) Advertise(ctx context.Context, s *radv.Server) error { return s.Run(ctx) }

func (kernel) DHCP6(ctx context.Context, now func() time.Time) (conn6, error) {
	c, err := dhcpd.Listen6(ctx, now)
	if err != nil {
		return nil, err
	}
	return kernel6{c}, nil
}

type kernel6 struct{ *dhcpd.Conn6 }

// Join joins on the interface that has the name now: an interface that came back has
// another index.
func (c kernel6) Join(iface string) error {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return nil // the interface has gone again, which is told elsewhere
	}
	return c.Conn6.Join(i.Index)
}

func (kernel) Probe(ctx context.Context, s *dhcpd.Server, iface string) ([]boot.Rival, error) {
	return s.Probe(ctx, iface)
}
func (kernel) Probe6(ctx context.Context, iface string, from netip.Addr, duid []byte) ([]boot.Rival, error) {
	return dhcpd.Probe6(ctx, iface, from, duid)
}
func (kernel) Occupied(ctx context.Context, iface string, own netip.Addr, addrs []netip.Addr, wait time.Duration) (map[netip.Addr]boot.MAC, error) {
	return dhcpd.Occupied(ctx, iface, own, addrs, wait)
}
func (kernel) Answers(ctx context.Context, own netip.Addr, addrs []netip.Addr, wait time.Duration) ([]netip.Addr, error) {
	return dhcpd.Answers(ctx, own, addrs, wait)
}

func (kernel) Lookup(ctx context.Context, server netip.Addr, name string) ([]netip.Addr, error) {
	return dns.Lookup(ctx, netip.AddrPortFrom(server, dns.Port), name)
}

func (kernel) Hangups() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}
