// pi_test.go: Raspberry Pi 3, 4 and 5 as packets: what each model's boot ROM or
// EEPROM sends, from its first DISCOVER to its last file.

package test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/musterboot/muster/internal/nettest"
)

// piModel is what tells one model from another on the wire.
type piModel struct {
	name string
	oui  [3]byte
	guid string // start of option 97; "" is the filler of the Pi 3
	// rom: it takes the OFFER for a lease, reads without options, and asks for
	// everything from one port.
	rom bool
	// root is asked for before the serial number is known.
	root []string
	// tries are looked for in its own folder; if none is there it goes on in
	// the root of the server.
	tries []string
	// files in the order of the logs that people published. "?" only looks
	// whether a file is there, and breaks off.
	files []string
}

var pis = []*piModel{
	{name: "pi3", oui: [3]byte{0xb8, 0x27, 0xeb}, rom: true, root: []string{"bootcode.bin", "bootsig.bin"}, tries: []string{"start.elf"},
		files: []string{"autoboot.txt", "config.txt", "recovery.elf", "start.elf", "fixup.dat", "recovery.elf", "config.txt", "dt-blob.bin", "recovery.elf", "config.txt",
			"bootcfg.txt", "bcm2710-rpi-3-b.dtb", "overlays/overlay_map.dtb", "config.txt", "cmdline.txt", "recovery8.img", "recovery8-32.img", "recovery7.img", "recovery.img",
			"kernel8-32.img", "?kernel8.img", "armstub8.bin", "kernel8.img"}},
	{name: "pi4", oui: [3]byte{0xdc, 0xa6, 0x32}, guid: "RPi4", tries: []string{"start4.elf", "start.elf"},
		files: []string{"config.txt", "vl805.sig", "pieeprom.sig", "recover4.elf", "recovery.elf", "start4.elf", "fixup4.dat", "recovery.elf", "config.txt", "dt-blob.bin", "recovery.elf", "config.txt",
			"bootcfg.txt", "bcm2711-rpi-4-b.dtb", "overlays/overlay_map.dtb", "config.txt", "overlays/vc4-kms-v3d-pi4.dtbo", "cmdline.txt", "recovery8.img", "recovery7l.img", "recovery.img",
			"kernel8-32.img", "?kernel8.img", "armstub8-gic.bin", "kernel8.img", "initramfs8"}},
	{name: "pi5", oui: [3]byte{0x2c, 0xcf, 0x67}, guid: "RPi5", tries: []string{"config.txt"},
		files: []string{"config.txt", "pieeprom.sig", "boot.sig", "cmdline.txt", "bcm2712-rpi-5-b.dtb", "overlays/overlay_map.dtb", "overlays/bcm2712d0.dtbo", "?kernel_2712.img", "armstub8-2712.bin",
			"kernel_2712.img", "initramfs_2712"}},
}

// pi is one board.
type pi struct {
	*piModel
	mac    net.HardwareAddr
	board  []byte // option 97
	serial string // the eight digits of its folder
	folder string // what it puts before its files; "" after it found nothing there
	addr   netip.Addr

	ns    *nettest.NS
	crowd *crowd
	hears func(string) // told what happens, for the transcript

	conn   net.PacketConn // of the ROM
	before string         // the port that its last transfer came from
}

// newPi makes board number n of a model. The serial number ends in the end of
// the MAC, as that of a Pi 3 does.
func newPi(m *piModel, ns *nettest.NS, c *crowd, prefix string, n int) *pi {
	p := &pi{piModel: m, mac: net.HardwareAddr{m.oui[0], m.oui[1], m.oui[2], 1, byte(n >> 8), byte(n)}, ns: ns, crowd: c, hears: func(string) {}}
	p.serial = prefix + hex.EncodeToString(p.mac[3:])
	p.folder = p.serial + "/"
	p.board = append([]byte{0}, bytes.Repeat([]byte{0x44}, 16)...)
	if p.guid != "" {
		digits, _ := hex.DecodeString(p.serial)
		p.board = slices.Concat([]byte{0}, []byte(p.guid), []byte{0xc0, 0x31, 0x11, 0}, p.mac[2:], digits)
	}
	return p
}

