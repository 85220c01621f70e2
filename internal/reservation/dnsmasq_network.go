// dnsmasq_network.go: the ranges and options of dnsmasq.conf.

package reservation

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
)

var dnsmasqTime = regexp.MustCompile(`^(?i)([0-9]+)([smhdw]?)$`)

func (w *walker) dnsmasq(data []byte) {
	all := w.all
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		text := strings.TrimSpace(dnsmasqComment(line))
		m := dnsmasqOption.FindStringSubmatch(text)
		if m == nil {
			continue // a host, or nothing
		}
		value := strings.ReplaceAll(m[2], `"`, "")
		switch m[1] {
		case "dhcp-host", "read-ethers": // host import has them
		case "dhcp-hostsfile", "dhcp-hostsdir", "conf-file", "conf-dir", "dhcp-optsfile", "dhcp-optsdir":
			w.note(all, n, "%s: another place: name its files too", show(text))
		case "interface":
			if all.iface == "" && !strings.ContainsAny(value, "*,") {
				all.iface = value
			} else {
				w.note(all, n, "%s: a network is on one interface here", show(text))
			}
		case "dhcp-range":
			w.dnsmasqRange(n, text, value)
		case "dhcp-option", "dhcp-option-force":
			file, line := w.file, n
			w.later = append(w.later, func() { // a tag may be that of a range in another file
				w.file = file
				w.dnsmasqOption(line, text, value)
			})
		case "domain":
			if strings.Contains(value, ",") || value == "#" {
				w.note(all, n, "%s: a network has one domain here", show(text))
				continue
			}
			w.option(all, n, "domain-name", []string{value}, text)
		case "dhcp-boot", "pxe-service", "pxe-prompt", "enable-tftp", "tftp-root":
			w.note(all, n, "%s: Muster says itself what boots", show(text))
		case "dhcp-match", "dhcp-vendorclass", "dhcp-userclass", "dhcp-mac", "dhcp-circuitid", "dhcp-remoteid", "dhcp-subscrid", "tag-if", "dhcp-ignore":
			w.note(all, n, "%s: a condition; templates match machines, and [[class]] says how a kind of client is answered", show(text))
		case "enable-ra", "ra-param", "dhcp-rapid-commit":
			w.note(all, n, "%s: a [[network]] has ra and rapid_commit", show(text))
		case "dhcp-authoritative": // that is what a network is here
		default:
			if strings.HasPrefix(m[1], "dhcp-") {
				w.note(all, n, "%s", show(text))
			}
			// The others are about DNS, which dnsmasq may go on with.
		}
	}
}

// dnsmasqRange reads [tag:…,][set:TAG,]START[,END|MODE][,NETMASK[,BROADCAST]][,LEASE].
func (w *walker) dnsmasqRange(line int, text, value string) {
	s := w.inner(w.all, line)
	var addrs []netip.Addr
	for _, f := range strings.Split(value, ",") {
		f = strings.TrimSpace(f)
		a, err := netip.ParseAddr(f)
		switch {
		case strings.HasPrefix(f, "tag:"), strings.HasPrefix(f, "net:"):
			w.note(w.all, line, "%s: the range is for machines with a tag only, so it is left out", show(text))
			return
		case strings.HasPrefix(f, "set:"):
			s.tag = f[4:]
		case strings.HasPrefix(f, "interface:"):
			s.iface = f[len("interface:"):]
		case err == nil && a.Is6(), strings.HasPrefix(f, "constructor:"), strings.HasPrefix(f, "::"):
			w.note(w.all, line, "%s: IPv6 is not read; a [[network]] has subnet6, range6 and mode6", show(text))
			return
		case err == nil:
			addrs = append(addrs, a)
		case f == "static":
			s.mode = boot.Reservations
		case f == "proxy":
			s.mode = boot.Proxy
		case strings.EqualFold(f, "infinite"):
			w.addLease(s, line, f, longest+1)
		case dnsmasqTime.MatchString(f):
			w.addLease(s, line, f, dnsmasqLease(f))
		default:
			w.note(s, line, "%s of %s", show(f), show(text))
		}
	}
	if len(addrs) == 0 {
		w.note(w.all, line, "%s: it names no address", show(text))
		return
	}
	first, masks := addrs[0], addrs[1:]
	last := first
	if s.mode == "" {
		if len(masks) == 0 {
			w.note(w.all, line, "%s: it has no end", show(text))
			return
		}
		last, masks = masks[0], masks[1:]
	}
	if len(masks) > 0 {
		var ok bool
		if s.subnet, ok = masked(first, masks[0]); !ok {
			w.note(w.all, line, "%s: %s is no netmask", show(text), masks[0])
			return
		}
	}
	s.name = s.tag
	// Several ranges of one subnet are one network, if they say nothing else.
	i := slices.IndexFunc(w.all.within, func(o *scope) bool {
		return s.mode == "" && o.mode == "" && s.subnet.IsValid() && o.subnet == s.subnet && o.tag == s.tag && o.lease == s.lease
	})
	if i >= 0 {
		w.addRange(w.all.within[i], line, text, first, last)
		return
	}
	if s.mode == "" {
		w.addRange(s, line, text, first, last)
	}
	s.self = true
	w.end(s)
}

