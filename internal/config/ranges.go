// ranges.go: runs of IPv4 addresses: how they are written, and where two overlap.

package config

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/musterboot/muster/boot"
)

// without takes addresses out of ranges.
func without(ranges, excluded []boot.Range) []boot.Range {
	for _, x := range excluded {
		var left []boot.Range
		for _, r := range ranges {
			if !overlap(r, x) {
				left = append(left, r)
				continue
			}
			if r.From.Less(x.From) {
				left = append(left, boot.Range{From: r.From, To: x.From.Prev()})
			}
			if x.To.Less(r.To) {
				left = append(left, boot.Range{From: x.To.Next(), To: r.To})
			}
		}
		ranges = left
	}
	return ranges
}

// parseRanges reads "10.0.0.10-10.0.0.20, 10.0.0.40-10.0.0.50".
func parseRanges(s string) ([]boot.Range, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var out []boot.Range
	var total uint64
	for _, part := range strings.Split(s, ",") {
		from, to, ok := strings.Cut(strings.TrimSpace(part), "-")
		if !ok {
			to = from
		}
		a, err1 := netip.ParseAddr(strings.TrimSpace(from))
		b, err2 := netip.ParseAddr(strings.TrimSpace(to))
		if err1 != nil || err2 != nil || !a.Is4() || !b.Is4() {
			return nil, fmt.Errorf("range %q: want FIRST-LAST, like 10.77.0.100-10.77.0.200", strings.TrimSpace(part))
		}
		r := boot.Range{From: a, To: b}
		if b.Less(a) {
			return nil, fmt.Errorf("range %s ends before it begins; did you mean %s-%s?", r, b, a)
		}
		for _, o := range out {
			if overlap(o, r) {
				return nil, fmt.Errorf("range %s overlaps %s", r, o)
			}
		}
		if total += r.Size(); total > boot.MaxPool {
			return nil, fmt.Errorf("range %q holds more than %d addresses", s, boot.MaxPool)
		}
		out = append(out, r)
	}
	return out, nil
}

func overlap(a, b boot.Range) bool { return !a.To.Less(b.From) && !b.To.Less(a.From) }

// inside refuses ranges beyond a subnet, and its network and broadcast address.
func inside(p netip.Prefix, ranges []boot.Range) error {
	for _, r := range ranges {
		for _, a := range []netip.Addr{r.From, r.To} {
			if !p.Contains(a) {
				return fmt.Errorf("range %s: %s is outside subnet %s", r, a, p)
			}
		}
		if p.Bits() < 31 && (r.Contains(p.Addr()) || r.Contains(boot.Broadcast(p))) {
			return fmt.Errorf("range %s holds the network or broadcast address of %s", r, p)
		}
	}
	return nil
}
