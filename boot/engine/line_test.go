package engine

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// machineLine is what a machine logs, as the engine files it.
func machineLine(mac byte, text string) boot.Request {
	return boot.Request{At: time.Unix(1, 0), MAC: boot.MAC{2, 0, 0, 0, 0, mac}, Via: boot.Syslog, Step: boot.LogLine, Reply: "done", Line: &boot.Line{Severity: boot.Informational, Facility: "user", App: "sh", Text: text}}
}

// TestLinesAreBounded: a machine keeps its newest lines, all together stay below
// the cap whatever they say, and whoever logs most recently keeps his.
func TestLinesAreBounded(t *testing.T) {
	l := NewLineLog(nil)
	for i := range 5000 {
		l.Add(machineLine(1, fmt.Sprintf("line %d", i)))
	}
	got := l.Machine("02:00:00:00:00:01")
	if len(got) != lineBounds.perMachine || got[0].Line.Text != "line 4744" || got[len(got)-1].Line.Text != "line 4999" {
		t.Fatalf("%d lines, from %q to %q", len(got), got[0].Line.Text, got[len(got)-1].Line.Text)
	}
	if p := l.Pushed(); p != 5000-256 {
		t.Errorf("%d pushed out, want %d", p, 5000-256)
	}
	long := strings.Repeat("x", boot.MaxLine-8)
	for i := range 100 * lineBounds.perMachine {
		l.Add(machineLine(byte(2+i/lineBounds.perMachine), fmt.Sprintf("%08d%s", i, long)))
	}
	sum := 0
	for e := l.lru.Front(); e != nil; e = e.Next() {
		for _, p := range e.Value.(*machineLog).ring {
			sum += p.size()
		}
	}
	if sum != l.bytes || sum > lineBounds.bytes || sum < lineBounds.bytes/2 {
		t.Errorf("%d bytes are kept and %d counted, want at most %d and not much less", sum, l.bytes, lineBounds.bytes)
	}
	if len(l.Machine("02:00:00:00:00:01")) != 0 || len(l.Machine("02:00:00:00:00:65")) != lineBounds.perMachine {
		t.Error("the oldest machine's lines should be gone, and the newest one's there")
	}
}

// TestRepeatedLine: the same words again are one entry.
func TestRepeatedLine(t *testing.T) {
	l := NewLineLog(nil)
	for range 3 {
		l.Add(machineLine(1, "again"))
	}
	l.Add(machineLine(1, "another"))
	if got := l.Machine("02:00:00:00:00:01"); len(got) != 2 || got[0].Repeated != 2 || got[1].Line.Text != "another" {
		t.Errorf("got %+v", got)
	}
}

// TestChatterPushesOutNoRequest: the boot stays on the record of a machine that
// logs without end, and a stranger's line is on none.
func TestChatterPushesOutNoRequest(t *testing.T) {
	mac := boot.MAC{2, 0, 0, 0, 0, 9}
	src := netip.MustParseAddrPort("10.77.0.100:514")
	e := New(&oneLease{boot.Lease{Network: "lab", Addr: src.Addr(), Holder: boot.HeldBy(mac), MAC: mac, Kind: boot.Dynamic, Expires: time.Unix(1000, 0)}}, NewRequestLog(nil), slog.New(slog.NewTextHandler(io.Discard, nil)))
	defer e.Close()
	e.policy.Store(&boot.Policy{Networks: []boot.Network{{Name: "lab", Mode: boot.Full, Server: netip.MustParseAddr("10.77.0.1"), Subnet: netip.MustParsePrefix("10.77.0.0/24")}}})
	e.Log.Add(boot.Request{At: time.Unix(1, 0), MAC: mac, Via: boot.DHCP4, Step: boot.Discover, Reply: "offer"})
	say := func(from, text string) boot.Decision {
		d, err := e.Next(context.Background(), boot.Sighting{At: time.Unix(2, 0), Via: boot.Syslog, Step: boot.LogLine, Source: netip.MustParseAddrPort(from), Line: &boot.Line{Text: text}})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for i := range 1000 {
		say("10.77.0.100:514", fmt.Sprintf("%d \x1b[31mred\u202e", i))
	}
	if got := e.Log.Machine(mac.String()); len(got) != 1 {
		t.Errorf("%d requests, want the one from before", len(got))
	}
	lines := e.Lines.Machine(mac.String())
	if len(lines) != 256 || lines[255].Line.Text != "999 [31mred" || lines[255].Network != "lab" {
		t.Errorf("%d lines, the last is %+v", len(lines), lines[len(lines)-1])
	}
	before := e.Lines.Seq()
	if d := say("10.77.0.101:514", "let me in"); boot.Verb(d.Reply) != "ignore" {
		t.Errorf("a stranger's line: %s", boot.Verb(d.Reply))
	}
	if len(e.Log.Machine("10.77.0.101"))+len(e.Lines.Machine("10.77.0.101")) != 0 || e.Lines.Seq() != before {
		t.Error("a stranger's line was kept")
	}
}

// oneLease is a store with one lease and nothing else.
type oneLease struct{ l boot.Lease }

type oneLeaseTx struct {
	boot.ReadTx
	l boot.Lease
}

func (s *oneLease) View(_ context.Context, fn func(boot.ReadTx) error) error {
	return fn(oneLeaseTx{l: s.l})
}
func (s *oneLease) Update(context.Context, func(boot.Tx) error) error {
	return fmt.Errorf("a line wrote something")
}
func (s *oneLease) Changed() <-chan struct{} { return nil }
func (s *oneLease) Close() error             { return nil }

func (t oneLeaseTx) Lease(network string, a netip.Addr) (*boot.Lease, error) {
	if network != t.l.Network || a != t.l.Addr {
		return nil, nil
	}
	l := t.l
	return &l, nil
}
func (oneLeaseTx) HostByMAC(boot.MAC) (*boot.Host, error)   { return nil, nil }
func (oneLeaseTx) HostByUUID(boot.UUID) (*boot.Host, error) { return nil, nil }