func (p *pi) String() string { return p.name + " " + p.serial }

// message is what all models send alike; class says whether option 60 is in it.
func (p *pi) message(kind dhcpv4.MessageType, class bool) *dhcpv4.DHCPv4 {
	m, err := dhcpv4.New(
		dhcpv4.WithHwAddr(p.mac), dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptParameterRequestList(
			dhcpv4.GenericOptionCode(1), dhcpv4.GenericOptionCode(3), dhcpv4.GenericOptionCode(43), dhcpv4.GenericOptionCode(60), dhcpv4.GenericOptionCode(66), dhcpv4.GenericOptionCode(67),
			dhcpv4.GenericOptionCode(128), dhcpv4.GenericOptionCode(129), dhcpv4.GenericOptionCode(130), dhcpv4.GenericOptionCode(131), dhcpv4.GenericOptionCode(132), dhcpv4.GenericOptionCode(133), dhcpv4.GenericOptionCode(134), dhcpv4.GenericOptionCode(135))),
		dhcpv4.WithGeneric(dhcpv4.OptionClientSystemArchitectureType, []byte{0, 0}),
		dhcpv4.WithGeneric(dhcpv4.OptionClientNetworkInterfaceIdentifier, []byte{1, 2, 1}),
		dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, p.board))
	if err != nil {
		panic(err)
	}
	m.Options.Del(dhcpv4.OptionMaximumDHCPMessageSize)
	if class {
		m.UpdateOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00000:UNDI:002001"))
	}
	if p.rom {
		m.TransactionID = dhcpv4.TransactionID{0x26, 0xf3, 0x03, 0x39} // always this one
	}
	return m
}

// piOption43 is what a Pi looks for in an answer.
const piOption43 = "\x06\x01\x03\x0a\x04\x00PXE\x09\x14\x00\x00\x11Raspberry Pi Boot\xff"

// judge says what a Pi would dislike in an answer.
func (p *pi) judge(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType) error {
	server := net.ParseIP(serverAddr)
	switch {
	case m.MessageType() != kind:
		return fmt.Errorf("%s: got %s, want %s", p, m.MessageType(), kind)
	case string(m.Options.Get(dhcpv4.OptionVendorSpecificInformation)) != piOption43:
		return fmt.Errorf("%s: option 43 of the %s is %q", p, kind, m.Options.Get(dhcpv4.OptionVendorSpecificInformation))
	case m.ClassIdentifier() != "PXEClient":
		return fmt.Errorf("%s: option 60 of the %s is %q", p, kind, m.ClassIdentifier())
	case !m.ServerIPAddr.Equal(server) || !m.ServerIdentifier().Equal(server) || string(m.Options.Get(dhcpv4.OptionTFTPServerName)) != serverAddr:
		// It uses whichever it read last.
		return fmt.Errorf("%s: siaddr %s, option 54 %s, option 66 %q: want %s in all three", p, m.ServerIPAddr, m.ServerIdentifier(), m.Options.Get(dhcpv4.OptionTFTPServerName), serverAddr)
	}
	return nil
}

