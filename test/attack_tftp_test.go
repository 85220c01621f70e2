// attack_tftp_test.go: attacks on TFTP.

package test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const readIPXE = "\x00\x01ipxe.efi\x00octet\x00"

var tftpPort = &net.UDPAddr{IP: net.ParseIP(serverAddr), Port: 69}

// askTFTP asks for a file from eight ports of each address of the foe, 1000 times in a
// second. Nobody acknowledges a block; or the first is acknowledged, and then no other.
func (s *siege) askTFTP(hears bool) (stop func()) {
	s.t.Helper()
	var socks []net.PacketConn
	for _, a := range s.addrs {
		for range 8 {
			c, err := s.foe.ListenPacket("udp4", a.String()+":0")
			must(s.t, err)
			socks = append(socks, c)
		}
	}
	heard := make([]atomic.Bool, len(socks))
	return s.during(func(ctx context.Context) {
		var wg sync.WaitGroup
		defer wg.Wait()
		for i, c := range socks {
			defer c.Close()
			if !hears {
				continue
			}
			wg.Go(func() {
				for b := make([]byte, 600); ; {
					n, from, err := c.ReadFrom(b)
					if err != nil {
						return
					}
					if n > 4 && b[1] == 3 && b[2] == 0 && b[3] == 1 {
						c.WriteTo([]byte{0, 4, 0, 1}, from)
						heard[i].Store(true)
					}
				}
			})
		}
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for i := 0; ; {
			for sent, looked := 0, 0; sent < 10 && looked < len(socks); looked++ {
				if !heard[i].Load() {
					socks[i].WriteTo([]byte(readIPXE), tftpPort)
					sent++
				}
				i = (i + 1) % len(socks)
			}
			select {
			case <-pace.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

// forge has a hundred requests come from ports of another address.
func (s *siege) forge(from netip.Addr) {
	s.t.Helper()
	must(s.t, s.foe.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := netip.MustParseAddr(serverAddr).As4()
		b := append(make([]byte, 28), readIPXE...)
		b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP // the kernel adds length and checksum; UDP needs none
		copy(b[12:], from.AsSlice())
		copy(b[16:], to[:])
		binary.BigEndian.PutUint16(b[22:], 69)
		binary.BigEndian.PutUint16(b[24:], uint16(8+len(readIPXE)))
		for port := range uint16(100) {
			binary.BigEndian.PutUint16(b[20:], 20000+port)
			if err := unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: to}); err != nil {
				return err
			}
		}
		return nil
	}))
}

// TestAttackTFTP: transfers that nobody acknowledges, transfers that go silent after an
// acknowledgement, and requests in the name of the machine that boots.
func TestAttackTFTP(t *testing.T) {
	s := besiege(t, "", 300)
	s.settle("uefi-x64")
	slow := s.slow()
	for _, c := range []struct {
		name  string
		hears bool
		count string
	}{
		{"transfers that nobody acknowledges", false, "tftp transfers, gave way"},
		{"transfers that fall silent", true, "tftp requests, too many at once"},
	} {
		before := s.dropped(c.count)
		stop := s.askTFTP(c.hears)
		s.met(c.count, before, 1)
		s.stands(c.name)
		// A machine that needs long for its first answer finds its transfer as it was.
		conn, err := slow.ListenPacket("udp4", s.address(slow)+":0")
		must(t, err)
		conn.WriteTo([]byte(readIPXE), tftpPort)
		b := make([]byte, 600)
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		n, from, err := conn.ReadFrom(b)
		if err != nil || n != 516 {
			t.Errorf("%s: the slow machine has %d bytes, %v", c.name, n, err)
		}
		s.met(c.count, s.dropped(c.count), 2100) // as often as there are slots
		if err == nil {
			conn.WriteTo([]byte{0, 4, 0, 1}, from)
			for b[3] != 2 && err == nil {
				_, _, err = conn.ReadFrom(b)
			}
		}
		if err != nil || b[1] != 3 {
			t.Errorf("%s: the slow machine's transfer ended: %v, %q", c.name, err, b[:4])
		}
		conn.Close()
		stop()
	}
	// Firmware does not say that nobody listens on a port, which would end a transfer.
	must(t, slow.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/icmp_ratelimit", []byte("1000000"), 0o644) }))
	own := netip.MustParseAddr(s.address(slow))
	no, way := s.dropped("tftp requests, too many at once"), s.dropped("tftp transfers, gave way")
	s.forge(own)
	s.wait("more requests in its name than it may have transfers", 10*time.Second, func() error {
		if s.dropped("tftp requests, too many at once") == no && s.dropped("tftp transfers, gave way") == way {
			return errors.New("not yet")
		}
		return nil
	})
	conn, err := slow.ListenPacket("udp4", own.String()+":0")
	must(t, err)
	defer conn.Close()
	conn.WriteTo([]byte(readIPXE), tftpPort)
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, _, err := conn.ReadFrom(make([]byte, 600)); err != nil {
		t.Errorf("beside requests in its name the machine hears nothing: %v", err)
	}
}
