// v4_test.go: bytes in, bytes out. Each file in testdata/v4 is a conversation
// with real firmware: "packet" lines are what it sent, captured on the wire;
// beneath each, "<" lines are our reply, byte for byte, one option a line.
// MUSTER_GOLDEN=write rewrites the "<" lines.

package dhcpd

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/engine"
	"github.com/musterboot/muster/store/mem"
)

var (
	server = netip.MustParseAddr("10.77.0.1")
	at     = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
)

func newEngine(mode boot.Mode, binl bool) (*engine.Engine, func(), error) {
	s, err := mem.Open()
	if err != nil {
		return nil, nil, err
	}
	e := engine.New(s, engine.NewRequestLog(nil), slog.New(slog.NewTextHandler(io.Discard, nil)))
	n := boot.Network{Name: "lab", Interface: "eth0", Mode: mode, Server: server, Subnet: netip.MustParsePrefix("10.77.0.0/24"), Lease: time.Hour, BINL: binl,
		Routers: []netip.Addr{netip.MustParseAddr("10.77.0.254")}, DNS: []netip.Addr{netip.MustParseAddr("10.77.0.253")}, Domain: "lab.example"}
	if mode == boot.Full {
		n.Ranges = []boot.Range{{From: netip.MustParseAddr("10.77.0.50"), To: netip.MustParseAddr("10.77.0.200")}}
	}
	err = e.SetPolicy(context.Background(), boot.Policy{Networks: []boot.Network{n}, Networks6: networks6, DUID: hex.EncodeToString(duid6), Enroll: boot.Enroll{Policy: boot.EnrollApprove}, Key: boot.Key{9},
		Loaders: map[boot.Platform]string{boot.X64UEFI: "snponly.efi", boot.BIOS: "undionly.kpxe", boot.ARM64UEFI: "ipxe-arm64.efi"}})
	return e, func() { e.Close(); s.Close() }, err
}

// show prints a reply so that every byte of it can be checked by a reader.
func show(d boot.Decision, reply []byte, to Dest) []string {
	out := []string{"why " + d.Why.String()}
	if reply == nil {
		return append(out, "no reply")
	}
	out = append(out, fmt.Sprintf("%s %s %s", to.How, to.Addr, strings.TrimPrefix(to.MAC.String(), "00:00:00:00:00:00")))
	f := func(name string, from, n int) {
		out = append(out, fmt.Sprintf("%-6s %s", name, hex.EncodeToString(reply[from:from+n])))
	}
	text := func(name string, from, n int) {
		b := reply[from : from+n]
		s := strings.TrimRight(string(b), "\x00")
		for _, c := range b[len(s):] {
			if c != 0 {
				s += "!"
			}
		}
		out = append(out, fmt.Sprintf("%-6s %q + %d zero", name, s, n-len(s)))
	}
	f("head", 0, 4)
	f("xid", 4, 4)
	f("secs", 8, 2)
	f("flags", 10, 2)
	f("ciaddr", 12, 4)
	f("yiaddr", 16, 4)
	f("siaddr", 20, 4)
	f("giaddr", 24, 4)
	f("chaddr", 28, 16)
	text("sname", 44, 64)
	text("file", 108, 128)
	f("cookie", 236, 4)
	b := reply[240:]
	for len(b) > 0 {
		if b[0] == 255 {
			out = append(out, fmt.Sprintf("%-6s then %d zero, %d bytes in all", "255", len(b)-1, len(reply)))
			for _, c := range b[1:] {
				if c != 0 {
					out = append(out, "PAD IS NOT ZERO")
				}
			}
			break
		}
		n := int(b[1])
		out = append(out, fmt.Sprintf("%-6d %s  %q", b[0], hex.EncodeToString(b[2:2+n]), b[2:2+n]))
		b = b[2+n:]
	}
	return out
}