// lease gets an address as this model does and puts it on the client's host.
func (p *pi) lease(ctx context.Context) error {
	ch, leave := p.crowd.hear(p.mac)
	defer leave()
	start := time.Now()
	p.hears("> discover, option 60")
	offer, err := p.crowd.ask(ctx, p.message(dhcpv4.MessageTypeDiscover, true), ch)
	if err != nil {
		return fmt.Errorf("%s: DISCOVER: %w", p, err)
	}
	if took := time.Since(start); p.rom && took < 1900*time.Millisecond {
		return fmt.Errorf("%s: answered after %s: this ROM loops when that is less than two seconds", p, took)
	}
	if err := p.judge(offer, dhcpv4.MessageTypeOffer); err != nil {
		return err
	}
	p.hears(fmt.Sprintf("< offer, option 43 %q", offer.Options.Get(dhcpv4.OptionVendorSpecificInformation)))
	if !p.rom {
		q := p.message(dhcpv4.MessageTypeRequest, false)
		q.UpdateOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr))
		q.UpdateOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier()))
		p.hears("> request, no option 60")
		ack, err := p.crowd.ask(ctx, q, ch)
		if err != nil {
			return fmt.Errorf("%s: REQUEST: %w", p, err)
		}
		if err := p.judge(ack, dhcpv4.MessageTypeAck); err != nil {
			return err
		}
		if !ack.YourIPAddr.Equal(offer.YourIPAddr) {
			return fmt.Errorf("%s: offered %s, acknowledged %s", p, offer.YourIPAddr, ack.YourIPAddr)
		}
		p.hears(fmt.Sprintf("< ack, option 43 %q", ack.Options.Get(dhcpv4.OptionVendorSpecificInformation)))
	}
	p.addr, _ = netip.AddrFromSlice(offer.YourIPAddr.To4())
	return p.ns.Addr("eth0", p.addr.String()+"/24")
}

// refusal is a TFTP error packet.
type refusal struct {
	code uint16
	text string
}

func (e *refusal) Error() string { return fmt.Sprintf("error %d: %s", e.code, e.text) }

func (p *pi) socket() (net.PacketConn, error) {
	return p.ns.ListenPacket("udp4", netip.AddrPortFrom(p.addr, 0).String())
}

// read asks for one file. A look breaks off when it knows that the file is there.
func (p *pi) read(name string, look bool) ([]byte, error) {
	conn := p.conn
	if conn == nil {
		c, err := p.socket()
		if err != nil {
			return nil, err
		}
		defer c.Close()
		conn = c
	}
	request := "\x00\x01" + name + "\x00octet\x00"
	if !p.rom {
		request += "tsize\x000\x00blksize\x001024\x00"
	}
	var to net.Addr = &net.UDPAddr{IP: net.ParseIP(serverAddr), Port: 69}
	var peer net.Addr
	block, size := 512, -1
	last := []byte(request)
	var body []byte
	buf := make([]byte, 2000)
	for try := 0; try < 6; {
		if _, err := conn.WriteTo(last, to); err != nil {
			return nil, err
		}
		var n int
		for {
			conn.SetReadDeadline(time.Now().Add(2 * time.Second))
			var from net.Addr
			var err error
			if n, from, err = conn.ReadFrom(buf); err != nil {
				n = 0
				break
			}
			// What another transfer still sends is not for this one. Once nothing came for a
			// while it is at an end, and its port may have been given to this one.
			if n >= 4 && (peer == nil && (from.String() != p.before || try > 0) || peer != nil && from.String() == peer.String()) {
				peer, to = from, from
				p.before = from.String()
				break
			}
		}
		if n == 0 {
			try++
			continue
		}
		number := binary.BigEndian.Uint16(buf[2:])
		switch buf[1] {
		case 5:
			text, _, _ := bytes.Cut(buf[4:n], []byte{0})
			return nil, &refusal{number, string(text)}
		case 6:
			fields := strings.Split(string(buf[2:n-1]), "\x00")
			for i := 0; i+1 < len(fields); i += 2 {
				v, err := strconv.Atoi(fields[i+1])
				switch {
				case p.rom || err != nil:
					return nil, fmt.Errorf("%s: %s: it cannot read an OACK of %q", p, name, fields)
				case fields[i] == "blksize" && v <= 1024:
					block = v
				case fields[i] == "tsize":
					size = v
				default:
					return nil, fmt.Errorf("%s: %s: an OACK of %q", p, name, fields)
				}
			}
			last = []byte{0, 4, 0, 0}
		case 3:
			if want := uint16(len(body)/block + 1); number != want {
				continue // a block that came twice
			}
			body = append(body, buf[4:n]...)
			last = []byte{0, 4, buf[2], buf[3]}
			if n-4 < block && !look {
				conn.WriteTo(last, to)
				if size >= 0 && size != len(body) {
					return nil, fmt.Errorf("%s: %s: %d bytes, announced were %d", p, name, len(body), size)
				}
				return body, nil
			}
		default:
			return nil, fmt.Errorf("%s: %s: opcode %d", p, name, buf[1])
		}
		if look {
			conn.WriteTo([]byte("\x00\x05\x00\x00Early terminate\x00"), to)
			return nil, nil
		}
	}
	return nil, fmt.Errorf("%s: %s: no answer", p, name)
}

