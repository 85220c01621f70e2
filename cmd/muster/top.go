// top.go: "muster top": what moves at this moment.

package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

const topPause = time.Second

func (a *app) topCmd() *cobra.Command {
	return &cobra.Command{
		Use: "top", Short: "Watch machines boot: who moves, how far, how fast", Args: exactly(0, "no arguments"),
		Long:    "Watch machines boot, drawn again each second on a terminal; printed once elsewhere.\nA machine is listed until two minutes after its last request.",
		Example: "  muster top\n  muster top --json",
		RunE: func(c *cobra.Command, _ []string) error {
			t := top{app: a, sent: map[boot.MAC]int64{}}
			if a.json {
				var m client.Moving
				if err := a.client().Call(c.Context(), http.MethodGet, "/api/v1/moving", nil, &m); err != nil {
					return err
				}
				return a.printJSON(m)
			}
			if !isTerminal(a.out) {
				return t.draw(c.Context())
			}
			return a.redraw(c.Context(), topPause, func() error { return t.draw(c.Context()) })
		},
	}
}

// top remembers how far each transfer was, for its rate.
type top struct {
	*app
	sent map[boot.MAC]int64
	at   time.Time
}

func (t *top) draw(ctx context.Context) error {
	var s client.Status
	var m client.Moving
	api := t.client()
	for path, into := range map[string]any{"/api/v1/status": &s, "/api/v1/moving": &m} {
		if err := api.Call(ctx, http.MethodGet, path, nil, into); err != nil {
			return err
		}
	}
	now, p := t.now(), t.printer()
	took := now.Sub(t.at)
	before := t.sent
	t.sent, t.at = map[boot.MAC]int64{}, now
	var total float64
	rows := [][]string{{"MACHINE", "STATE", "TEMPLATE", "DOES", "", "SENT", "RATE", "FOR"}}
	for _, x := range m.Machines {
		share, sent, rate := "", "", ""
		if x.Size > 0 {
			share = progress(x.Sent, x.Size)
			sent = size(x.Sent) + " of " + size(x.Size)
			t.sent[x.MAC] = x.Sent
			if old, ok := before[x.MAC]; ok && x.Sent >= old && took > 0 {
				r := float64(x.Sent-old) / took.Seconds()
				total += r
				rate = size(int64(r)) + "/s"
			}
		}
		does := cmp.Or(x.Stage, strings.TrimSpace(string(x.Via)+" "+string(x.Step)))
		if x.Got != "" && x.Stage == "" || x.Size > 0 {
			does = string(x.Via) + " " + x.Got
		}
		if x.Installing {
			does = "installs: " + does
		}
		rows = append(rows, []string{cmp.Or(x.Name, x.MAC.String()), string(x.State), x.Template, does, share, sent, rate, rough(max(0, now.Sub(x.Since)))})
	}
	t.print("%s  %s, up %s   moving %s   waiting %s   %s/s\n", p.paint(bold, "muster"), s.Version, rough(max(0, now.Sub(s.Started))),
		p.paint(bold, fmt.Sprint(len(m.Machines)+m.More)), p.paint(map[bool]string{true: yellow, false: plain}[s.Pending > 0], fmt.Sprint(s.Pending)), size(int64(total)))
	for _, x := range s.Pools {
		if x.Size > 0 {
			t.print("  %s  %s  %d of %d addresses\n", phrase("%-16s", x.Network), fit(progress(int64(x.Leased), int64(x.Size))), x.Leased, x.Size)
		}
	}
	for _, w := range s.Warnings {
		t.print("  %s\n", p.paint(yellow, w))
	}
	t.print("\n")
	if len(m.Machines) == 0 {
		t.print("nothing moves; a machine appears here as soon as it asks for something\n")
		return nil
	}
	t.table(rows)
	if m.More > 0 {
		t.print("and %s more\n", counted(m.More, "machine"))
	}
	return nil
}

// progress is a bar of ten.
func progress(n, of int64) string {
	if of <= 0 {
		return ""
	}
	full := int(min(10, max(0, 10*n/of)))
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", 10-full) + fmt.Sprintf("] %3d %%", min(100, 100*n/of))
}
