package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/musterboot/muster/internal/nettest"
)

// TestMetrics: Prometheus's own tool reads our metrics, the rules and the panels, and the
// commands that an alert names are there.
func TestMetrics(t *testing.T) {
	r := newRig(t)
	promtool := nettest.Cached(t, "prometheus/usr/bin/promtool")
	r.serveConfig(fullNetwork)
	cli := r.host("cli", "")
	r.leased(cli)
	text := r.metrics()
	for _, want := range []string{`muster_decision_seconds_count{via="dhcp4"}`, "muster_store_commit_seconds_bucket", `muster_installs_total{end="failed"} 0`, "muster_hosts 1", `muster_events_by_kind_total{kind="lease.granted"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in:\n%s", want, text)
		}
	}
	tool := func(input string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(r.ctx, promtool, args...)
		cmd.Stdin = strings.NewReader(input)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	tool(text, "check", "metrics")
	const folder = "../packaging/prometheus/"
	tool("", "check", "rules", folder+"muster.rules.yml")
	tool("", "test", "rules", folder+"rules_test.yml")

	// What a panel asks for is checked as a rule.
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	b, err := os.ReadFile(folder + "grafana.json")
	must(t, err)
	must(t, json.Unmarshal(b, &board))
	var rules strings.Builder
	rules.WriteString("groups:\n- name: panels\n  rules:\n")
	for i, p := range board.Panels {
		for j, x := range p.Targets {
			q, err := json.Marshal(strings.NewReplacer("$__rate_interval", "5m", "$instance", "a").Replace(x.Expr))
			must(t, err)
			fmt.Fprintf(&rules, "  - record: panel:%d_%d\n    expr: %s\n", i, j, q)
		}
	}
	panels := filepath.Join(t.TempDir(), "panels.yml")
	must(t, os.WriteFile(panels, []byte(rules.String()), 0o644))
	tool("", "check", "rules", panels)

	rulesText, err := os.ReadFile(folder + "muster.rules.yml")
	must(t, err)
	commands := regexp.MustCompile(`muster ((?:[a-z]+ ?)+)`).FindAllStringSubmatch(string(rulesText), -1)
	if len(commands) < 8 {
		t.Errorf("commands of the alerts: %q", commands)
	}
	for _, c := range commands {
		words := strings.Fields(c[1])
		if words[0] == "on" {
			continue
		}
		out, err := exec.CommandContext(r.ctx, r.binary, append(words, "--help")...).CombinedOutput()
		if want := "muster " + strings.Join(words, " "); err != nil || !strings.Contains(string(out), "\n  "+want) {
			t.Errorf("an alert says %s: %v\n%s", want, err, out)
		}
	}
}
