// log.go: the log of a server that machines booted from: dnsmasq's, tftpd-hpa's,
// atftpd's, or requests.log of another Muster. A machine is in it by what it asked, not
// by what somebody wrote down: only one that asked to boot is taken.

package reservation

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"strings"

	"github.com/musterboot/muster/boot"
)

var (
	// 1234 DHCPACK(eth0) 10.0.0.5 52:54:00:aa:bb:01 web1
	dnsmasqSaid = regexp.MustCompile(`dnsmasq-dhcp(?:\[\d+\])?: (?:(\d+) )?(DHCP[A-Z]+|PXE)\([^)]*\) (?:([0-9.]+) )?((?:[0-9a-f]{2}:){5}[0-9a-f]{2})(?: ([A-Za-z0-9][A-Za-z0-9.-]*))?`)
	// 1234 vendor class: PXEClient:Arch:00007:UNDI:003016
	dnsmasqClass = regexp.MustCompile(`dnsmasq-dhcp(?:\[\d+\])?: (\d+) vendor class: (.*)`)
	// sent /srv/tftp/a1b2c3d4/start4.elf to 10.0.0.5
	dnsmasqFile = regexp.MustCompile(`dnsmasq-tftp(?:\[\d+\])?: (?:sent|file) (\S+) (?:to|not found for) ([0-9.]+)`)
	// RRQ from 10.0.0.5 filename a1b2c3d4/start4.elf
	tftpdFile = regexp.MustCompile(`in\.tftpd(?:\[\d+\])?: RRQ from (?:::ffff:)?([0-9.]+) filename (\S+)`)
	// Serving a1b2c3d4/start4.elf to 10.0.0.5:49152
	atftpdFile = regexp.MustCompile(`atftpd\[[0-9.]+\]: Serving (\S+) to ([0-9.]+):`)
	// The folder of a Raspberry Pi is the end of its serial number.
	piFolder = regexp.MustCompile(`(?:^|/)([0-9a-f]{8})/[^/]+$`)

	logWords = regexp.MustCompile(`(?m)(dnsmasq-(dhcp|tftp)(\[\d+\])?: |in\.tftpd(?:\[\d+\])?: RRQ from |atftpd\[[0-9.]+\]: Serving |^\{"seq":\d+,"at":)`)
)

// bootClass reports option 60 of firmware or of a boot loader.
func bootClass(s string) bool {
	for _, p := range []string{"PXEClient", "HTTPClient", "U-Boot", "NVIDIA/BF/", "BF2Client", "onie_vendor", "iPXE"} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// logged is a machine of a log.
type logged struct {
	draft
	boots bool // it asked to boot
}

// logReader knows who has which address, as the log goes on.
type logReader struct {
	*reader
	all     []*logged
	byMAC   map[boot.MAC]*logged
	bySer   map[string]*logged
	at      map[netip.Addr]*logged
	classed map[string]bool // transactions of boot clients, until their message
}

func (r *reader) log(data []byte) error {
	l := &logReader{reader: r, byMAC: map[boot.MAC]*logged{}, bySer: map[string]*logged{}, at: map[netip.Addr]*logged{}, classed: map[string]bool{}}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		if line = strings.TrimSpace(line); len(line) < 4096 {
			l.read(n, line)
		}
		if len(l.all) > 2*MaxHosts || len(l.at) > 2*MaxHosts || len(l.classed) > 2*MaxHosts {
			return r.errorf(n, "%v: split the file", errMany)
		}
	}
	plain := 0
	for _, m := range l.all {
		if !m.boots {
			plain++
			continue
		}
		if err := r.finish(&m.draft); err != nil {
			return err
		}
	}
	if plain > 0 {
		r.part(n, "", "%d of the machines in it asked for an address and not to boot: they are not carried over", plain)
	}
	return nil
}

func (l *logReader) read(n int, line string) {
	switch {
	case strings.HasPrefix(line, "{"):
		l.muster(n, line)
	case strings.Contains(line, "dnsmasq-dhcp"):
		if m := dnsmasqClass.FindStringSubmatch(line); m != nil {
			if bootClass(m[2]) {
				l.classed[m[1]] = true
			}
		} else if m := dnsmasqSaid.FindStringSubmatch(line); m != nil {
			mac, err := boot.ParseMAC(m[4])
			if err != nil || !mac.Usable() {
				return
			}
			x := l.machine(n, mac)
			x.boots = x.boots || m[2] == "PXE" || m[1] != "" && l.classed[m[1]]
			if m[2] == "DHCPACK" {
				delete(l.classed, m[1])
				if a, err := netip.ParseAddr(m[3]); err == nil {
					l.at[a] = x
				}
				if m[5] != "" {
					x.host.Name = m[5]
				}
			}
		}
	default:
		for _, x := range []struct {
			re         *regexp.Regexp
			from, path int
		}{{dnsmasqFile, 2, 1}, {tftpdFile, 1, 2}, {atftpdFile, 2, 1}} {
			if m := x.re.FindStringSubmatch(line); m != nil {
				if a, err := netip.ParseAddr(m[x.from]); err == nil {
					l.file(n, a, m[x.path])
				}
				return
			}
		}
	}
}

// machine finds or begins a machine by its MAC address.
func (l *logReader) machine(n int, mac boot.MAC) *logged {
	x := l.byMAC[mac]
	if x == nil {
		x = &logged{draft: draft{line: n, label: mac.String()}}
		x.host.MACs = []boot.MAC{mac}
		l.byMAC[mac] = x
		l.all = append(l.all, x)
	}
	return x
}

// file is a request for a file: of the machine that has the address, and by its folder
// of a Raspberry Pi.
func (l *logReader) file(n int, from netip.Addr, path string) {
	x := l.at[from]
	serial := ""
	if m := piFolder.FindStringSubmatch(path); m != nil {
		serial = m[1]
	}
	switch {
	case x != nil:
		x.boots = true
		if serial != "" && x.host.Serial == "" && l.bySer[serial] == nil {
			x.host.Serial, l.bySer[serial] = serial, x
		}
	case serial != "" && l.bySer[serial] == nil:
		x = &logged{draft: draft{line: n, label: serial}, boots: true}
		x.host.Serial = serial
		l.bySer[serial] = x
		l.all = append(l.all, x)
	}
}

// muster reads a line of a requests.log.
func (l *logReader) muster(n int, line string) {
	var q boot.Request
	if json.Unmarshal([]byte(line), &q) != nil || q.Via == "" {
		return
	}
	if q.MAC.Usable() {
		x := l.machine(n, q.MAC)
		x.boots = x.boots || q.Class != "" && q.Class != boot.Plain || q.Via == boot.TFTP || q.Via == boot.HTTP && q.Reply != "done"
		if q.Name != "" {
			x.host.Name = q.Name
		}
		if q.Source.IsValid() && !q.Source.IsUnspecified() {
			l.at[q.Source] = x
		}
	}
	if q.Via == boot.TFTP && q.Path != "" {
		l.file(n, q.Source, q.Path)
	}
}