// converse plays a file.
func converse(text string) (string, error) {
	mode, binl := boot.Full, false
	var e *engine.Engine
	var out strings.Builder
	now := at
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if strings.HasPrefix(line, "<") {
			continue
		}
		out.WriteString(line + "\n")
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		if f[0] == "mode" {
			mode, binl = boot.Mode(f[1]), len(f) > 2
			continue
		}
		if e == nil {
			var done func()
			var err error
			if e, done, err = newEngine(mode, binl); err != nil {
				return "", err
			}
			defer done()
		}
		// packet FROM TO HEX
		if f[0] != "packet" || len(f) != 4 {
			return "", fmt.Errorf("line %d is not understood", i+1)
		}
		raw, err := hex.DecodeString(f[3])
		if err != nil {
			return "", err
		}
		now = now.Add(time.Second)
		m := Meta{At: now, Interface: "eth0", Index: 2, Source: netip.MustParseAddrPort(f[1])}
		dst := netip.MustParseAddrPort(f[2])
		m.Proxy = dst.Port() == 4011
		if dst.Addr() == server {
			m.Local = server
		}
		d, reply, to, err := Dry(raw, m, func(in boot.Sighting) (boot.Decision, error) { return e.Next(context.Background(), in) })
		if err != nil {
			out.WriteString("< dropped: " + err.Error() + "\n")
			continue
		}
		for _, s := range show(d, reply, to) {
			out.WriteString("< " + s + "\n")
		}
	}
	return out.String(), nil
}

func TestReplies(t *testing.T) {
	names, _ := filepath.Glob("testdata/v4/*.txt")
	if len(names) < 8 {
		t.Fatalf("only %d conversations", len(names))
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := converse(string(want))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, got, string(want))
		})
	}
}

// golden compares with a file, or writes it.
func golden(t *testing.T, name, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	if os.Getenv("MUSTER_GOLDEN") == "write" {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("line %d\n got %s\nwant %s", i+1, g[i], w[i])
		}
	}
	t.Fatalf("%d lines, want %d", len(g), len(w))
}

// captured returns every packet of the conversations: the seeds.
func captured(t testing.TB) [][]byte {
	names, _ := filepath.Glob("testdata/v4/*.txt")
	var out [][]byte
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 4 && f[0] == "packet" {
				raw, err := hex.DecodeString(f[3])
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, raw)
			}
		}
	}
	return out
}

// checkReply checks what holds for every reply, whatever was asked.
func checkReply(q, reply []byte) error {
	if len(reply) < bootpMinLength {
		return fmt.Errorf("%d bytes: relays drop less than %d", len(reply), bootpMinLength)
	}
	if len(reply) > maxDatagram-headersIPUDP {
		return fmt.Errorf("%d bytes: more than any client takes", len(reply))
	}
	if string(reply[4:8]) != string(q[4:8]) || string(reply[28:34]) != string(q[28:34]) {
		return errors.New("xid or chaddr is not the client's")
	}
	if reply[235] != 0 || reply[107] != 0 {
		return errors.New("file or sname has no final NUL")
	}
	seen := map[byte]bool{}
	for b := reply[240:]; ; {
		if len(b) == 0 {
			return errors.New("no end marker")
		}
		if b[0] == 255 {
			break
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return errors.New("options run over the end")
		}
		if b[1] == 0 && b[0] != 0 {
			return fmt.Errorf("option %d is empty: edk2 drops the packet", b[0])
		}
		if b[0] == 52 || b[0] == 13 || b[0] == 0 {
			return fmt.Errorf("option %d must never be sent", b[0])
		}
		if seen[b[0]] {
			return fmt.Errorf("option %d twice: PXE ROMs do not join", b[0])
		}
		seen[b[0]] = true
		b = b[2+int(b[1]):]
	}
	if !seen[53] || !seen[54] {
		return errors.New("no message type or server identifier")
	}
	return nil
}

