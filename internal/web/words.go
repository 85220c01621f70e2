// words.go: how times, sizes and states are said.

package web

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

func (s *Site) words() template.FuncMap {
	return template.FuncMap{
		"asset": func(name string) string { return s.names[name] },
		"ago":   ago,
		"exact": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"clock": func(t time.Time) string { return t.Local().Format("15:04:05") },
		"size":  size,
		"bar":   bar,
		"state": state,
		"tag":   func(h boot.Host) string { return client.Tag(&h) },
		"first": func(n int, s string) string {
			if r := []rune(s); len(r) > n {
				return string(r[:n-1]) + "…"
			}
			return s
		},
		"join":   strings.Join,
		"may":    func(me client.Me, role string) bool { return me.Role.Allows(boot.Role(role)) },
		"lasted": lasted,
		"split":  strings.Fields,
		"wide":   func(n int) int64 { return int64(n) },
		"dict":   dict,
		"remedy": remedy,
	}
}

// dict makes one value of several, for a part of a page.
func dict(kv ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(kv); i += 2 {
		m[fmt.Sprint(kv[i])] = kv[i+1]
	}
	return m
}

// ago is a time as people say it; what is ahead is said so, since a clock may be wrong.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	switch {
	case d < -time.Minute:
		return "in " + lasted(-d)
	case d < 5*time.Second:
		return "now"
	}
	return lasted(d) + " ago"
}

// remedy is an order that helps and that a click may give: what writes to a disk is not.
func remedy(o boot.Order) string {
	switch o := o.(type) {
	case boot.Approve:
		if o.Template == nil {
			return "approve"
		}
	case boot.Update:
		return "update"
	}
	return ""
}

func lasted(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1000*1000:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	case n < 1000*1000*1000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// bar is a share as a picture, with its words for who does not see it. The policy allows
// no style in a page, so its width is an attribute.
func bar(part, whole int64, label string) template.HTML {
	if whole <= 0 {
		return ""
	}
	w := min(max(part*100/whole, 0), 100)
	return template.HTML(fmt.Sprintf(`<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="%s"><rect class="whole" width="100" height="8"/><rect class="part" width="%d" height="8"/></svg>`,
		template.HTMLEscapeString(label), w))
}

// state is where a machine stands, in one word: those of the query state:WORD.
func state(h boot.Host) string {
	switch {
	case h.State != boot.Approved:
	case h.Installing():
		return "installing"
	case h.Failed():
		return "failed"
	case h.InstallDone():
		return "installed"
	}
	return string(h.State)
}
