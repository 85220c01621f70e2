// strip.go: a machine's latest boot on one line, step by step, for "host show".

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// step is how far a boot came, and when.
type step struct {
	name  string
	at    time.Time
	bytes int64
}

// steps reads a boot off a timeline: from the firmware's last DISCOVER that
// followed something else.
func steps(timeline []client.Entry) []step {
	s := []step{{name: "asked"}, {name: "address"}, {name: "loader"}, {name: "iPXE"}, {name: "script"}, {name: "files"}, {name: "report"}}
	reach := func(i int, r *boot.Request) {
		if s[i].at.IsZero() {
			s[i].at = r.At
		}
		s[i].bytes += r.Bytes
	}
	var last *boot.Request
	for _, e := range timeline {
		r := e.Request
		if r == nil {
			continue
		}
		firmware := r.Class == boot.PXE || r.Class == boot.HTTPClient
		dhcp := r.Via == boot.DHCP4 || r.Via == boot.Proxy4
		if firmware && r.Step == boot.Discover && last != nil && last.Step != boot.Discover {
			for i := range s {
				s[i].at, s[i].bytes = time.Time{}, 0
			}
		}
		last = r
		switch {
		case dhcp && r.Class == boot.IPXE:
			reach(3, r)
		case dhcp && r.Reply == "ack" && r.Class != boot.Plain || r.Via == boot.Proxy4:
			reach(0, r)
			reach(1, r)
		case dhcp && firmware:
			reach(0, r)
		case r.Reply == "script" && !strings.HasSuffix(r.Got, " script"):
			reach(4, r)
		case r.Reply == "file" && r.Boot > 0 && !s[4].at.IsZero():
			reach(5, r)
		case r.Reply == "file" && s[4].at.IsZero():
			reach(2, r)
		case r.Reply == "done":
			reach(6, r)
		}
	}
	return s
}

// strip draws the steps; "" for a machine that never asked.
func (p printer) strip(timeline []client.Entry, stage string) {
	s := steps(timeline)
	var begin time.Time
	far := -1
	for i := range s {
		if !s[i].at.IsZero() {
			far = i
			if begin.IsZero() {
				begin = s[i].at
			}
		}
	}
	if far < 0 {
		return
	}
	if stage != "" {
		s[6].name = stage
	}
	var parts []string
	add := func(c, text string) { parts = append(parts, string(p.paint(c, text))) }
	for i, x := range s {
		switch {
		case !x.at.IsZero() && x.at.Equal(begin):
			add(green, x.name+" "+x.at.Local().Format(time.TimeOnly))
		case !x.at.IsZero():
			text := fmt.Sprintf("%s +%s", x.name, x.at.Sub(begin).Round(100*time.Millisecond))
			if x.bytes > 0 {
				text += " " + size(x.bytes)
			}
			add(green, text)
		case i > far:
			add(dim, x.name+" -")
		}
	}
	p.print("\n  %s\n", fit(strings.Join(parts, " > ")))
}