func dnsmasqLease(s string) time.Duration {
	m := dnsmasqTime.FindStringSubmatch(s)
	n, err := strconv.ParseUint(m[1], 10, 32)
	if err != nil {
		return longest + 1
	}
	unit := map[string]time.Duration{"": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}[strings.ToLower(m[2])]
	return time.Duration(n) * unit
}

// dnsmasqOption reads [tag:TAG,…][encap:…][vi-encap:…][vendor:…][option:NAME|option6:…|N][,VALUE…].
func (w *walker) dnsmasqOption(line int, text, value string) {
	fields := strings.Split(value, ",")
	s := w.all
	for len(fields) > 0 {
		f := strings.TrimSpace(fields[0])
		switch {
		case strings.HasPrefix(f, "tag:"), strings.HasPrefix(f, "net:"):
			i := slices.IndexFunc(w.all.within, func(o *scope) bool { return o.tag == f[4:] })
			if i < 0 || s != w.all {
				w.note(w.all, line, "%s: for machines with a tag; a [[class]], a template or a host has options of its own", show(text))
				return
			}
			s, fields = w.all.within[i], fields[1:]
			continue
		case strings.HasPrefix(f, "encap:"), strings.HasPrefix(f, "vi-encap:"), strings.HasPrefix(f, "vendor:"), strings.HasPrefix(f, "option6:"):
			w.note(s, line, "%s", show(text))
			return
		}
		key := strings.TrimPrefix(f, "option:")
		values := fields[1:]
		for i := range values {
			values[i] = strings.TrimSpace(values[i])
		}
		if len(values) == 0 || len(values) == 1 && values[0] == "" {
			// It is not to be sent.
			if o, err := boot.ParseOption(anyOf(key, renamed), "hex:00"); err == nil {
				s.setOption(given{Option: o, file: w.file, line: line, text: text, none: true})
			}
			return
		}
		if slices.Contains(values, "0.0.0.0") {
			w.note(s, line, "%s: 0.0.0.0 is dnsmasq's own address: write that of the server that is meant", show(text))
			return
		}
		if k := anyOf(key, renamed); k == "classless-routes" || k == "121" {
			for i := 0; i+1 < len(values); i += 2 {
				values[i/2] = values[i] + " via " + values[i+1]
			}
			values = values[:len(values)/2]
		}
		w.option(s, line, key, []string{strings.Join(values, ",")}, text)
		return
	}
}

// anyOf is what a table says of a word, or the word.
func anyOf(s string, table map[string]string) string {
	if v, ok := table[s]; ok {
		return v
	}
	return s
}
