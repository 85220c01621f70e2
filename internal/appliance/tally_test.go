package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/metrics"
	"github.com/musterboot/muster/store/bolt"
)

// TestTally: what was committed counts, once, and nothing else.
func TestTally(t *testing.T) { synctest.Test(t, testTally) }

func testTally(t *testing.T) {
	tally := newTally()
	inner, err := bolt.Open(filepath.Join(t.TempDir(), "muster.db"))
	must(t, err)
	st := countedStore{inner, tally}
	defer st.Close()
	write := func(end error, evs ...boot.Event) {
		t.Helper()
		err := st.Update(t.Context(), func(tx boot.Tx) error {
			if n := tally.writing.Load(); n != 1 {
				t.Errorf("%d are writing", n)
			}
			for _, ev := range evs {
				if _, err := tx.Append(ev); err != nil {
					return err
				}
			}
			return end
		})
		if !errors.Is(err, end) {
			t.Fatal(err)
		}
	}
	stopped := boot.Event{Kind: boot.BootStopped, Reasons: boot.Reasons{{Rule: "diagnose", Code: "no-address"}}}
	write(nil, stopped, boot.Event{Kind: boot.TicketDone, End: "failed"})
	write(nil, stopped)
	write(nil)
	write(errors.New("no room"), stopped, boot.Event{Kind: boot.TicketDone, End: "installed"})
	// A transaction that runs again tells of its events once.
	st.Store = twice{inner}
	write(nil, boot.Event{Kind: boot.HostAdded})
	st.Store = inner
	ask := counted{nobody{}, tally}
	for _, o := range []boot.Outcome{{Result: boot.Complete, Bytes: 1000}, {Result: boot.CutShort, Bytes: 10}, {Result: boot.Probe, Bytes: -1}} {
		_ = ask.Done(t.Context(), boot.Sighting{Via: boot.HTTP}, boot.Decision{}, o)
	}
	_ = ask.Done(t.Context(), boot.Sighting{Via: boot.HTTP, TLS: true}, boot.Decision{}, boot.Outcome{Result: boot.Complete, Bytes: 7})
	for range 3 {
		_, _ = ask.Next(t.Context(), boot.Sighting{Via: boot.DHCP4})
	}

	r := newRig(t, lab)
	r.run()
	r.tally = tally // the running daemon keeps its own
	r.figure("muster_boots_stopped_total", "finding=no-address", 2)
	r.figure("muster_events_by_kind_total", "kind=boot.stopped", 2)
	r.figure("muster_events_by_kind_total", "kind=host.added", 1)
	r.figure("muster_installs_total", "end=failed", 1)
	r.figure("muster_installs_total", "end=installed", 0)
	r.figure("muster_installs_total", "end=same", 0)
	r.figure("muster_transferred_bytes_total", "via=http", 1010)
	r.figure("muster_transferred_bytes_total", "via=https", 7)
	r.figure("muster_transferred_bytes_total", "via=tftp", 0)
	r.figure("muster_transfers_total", "via=http result=short", 1)
	r.figure("muster_transfers_total", "via=https result=complete", 1)
	r.figure("muster_store_writing", "", 0)
	for _, s := range r.figures() {
		switch {
		case s.Name == "muster_store_commit_seconds" && s.Histogram.Count() != 4:
			t.Errorf("%d commits", s.Histogram.Count())
		case s.Name == "muster_decision_seconds" && slices.Contains(s.Labels, metrics.Label{Name: "via", Value: "dhcp4"}) && s.Histogram.Count() != 3:
			t.Errorf("%d decisions", s.Histogram.Count())
		}
	}
}

// twice runs every transaction again.
type twice struct{ boot.Store }

func (s twice) Update(ctx context.Context, fn func(boot.Tx) error) error {
	return s.Store.Update(ctx, func(tx boot.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return fn(tx)
	})
}

type nobody struct{}

func (nobody) Next(context.Context, boot.Sighting) (boot.Decision, error) {
	return boot.Decision{}, nil
}
func (nobody) Done(context.Context, boot.Sighting, boot.Decision, boot.Outcome) error { return nil }
func (nobody) Begin(boot.Sighting, boot.Decision, int64) boot.Transfer                { return nil }

// TestDashboard: rules and panels ask for metrics that there are, no panel lies on
// another, and no metric has a name twice.
func TestDashboard(t *testing.T) {
	name := regexp.MustCompile(`\bmuster_[a-z0-9_]+`)
	have := map[string]bool{}
	sources, err := filepath.Glob("*.go")
	must(t, err)
	for _, f := range sources {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		must(t, err)
		for _, n := range name.FindAllString(string(b), -1) {
			have[n] = true
		}
	}
	asked := map[string]bool{}
	for _, f := range []string{"muster.rules.yml", "grafana.json"} {
		b, err := os.ReadFile(filepath.Join("../../packaging/prometheus", f))
		must(t, err)
		for _, n := range name.FindAllString(string(b), -1) {
			n = strings.TrimSuffix(n, "_bucket")
			asked[n] = true
			if !have[n] {
				t.Errorf("%s asks for %s, which nothing counts", f, n)
			}
		}
	}
	if len(asked) < 15 {
		t.Errorf("only %v are asked for", slices.Sorted(maps.Keys(asked)))
	}
	manual, err := os.ReadFile("../../docs/metrics.md")
	must(t, err)
	for n := range have {
		if !strings.Contains(string(manual), "`"+n+"`") {
			t.Errorf("docs/metrics.md has no %s", n)
		}
	}
	alerts, err := os.ReadFile("../../packaging/prometheus/muster.rules.yml")
	must(t, err)
	for _, a := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(alerts), -1) {
		if !strings.Contains(string(manual), a[1]) {
			t.Errorf("docs/metrics.md has no alert %s", a[1])
		}
	}
	var board struct {
		Title, UID string
		Panels     []struct {
			ID      int
			Title   string
			GridPos struct{ H, W, X, Y int }
			Targets []struct{ Expr string }
		}
	}
	b, err := os.ReadFile("../../packaging/prometheus/grafana.json")
	must(t, err)
	must(t, json.Unmarshal(b, &board))
	lies, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range board.Panels {
		if p.Title == "" || ids[p.ID] || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %+v", p)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := lies[at]; other != "" {
					t.Fatalf("%s lies on %s", p.Title, other)
				}
				lies[at] = p.Title
			}
		}
	}
}
