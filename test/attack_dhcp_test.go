// attack_dhcp_test.go: more clients of DHCP than there are machines.

package test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/internal/nettest"
	"github.com/musterboot/muster/internal/simclient"
)

// TestAttackDHCP: DISCOVERs of machines that do not exist, and REQUESTs. A machine of
// the roll has its address, and what is known of it is not forgotten: who copies its
// UUID and serial number is not taken for it.
func TestAttackDHCP(t *testing.T) {
	nettest.Need(t, "curl")
	for _, typ := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest} {
		t.Run(typ.String(), func(t *testing.T) {
			s := besiege(t, "", 1)
			s.settle("uefi-x64")
			stop := s.madeUp(typ)
			s.packets("received", 20000)
			s.stands("DHCP of made-up machines")
			s.packets("answered", 20000) // more machines than are remembered
			stop()
			var tr simclient.Transcript
			if code, said := s.simulate(s.good, &tr, "uefi-x64", "-i", "eth0", "--mac", "52:54:00:00:0b:04", "--uuid", s.last.UUID, "--serial", s.last.Serial, "--json", "--expect", "hold"); code != 0 {
				t.Errorf("who copies its names is not held: exit %d: %s", code, said)
			}
			if d := s.show("good"); !slices.Equal(d.MACs, []string{goodMAC}) {
				t.Errorf("it has the MACs %s", d.MACs)
			}
			s.event("host.clash", 5*time.Second, "good")
		})
	}
}

// madeUp sends a message of one machine after the other, 30,000 in a second.
func (s *siege) madeUp(typ dhcpv4.MessageType) (stop func()) {
	s.t.Helper()
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(net.HardwareAddr{0x52, 0x54, 1, 0, 0, 0}), dhcpv4.WithMessageType(typ), dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003016")),
		dhcpv4.WithOption(dhcpv4.OptClientArch(iana.EFI_X86_64)))
	must(s.t, err)
	if typ == dhcpv4.MessageTypeRequest {
		m.UpdateOption(dhcpv4.OptServerIdentifier(net.ParseIP(serverAddr)))
		m.UpdateOption(dhcpv4.OptRequestedIPAddress(net.IPv4(10, 77, 0, 150)))
	}
	f := frame(m, nobody, broadcast)
	fd, index := listen(s.t, s.foe, "eth0", unix.ETH_P_ARP) // it hears none of the answers
	s.t.Cleanup(func() { unix.Close(fd) })
	return s.during(func(ctx context.Context) {
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for n := uint32(0); ; {
			for range 300 {
				n++
				for _, at := range []int{6, 14 + 28 + 28} { // in the frame's head, and in the message
					binary.BigEndian.PutUint32(f[at+2:], 1<<24|n)
				}
				if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil && !errors.Is(err, unix.ENOBUFS) {
					return
				}
			}
			select {
			case <-pace.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

// packets waits until so many more packets of DHCP have been received, or answered.
func (s *siege) packets(result string, n float64) {
	s.t.Helper()
	all := fmt.Sprintf("muster_dhcp_packets_total{result=%q}", result)
	from := s.figure(all)
	s.wait("packets "+result, 30*time.Second, func() error {
		if got := s.figure(all) - from; got < n {
			return fmt.Errorf("%v of %v", got, n)
		}
		return nil
	})
}
