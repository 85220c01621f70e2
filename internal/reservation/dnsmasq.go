// dnsmasq.go: dhcp-host= lines of dnsmasq.conf, the same lines without the
// prefix of a dhcp-hostsfile, and /etc/ethers.

package reservation

import (
	"net/netip"
	"regexp"
	"strings"
)

var (
	dnsmasqOption = regexp.MustCompile(`^(?:--)?([a-z][a-z0-9-]*)\s*(?:=\s*(.*))?$`)
	leaseTime     = regexp.MustCompile(`^(?i:[0-9]+[smhdw]?|infinite)$`)
	hardwareType  = regexp.MustCompile(`^([0-9A-Fa-f]{1,2})-[0-9A-Fa-f]{1,2}:`)
)

func (r *reader) dnsmasq(data []byte) error {
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		text := strings.TrimSpace(dnsmasqComment(line))
		if text == "" {
			continue
		}
		if m := dnsmasqOption.FindStringSubmatch(text); m != nil {
			switch m[1] {
			case "dhcp-host":
				if err := r.dnsmasqHost(n, strings.ReplaceAll(m[2], `"`, "")); err != nil {
					return err
				}
			case "dhcp-hostsfile", "dhcp-hostsdir", "conf-file", "conf-dir":
				r.part(n, "", "%s is another place: give its files to the import too", show(m[2]))
			case "dhcp-range", "dhcp-option", "dhcp-option-force", "dhcp-boot", "pxe-service", "pxe-prompt", "dhcp-lease-max", "dhcp-relay", "dhcp-proxy", "shared-network",
				"dhcp-match", "dhcp-vendorclass", "dhcp-userclass", "dhcp-mac", "dhcp-circuitid", "dhcp-remoteid", "dhcp-subscrid", "tag-if", "dhcp-ignore":
				r.ofNetwork(n, text)
			case "read-ethers":
				r.part(n, "", "read-ethers: give /etc/ethers to the import too")
			}
			continue // other options are not about single machines
		}
		if words := strings.Fields(text); len(words) == 2 && !strings.Contains(text, ",") {
			// /etc/ethers: a MAC address, and a name or an address.
			text = words[0] + "," + words[1]
		}
		if err := r.dnsmasqHost(n, strings.ReplaceAll(text, `"`, "")); err != nil {
			return err
		}
	}
	return nil
}

// dnsmasqComment cuts off a comment. A '#' begins one at the start of a line or
// after a blank, but not inside quotes.
func dnsmasqComment(s string) string {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '#' && !quoted && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t'):
			return s[:i]
		}
	}
	return s
}

func (r *reader) dnsmasqHost(line int, text string) error {
	d := &draft{line: line}
	fields := strings.Split(text, ",")
	if len(fields) > maxWords {
		r.lost(line, "", "the line has more than %d fields", maxWords)
		return nil
	}
	// The name is read first because the notes use it.
	for i, f := range fields {
		f = strings.TrimSpace(f)
		fields[i] = f
		_, err := netip.ParseAddr(f)
		if f == "" || f == "ignore" || err == nil || strings.ContainsAny(f, ":*") || f[0] == '[' || leaseTime.MatchString(f) {
			continue
		}
		if d.host.Name == "" {
			d.host.Name = f
		}
	}
	d.label = word(d.host.Name)
	if d.label == "" {
		d.label = word(fields[0])
	}
	macs, ignored := 0, false
	for _, f := range fields {
		lower := strings.ToLower(f)
		addr, notAddr := netip.ParseAddr(f)
		switch {
		case f == "":
		case strings.HasPrefix(lower, "id:"):
			if id := f[3:]; id == "*" {
				r.part(line, d.label, "%s is not carried over: the host is known by its MAC address", show(f))
			} else {
				d.addOther(clientID(id))
			}
		case strings.HasPrefix(lower, "set:"), strings.HasPrefix(lower, "net:"):
			r.part(line, d.label, "tag %s is not carried over: what it boots is its template's", show(f[4:]))
		case strings.HasPrefix(lower, "tag:"):
			r.part(line, d.label, "only with tag %s: the host is known on every network instead", show(f[4:]))
		case strings.HasPrefix(f, "["):
			r.part(line, d.label, "address %s is not carried over: only IPv4 is reserved", show(f))
		case notAddr == nil && addr.Is4():
			r.addAddress(d, line, f)
		case strings.Contains(f, ":") || strings.Contains(f, "*"):
			// A type may stand in front: 1 is Ethernet.
			if m := hardwareType.FindStringSubmatch(f); m != nil && strings.Trim(m[1], "0") == "1" {
				f = f[strings.IndexByte(f, '-')+1:]
			}
			macs++
			r.addMAC(d, line, f)
		case f == "ignore":
			ignored = true
		case f == d.host.Name:
		case leaseTime.MatchString(f):
			r.part(line, d.label, "lease time %s is not carried over: it is the network's (muster.toml)", word(f))
		default:
			r.part(line, d.label, "%s is not carried over: a host has one name", show(f))
		}
	}
	if ignored {
		r.lost(line, d.label, "dnsmasq ignores it; here an unknown machine is held until somebody approves it, and refused with: muster host deny")
		return nil
	}
	if macs == 0 && len(d.other) == 0 && d.host.Name != "" {
		d.addOther("the name it sends (" + d.label + ")")
	}
	return r.finish(d)
}