// fetched is what one boot asked for.
type fetched struct {
	got     map[string][]byte // by name without the folder
	refused map[string]*refusal
}

// load asks for everything that this model asks for.
func (p *pi) load() (f fetched, err error) {
	f = fetched{got: map[string][]byte{}, refused: map[string]*refusal{}}
	if p.rom && p.conn == nil {
		if p.conn, err = p.socket(); err != nil {
			return f, err
		}
		defer func() { p.conn.Close(); p.conn = nil }()
	}
	// ask reports whether the file is there.
	ask := func(folder, name string, look bool) (bool, error) {
		verb := "read"
		if look {
			verb = "look"
		}
		p.hears("> " + verb + " " + folder + name)
		b, err := p.read(folder+name, look)
		var no *refusal
		switch {
		case errors.As(err, &no):
			p.hears("< " + no.Error())
			f.refused[name] = no
			return false, nil
		case err != nil:
			return false, err
		case look:
			p.hears("< it is there")
			return true, nil
		}
		p.hears(fmt.Sprintf("< %d bytes", len(b)))
		if old, again := f.got[name]; again && !bytes.Equal(old, b) {
			return true, fmt.Errorf("%s: %s has other bytes when read again", p, name)
		}
		f.got[name] = b
		return true, nil
	}
	for _, name := range p.root {
		if there, err := ask("", name, false); err != nil || name == "bootcode.bin" && !there {
			return f, err // nothing else runs on it then
		}
	}
	own := false
	for _, name := range p.tries {
		if own, err = ask(p.folder, name, true); own || err != nil {
			break
		}
	}
	if err != nil {
		return f, err
	}
	folder := p.folder
	if !own {
		folder = ""
	}
	for _, name := range p.files {
		name, look := strings.CutPrefix(name, "?")
		if _, err := ask(folder, name, look); err != nil {
			return f, err
		}
	}
	return f, nil
}

