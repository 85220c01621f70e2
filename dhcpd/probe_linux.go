// probe_linux.go: looks for other DHCP servers on a link, as a client would.

package dhcpd

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// Probe sends tries DISCOVERs, wait apart, and returns the addresses of the
// servers that offered, without own. It needs CAP_NET_RAW: a client has no
// address to be answered at.
func Probe(ctx context.Context, iface string, own netip.Addr, tries int, wait time.Duration) ([]netip.Addr, error) {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_IP)))
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: i.Index}); err != nil {
		return nil, fmt.Errorf("bind to %s: %w", iface, err)
	}
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac)
	mac[0] = mac[0]&^1 | 2 // locally administered: no machine of anybody's
	msg, err := dhcpv4.NewDiscovery(mac)
	if err != nil {
		return nil, err
	}
	msg.SetBroadcast()
	frame := udpFrame(netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort), netip.AddrPortFrom(everybody.Addr(), serverPort), msg.ToBytes())
	to := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: i.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	var found []netip.Addr
	buf := make([]byte, bufferSize)
	for range tries {
		if err := unix.Sendto(fd, frame, 0, to); err != nil {
			return found, fmt.Errorf("send on %s: %w", iface, err)
		}
		for end := time.Now().Add(wait); ; {
			left := time.Until(end)
			if left <= 0 || ctx.Err() != nil {
				break
			}
			tv := unix.NsecToTimeval(min(left, 200*time.Millisecond).Nanoseconds())
			if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
				return found, err
			}
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return found, fmt.Errorf("receive on %s: %w", iface, err)
			}
			if s := offerFor(buf[:n], msg.TransactionID); s.IsValid() && s != own && !slices.Contains(found, s) {
				found = append(found, s)
			}
		}
		if len(found) > 0 || ctx.Err() != nil {
			break
		}
	}
	return found, ctx.Err()
}

// offerFor returns the server of an OFFER in an IPv4 packet, if it is one and
// for this transaction.
func offerFor(ip []byte, xid dhcpv4.TransactionID) netip.Addr {
	if len(ip) < headersIPUDP || ip[0]>>4 != 4 || ip[9] != unix.IPPROTO_UDP {
		return netip.Addr{}
	}
	hl := int(ip[0]&15) * 4
	if len(ip) < hl+8 || binary.BigEndian.Uint16(ip[hl+2:]) != clientPort {
		return netip.Addr{}
	}
	m, err := dhcpv4.FromBytes(ip[hl+8:])
	if err != nil || m.TransactionID != xid || m.MessageType() != dhcpv4.MessageTypeOffer {
		return netip.Addr{}
	}
	return addr4(m.Options.Get(dhcpv4.OptionServerIdentifier))
}