func FuzzParse(f *testing.F) {
	for _, b := range captured(f) {
		f.Add(b, false)
		f.Add(b, true)
	}
	e, done, err := newEngine(boot.Full, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(done)
	f.Fuzz(func(t *testing.T, b []byte, proxy bool) {
		in := append([]byte(nil), b...)
		m := Meta{At: at, Interface: "eth0", Index: 2, Source: netip.MustParseAddrPort("10.77.0.9:68"), Proxy: proxy}
		_, reply, to, err := Dry(b, m, func(s boot.Sighting) (d boot.Decision, err error) {
			// It decides, and fills no store.
			failed := e.Rehearse(context.Background(), func(decide func(boot.Sighting) (boot.Decision, error)) error {
				d, err = decide(s)
				return err
			})
			return d, failed
		})
		if string(in) != string(b) {
			t.Fatal("the packet was changed")
		}
		if err != nil || reply == nil {
			return
		}
		if err := checkReply(in, reply); err != nil {
			t.Fatalf("%v\n%x", err, reply)
		}
		if !to.Addr.IsValid() || to.Addr.Port() == 0 {
			// A client that says port 0 gets what it asks for: nothing.
			if to.Addr.Port() != 0 {
				t.Fatalf("reply to nowhere: %+v", to)
			}
		}
	})
}

// TestSmallClient: a client that takes 576 bytes gets the important options
// whole; the others are left out, not cut.
func TestSmallClient(t *testing.T) {
	q := captured(t)[0]
	r, err := parse4(q, Meta{At: at, Interface: "eth0"})
	if err != nil {
		t.Fatal(err)
	}
	r.msg.set(optMaxSize, nil)
	long := strings.Repeat("d", 250)
	d := boot.Decision{Reply: boot.Answer4{Type: boot.Ack,
		Grant:   &boot.Grant{Addr: netip.MustParseAddr("10.77.0.100"), Lease: time.Hour},
		Boot:    &boot.BootInfo{Class: boot.PXE, VendorClass: "PXEClient", File: strings.Repeat("f", 127), Server: server},
		Options: boot.Options{Server: server, Subnet: netip.MustParsePrefix("10.77.0.0/24"), Domain: long, Name: "host"},
	}}
	reply := build4(r, d)
	if len(reply) > minDatagram-headersIPUDP {
		t.Fatalf("%d bytes for a client that takes %d", len(reply), minDatagram-headersIPUDP)
	}
	if err := checkReply(q, reply); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(reply), long) {
		t.Error("the domain name fits after all: the test proves nothing")
	}
	if !strings.Contains(string(reply[240:]), strings.Repeat("f", 127)+"\x00") {
		t.Error("option 67 was dropped before the domain name")
	}
}

func TestUserClass(t *testing.T) {
	for in, want := range map[string]string{
		"iPXE": "iPXE", "\x04iPXE": "iPXE", "gPXE": "gPXE", "": "",
		"\x14onie_dhcp_user_class": "onie_dhcp_user_class", "\x02ab\x03cde": "ab", "\x00": "", "\xffx": "x",
	} {
		if got := userClass([]byte(in)); got != want {
			t.Errorf("user class %q read as %q, want %q", in, got, want)
		}
	}
}

// TestFrameChecksums: a raw frame must pass the checks of the client's kernel.
func TestFrameChecksums(t *testing.T) {
	for _, n := range []int{300, 301, 548} {
		b := udpFrame(netip.AddrPortFrom(server, 67), netip.MustParseAddrPort("10.77.0.100:68"), make([]byte, n))
		if fold(sum16(0, b[:20])) != 0xffff {
			t.Errorf("%d bytes: IP header checksum is wrong", n)
		}
		c := sum16(17+uint32(len(b)-20), b[12:20])
		if fold(sum16(c, b[20:])) != 0xffff {
			t.Errorf("%d bytes: UDP checksum is wrong", n)
		}
		if int(binary.BigEndian.Uint16(b[2:])) != len(b) {
			t.Errorf("total length is wrong")
		}
	}
}