// asks lists what a model asks for, once each.
func (m *piModel) asks() []string {
	var out []string
	for _, n := range slices.Concat(m.root, m.tries, m.files) {
		out = append(out, strings.TrimPrefix(n, "?"))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// piTree is a firmware tree for all three, stored as image kiosk-firmware.
func (r *rig) piTree() map[string][]byte {
	r.t.Helper()
	dir, tree := r.t.TempDir(), map[string][]byte{}
	noise := rand.NewChaCha8([32]byte{1})
	for name, size := range map[string]int{
		"bootcode.bin": 52_476, "start.elf": 90_001, "fixup.dat": 7_000, "start4.elf": 80_000, "fixup4.dat": 5_000,
		"kernel8.img": 200 * 1024, "kernel_2712.img": 150_000, "initramfs8": 100_003, "initramfs_2712": 512,
		"bcm2710-rpi-3-b.dtb": 30_000, "bcm2711-rpi-4-b.dtb": 50_000, "bcm2712-rpi-5-b.dtb": 70_000,
		"overlays/overlay_map.dtb": 1024, "overlays/vc4-kms-v3d-pi4.dtbo": 3_000, "overlays/bcm2712d0.dtbo": 1,
		// The template has its own of these two.
		"config.txt": 100, "cmdline.txt": 100,
	} {
		b := make([]byte, size)
		noise.Read(b)
		tree[name] = b
		must(r.t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(r.t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	}
	r.muster("image", "import", "kiosk-firmware", dir)
	return tree
}

// pushPi stores a template over that tree.
func (r *rig) pushPi(name, head string) {
	r.t.Helper()
	dir := r.t.TempDir()
	for file, text := range map[string]string{
		"template.toml": fmt.Sprintf("name = %q\n%s\n[boot]\nfirmware = \"image:kiosk-firmware\"\n", name, head),
		"config.txt":    "# " + name + "\narm_64bit=1\ninclude {{ .Name }}.txt\n",
		"cmdline.txt":   "console=serial0,115200 ip=dhcp root=/dev/nfs nfsroot={{ .Server }}:/srv/{{ .Serial }} mac={{ .MAC }}\n",
	} {
		must(r.t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
	}
	r.muster("template", "push", dir)
}

// complete judges one boot against the tree and the template that it must get.
func (p *pi) complete(tree map[string][]byte, template, host, serial string, f fetched) error {
	want := maps.Clone(tree)
	want["config.txt"] = []byte("# " + template + "\narm_64bit=1\ninclude " + host + ".txt\n")
	want["cmdline.txt"] = fmt.Appendf(nil, "console=serial0,115200 ip=dhcp root=/dev/nfs nfsroot=%s:/srv/%s mac=%s\n", serverAddr, serial, p.mac)
	var errs []error
	for _, name := range p.asks() {
		b, got := f.got[name]
		no := f.refused[name]
		switch w, there := want[name]; {
		case there && no != nil:
			errs = append(errs, fmt.Errorf("%s: %s: %w", p, name, no))
		case there && !got && !slices.Contains(p.tries, name):
			errs = append(errs, fmt.Errorf("%s: %s was not read", p, name))
		case there && got && !bytes.Equal(b, w):
			errs = append(errs, fmt.Errorf("%s: %s: %d bytes %.60q, want %d", p, name, len(b), b, len(w)))
		case !there && got:
			errs = append(errs, fmt.Errorf("%s: %s: %d bytes of a file that nobody put there", p, name, len(b)))
		case !there && no != nil && no.code != 1:
			// Any other error it takes for a broken server.
			errs = append(errs, fmt.Errorf("%s: %s: %w, want error 1", p, name, no))
		}
	}
	return errors.Join(errs...)
}

// shown judges what "host show" says of a boot that went through.
func (p *pi) shown(d host, f fetched) error {
	var errs []error
	if d.Serial != p.serial || len(d.MACs) != 1 || d.MACs[0] != p.mac.String() || d.Platform != raspberry || d.State != approved || d.Boots != 1 {
		errs = append(errs, fmt.Errorf("%s: the host is %+v", p, d))
	}
	steps := timeline(d)
	for name := range f.got {
		if !slices.Contains(steps, "tftp "+name) {
			errs = append(errs, fmt.Errorf("%s: the timeline does not have %s:\n  %s", p, name, strings.Join(steps, "\n  ")))
		}
	}
	return errors.Join(errs...)
}

// logged waits until the request log has what is on the wire already.
func (r *rig) logged(p *pi, f fetched, name string) host {
	r.t.Helper()
	var d host
	r.wait("the timeline of "+p.String(), 5*time.Second, func() error {
		d = r.show(name)
		return p.shown(d, f)
	})
	return d
}

func (p *pi) defaultName() string { return "m-" + hex.EncodeToString(p.mac) }

const piNetwork = "[[network]]\nname=\"lab\"\ninterface=\"eth0\"\nmode=\"full\"\nrange=\"10.77.0.50-10.77.0.250\"\n[enroll]\npolicy=\"approve\"\n"

// piRig serves Pis that wait for approval, unless a template lets them in.
func piRig(t *testing.T) (r *rig, cli *nettest.NS, c *crowd) {
	t.Helper()
	r = newRig(t)
	r.serveConfig(piNetwork)
	cli = r.host("cli", "")
	c = newCrowd(t, cli)
	c.patience = 4 * time.Second
	return r, cli, c
}

// TestPi: an unknown Pi is on the roll by its serial number with its first
// file, is approved by the template for such serial numbers, and gets all its
// files, in one boot.
func TestPi(t *testing.T) {
	for i, m := range pis {
		t.Run(m.name, func(t *testing.T) {
			r, cli, c := piRig(t)
			tree := r.piTree()
			r.pushPi("kiosk", "auto_approve = true\n[match]\narch = [\"raspberry-pi\"]\nserial = [\"a1*\"]")
			r.pushPi("other", "auto_approve = true\n[match]\narch = [\"raspberry-pi\"]\nserial = [\"b2*\"]")
			p := newPi(m, cli, c, "a1", 10+i)
			var said []string
			p.hears = func(s string) { said = append(said, s) }
			must(t, p.lease(r.ctx))
			f, err := p.load()
			must(t, err)
			if err := p.complete(tree, "kiosk", p.defaultName(), p.serial, f); err != nil {
				t.Error(err)
			}
			d := r.logged(p, f, p.defaultName())
			if d.Template != "kiosk" || d.Pin == 0 {
				t.Errorf("it booted template %q, pin %d", d.Template, d.Pin)
			}
			steps := timeline(d)
			if n := strings.Count(strings.Join(steps, "\n"), "dhcp4 discover"); n != 1 {
				t.Errorf("%d times DISCOVER in one boot:\n  %s", n, strings.Join(steps, "\n  "))
			}
			inOrder(t, steps, []string{"dhcp4 discover offer", "host.enrolled", "host.approved", "host.learned", "boot.script", "tftp cmdline.txt"})
			if len(r.hosts()) != 1 {
				t.Errorf("one board is %d hosts", len(r.hosts()))
			}
			sameText(t, filepath.Join("testdata", m.name+".txt"), strings.Join(said, "\n")+"\n")
		})
	}
}

// sameText compares with a golden file; MUSTER_GOLDEN=write rewrites it.
func sameText(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("MUSTER_GOLDEN") == "write" {
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if got != string(want) {
		t.Errorf("%s is no longer what happens:\n%s", file, got)
	}
}

// TestPiPending: a Pi that waits for approval gets its first loader, which is
// everybody's, and no other file under any name; once a person approves it, its
// next requests are served.
func TestPiPending(t *testing.T) {
	r, cli, c := piRig(t)
	tree := r.piTree()
	r.pushPi("kiosk", "[match]\narch = [\"raspberry-pi\"]")
	for i, m := range pis {
		p := newPi(m, cli, c, "a1", 20+i)
		must(t, p.lease(r.ctx))
		f, err := p.load()
		must(t, err)
		for name := range f.got {
			if name != "bootcode.bin" {
				t.Errorf("%s waits for approval and got %s", p, name)
			}
		}
		for name, no := range f.refused {
			if no.code != 1 {
				t.Errorf("%s: %s: %v, want error 1, which sends it round again", p, name, no)
			}
		}
		for _, folder := range []string{p.serial + "/", strings.ReplaceAll(p.mac.String(), ":", "-") + "/", "", "/", "images/kiosk-firmware/", p.serial + "/images/kiosk-firmware/"} {
			for name := range tree {
				if name == "bootcode.bin" {
					continue
				}
				var no *refusal
				if b, err := p.read(folder+name, false); !errors.As(err, &no) {
					t.Errorf("%s waits for approval; %s%s: %d bytes, %v", p, folder, name, len(b), err)
				}
			}
		}
		d := r.show(p.mac.String())
		if d.State != pending || d.Serial != p.serial || d.Boots != 0 {
			t.Errorf("%s: the host is %+v", p, d)
		}
		r.muster("host", "approve", p.defaultName())
		f, err = p.load()
		must(t, err)
		if err := p.complete(tree, "kiosk", p.defaultName(), p.serial, f); err != nil {
			t.Error(err)
		}
		r.logged(p, f, p.defaultName())
	}
}

// TestPiByMAC: an EEPROM that is set to the MAC form never tells its serial
// number by TFTP, and is let in all the same, whatever other templates want to
// know of serial numbers.
func TestPiByMAC(t *testing.T) {
	r, cli, c := piRig(t)
	tree := r.piTree()
	r.pushPi("kiosk", "auto_approve = true\n[match]\narch = [\"raspberry-pi\"]\nserial = [\"a1*\"]")
	r.pushPi("bymac", "auto_approve = true\n[match]\narch = [\"raspberry-pi\"]\nmac = [\"dc:a6:32:*\", \"2c:cf:67:*\"]")
	for i, m := range pis[1:] {
		p := newPi(m, cli, c, "c3", 30+i)
		p.folder = strings.ReplaceAll(p.mac.String(), ":", "-") + "/"
		p.serial = "" // it will not be known
		must(t, p.lease(r.ctx))
		f, err := p.load()
		must(t, err)
		if err := p.complete(tree, "bymac", p.defaultName(), "", f); err != nil {
			t.Error(err)
		}
		r.logged(p, f, p.defaultName())
	}
}

// weight is how many files are stored and their bytes.
func (r *rig) weight() (files int, size int64) {
	r.t.Helper()
	must(r.t, filepath.WalkDir(filepath.Join(r.data, "files"), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		st, err := e.Info()
		files++
		size += st.Size()
		return err
	}))
	return files, size
}

// TestHundredPis: a hundred boards of all three models at once. Each is a host of
// its own by its serial number, each gets every byte, and nothing is copied for
// any of them.
func TestHundredPis(t *testing.T) {
	r, cli, c := piRig(t)
	tree := r.piTree()
	r.pushPi("kiosk", "auto_approve = true\n[match]\narch = [\"raspberry-pi\"]\nserial = [\"a1*\"]")
	files, size := r.weight()
	boards := make([]*pi, 100)
	loads := make([]fetched, len(boards))
	errs := make([]error, len(boards))
	var wg sync.WaitGroup
	start := time.Now()
	for i := range boards {
		p := newPi(pis[i%len(pis)], cli, c, "a1", 100+i)
		boards[i] = p
		wg.Go(func() {
			if errs[i] = p.lease(r.ctx); errs[i] == nil {
				loads[i], errs[i] = p.load()
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	var sent int
	addrs := map[netip.Addr]*pi{}
	for i, p := range boards {
		if errs[i] != nil {
			t.Errorf("%s: %v", p, errs[i])
			continue
		}
		if err := p.complete(tree, "kiosk", p.defaultName(), p.serial, loads[i]); err != nil {
			t.Error(err)
		}
		if other := addrs[p.addr]; other != nil {
			t.Errorf("%s and %s both have %s", p, other, p.addr)
		}
		addrs[p.addr] = p
		for _, b := range loads[i].got {
			sent += len(b)
		}
	}
	t.Logf("%d boards from DISCOVER to their last file in %s, %d MiB", len(boards), took.Round(time.Second/10), sent>>20)
	if f, s := r.weight(); f != files || s != size {
		t.Errorf("the store had %d files of %d bytes, and has %d of %d after a hundred boots", files, size, f, s)
	}
	hosts := map[string]host{}
	for _, h := range r.hosts() {
		hosts[h.Serial] = h
	}
	if len(hosts) != len(boards) {
		t.Errorf("%d hosts by their serial numbers, want %d", len(hosts), len(boards))
	}
	for i, p := range boards {
		if h := hosts[p.serial]; h.Name != p.defaultName() || h.State != approved || h.Boots != 1 || len(h.MACs) != 1 || h.MACs[0] != p.mac.String() {
			t.Errorf("%s is %+v", p, h)
		}
		if i < len(pis) && !t.Failed() {
			r.logged(p, loads[i], p.defaultName())
		}
	}
}
