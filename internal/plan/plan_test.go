package plan

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/engine"
	"github.com/musterboot/muster/store/mem"
)

var person = boot.Actor{Kind: boot.Person}

// roll is an engine with n approved hosts w00…, a template that installs and one that
// does not.
func roll(t *testing.T, n int) (*Plans, func(boot.Order) boot.Changes) {
	t.Helper()
	s, err := mem.Open()
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(s, engine.NewRequestLog(nil), slog.New(slog.NewTextHandler(io.Discard, nil)))
	t.Cleanup(func() { e.Close(); s.Close() })
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	e.Now = func() time.Time { return now }
	if err := e.SetPolicy(t.Context(), boot.Policy{}); err != nil {
		t.Fatal(err)
	}
	do := func(o boot.Order) boot.Changes {
		t.Helper()
		c, err := e.Do(t.Context(), person, o)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	files := map[string]boot.Blob{"template.toml": {}, "k": {}}
	do(boot.PushTemplate{Template: boot.Template{Name: "deb", Install: true, Media: []string{"k"}, Files: files}})
	do(boot.PushTemplate{Template: boot.Template{Name: "live", Files: files}})
	for i := range n {
		do(boot.AddHost{Host: boot.NewHost{Name: fmt.Sprintf("w%02d", i), State: boot.Approved, Template: "deb", MACs: []boot.MAC{{2, 0, 0, 0, 1, byte(i)}}, Serial: fmt.Sprintf("SN-%d", i)}})
	}
	return &Plans{Engine: e}, do
}

func (p *Plans) host(t *testing.T, name string) (h *boot.Host) {
	t.Helper()
	if err := p.Engine.View(t.Context(), func(tx boot.ReadTx) (err error) { h, err = tx.HostByName(name); return err }); err != nil || h == nil {
		t.Fatal(name, err)
	}
	return h
}

// TestInherited: a query asks for tags, and for values wherever they come from.
func TestInherited(t *testing.T) {
	p, do := roll(t, 3)
	x, y := "x", "y"
	do(boot.SetParams{Scope: boot.Site, Params: map[string]*string{"k": &x}})
	do(boot.SetParams{Scope: boot.TagScope("rack=12"), Params: map[string]*string{"k": &y}})
	do(boot.SetHost{Name: "w01", Tags: []string{"rack=12"}})
	for q, want := range map[string][]string{"param.k:x": {"w00", "w02"}, "param.k:y tag:rack": {"w01"}, "tag:none": {"w00", "w02"}} {
		m, err := p.Make(t.Context(), person, Request{Action: Deny, Query: q})
		if err != nil || !slices.Equal(m.Names, want) {
			t.Errorf("%s: %v, %v, want %v", q, m.Names, err, want)
		}
	}
	m, err := p.Make(t.Context(), person, Request{Action: Set, Query: "tag:rack=12", Set: boot.SetHost{Tags: []string{"rack=13"}}})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := p.Run(t.Context(), person, m.ID, 0, boot.Rights{}); err != nil || r.Done != 1 || !slices.Equal(p.host(t, "w01").Tags, []string{"rack=13"}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestPlan: a plan changes nothing and says whom it leaves out; what runs is what was
// shown, and a host that changed meanwhile is left as it is.
func TestPlan(t *testing.T) {
	p, do := roll(t, 30)
	yes := true
	do(boot.SetHost{Name: "w01", Protected: &yes})
	do(boot.SetHost{Name: "w02", Protected: &yes})
	do(boot.Install{Name: "w03"})
	do(boot.Deny{Name: "w04"})
	m, err := p.Make(t.Context(), person, Request{Action: Install, Query: "template:deb"})
	if err != nil {
		t.Fatal(err)
	}
	if m.Count != 26 || len(m.Names) != 20 || m.Names[0] != "w00" || !strings.Contains(m.Will, "writes to its disk") {
		t.Errorf("%+v", m)
	}
	if len(m.LeftOut) != 3 || m.LeftOut[0].Count != 2 || !slices.Equal(m.LeftOut[0].Names, []string{"w01", "w02"}) || !strings.Contains(m.LeftOut[0].Why, "protected") {
		t.Errorf("left out: %+v", m.LeftOut)
	}
	if p.host(t, "w00").Ticket != nil {
		t.Error("a plan armed a ticket")
	}
	if _, err := p.Run(t.Context(), person, m.ID, 0, boot.Rights{}); boot.FaultOf(err) == nil || boot.FaultOf(err).Code != boot.Unconfirmed {
		t.Errorf("26 installations were run without their number: %v", err)
	}
	// A host that would match now is not in it, and one that changed is left alone.
	do(boot.AddHost{Host: boot.NewHost{Name: "late", State: boot.Approved, Template: "deb", MACs: []boot.MAC{{2, 9}}}})
	do(boot.SetHost{Name: "w07", Params: map[string]*string{"k": new(string)}})
	r, err := p.Run(t.Context(), person, m.ID, 26, boot.Rights{})
	if err != nil || r.Done != 25 || len(r.Failed) != 1 || r.Failed[0].Name != "w07" || !strings.Contains(r.Failed[0].Why, "changed since") {
		t.Errorf("%+v, %v", r, err)
	}
	if p.host(t, "late").Ticket != nil || p.host(t, "w01").Ticket != nil || p.host(t, "w07").Ticket != nil || p.host(t, "w29").Ticket == nil {
		t.Error("other machines than those of the plan")
	}
	if _, err := p.Run(t.Context(), person, m.ID, 26, boot.Rights{}); boot.FaultOf(err) == nil || boot.FaultOf(err).Code != boot.UnknownPlan {
		t.Errorf("it was run twice: %v", err)
	}
}

// TestAnother: a plan does not run on another machine that has the name by then, an
// address that was leased once names nobody, and who takes many off the roll says how many.
func TestAnother(t *testing.T) {
	p, do := roll(t, 12)
	m, err := p.Make(t.Context(), person, Request{Action: Install, Names: []string{"w01"}})
	if err != nil {
		t.Fatal(err)
	}
	do(boot.RemoveHost{Name: "w01"})
	do(boot.AddHost{Host: boot.NewHost{Name: "w01", State: boot.Approved, Template: "deb", MACs: []boot.MAC{{2, 7}}}})
	if r, err := p.Run(t.Context(), person, m.ID, 0, boot.Rights{}); err != nil || r.Done != 0 || len(r.Failed) != 1 || p.host(t, "w01").Ticket != nil {
		t.Errorf("%+v, %v", r, err)
	}
	m, err = p.Make(t.Context(), person, Request{Action: Remove, All: true})
	if err != nil || !m.Confirm {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := p.Run(t.Context(), person, m.ID, 0, boot.Rights{}); boot.FaultOf(err) == nil || boot.FaultOf(err).Code != boot.Unconfirmed {
		t.Errorf("%v", err)
	}
}

// TestActions: each action, by name and by query.
func TestActions(t *testing.T) {
	p, do := roll(t, 4)
	do(boot.Deny{Name: "w03"})
	live := "live"
	v := "/dev/sdb"
	for _, c := range []struct {
		r    Request
		done []string
		ok   func(*boot.Host) bool
	}{
		{Request{Action: Set, Query: "w0", Set: boot.SetHost{Params: map[string]*string{"disk": &v}}}, []string{"w00", "w01", "w02", "w03"}, func(h *boot.Host) bool { return h.Params["disk"] == v }},
		{Request{Action: Install, Query: "-state:denied"}, []string{"w00", "w01", "w02"}, func(h *boot.Host) bool { return h.Ticket.State == boot.TicketArmed }},
		{Request{Action: Local, Names: []string{"SN-1", "w01"}}, []string{"w01"}, func(h *boot.Host) bool { return h.Ticket.State == boot.TicketClosed }},
		{Request{Action: Rescue, Query: "ticket:armed", Template: &live}, []string{"w00", "w02"}, func(h *boot.Host) bool { return h.Once == live }},
		{Request{Action: Approve, Query: "state:denied"}, []string{"w03"}, func(h *boot.Host) bool { return h.State == boot.Approved }},
		{Request{Action: Update, All: true}, []string{"w00", "w01", "w02", "w03"}, func(h *boot.Host) bool { return h.Pin == 0 }},
		{Request{Action: Deny, Names: []string{"02:00:00:00:01:00"}}, []string{"w00"}, func(h *boot.Host) bool { return h.State == boot.Denied }},
	} {
		m, err := p.Make(t.Context(), person, c.r)
		if err != nil || !slices.Equal(m.Names, c.done) {
			t.Errorf("%s %s: %+v, %v", c.r.Action, c.r.Query, m, err)
			continue
		}
		if r, err := p.Run(t.Context(), person, m.ID, 0, boot.Rights{}); err != nil || r.Done != len(c.done) {
			t.Errorf("%s: %+v, %v", c.r.Action, r, err)
		}
		for _, n := range c.done {
			if h := p.host(t, n); !c.ok(h) {
				t.Errorf("%s: %s is %+v", c.r.Action, n, h)
			}
		}
	}
	m, err := p.Make(t.Context(), person, Request{Action: Remove, Query: "name:w00,w01"})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := p.Run(t.Context(), person, m.ID, 0, boot.Rights{}); err != nil || r.Done != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestRefused: what no plan is made of, and what ends one.
func TestRefused(t *testing.T) {
	p, _ := roll(t, 3)
	for what, c := range map[string]struct {
		r    Request
		code boot.FaultCode
	}{
		"no action":   {Request{Action: "wipe", All: true}, boot.Invalid},
		"nobody":      {Request{Action: Deny}, boot.Invalid},
		"both":        {Request{Action: Deny, Query: "w0", Names: []string{"w00"}}, boot.Invalid},
		"a bad query": {Request{Action: Deny, Query: "stat:x"}, boot.Invalid},
		"a stranger":  {Request{Action: Deny, Names: []string{"nobody"}}, boot.UnknownHost},
		"no template": {Request{Action: Rescue, All: true}, boot.Invalid},
	} {
		if _, err := p.Make(t.Context(), person, c.r); boot.FaultOf(err) == nil || boot.FaultOf(err).Code != c.code {
			t.Errorf("%s: %v", what, err)
		}
	}
	m, err := p.Make(t.Context(), person, Request{Action: Deny, All: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Get(person, m.ID); err != nil || got.Count != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	for range maxPlans {
		if _, err := p.Make(t.Context(), person, Request{Action: Deny, Names: []string{"w00"}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Get(person, m.ID); err == nil || len(p.kept) != maxPlans {
		t.Errorf("%d plans are kept", len(p.kept))
	}
	last := p.kept[len(p.kept)-1].ID
	later := p.Engine.Now().Add(life + time.Second)
	p.Engine.Now = func() time.Time { return later }
	if _, err := p.Run(t.Context(), person, last, 0, boot.Rights{}); boot.FaultOf(err) == nil || boot.FaultOf(err).Code != boot.UnknownPlan {
		t.Errorf("an old plan ran: %v", err)
	}
}

// TestShare: a part of the machines, spread over the roll; the same again takes the next.
func TestShare(t *testing.T) {
	p, _ := roll(t, 40)
	for _, c := range []struct{ share, want string }{
		{"10%", "w09 w19 w29 w39"}, {"3", "w13 w26 w39"}, {"1%", "w39"}, {"100%", ""}, {"41", ""},
		{"0", "fault"}, {"101%", "fault"}, {"-1", "fault"}, {"some", "fault"}, {"10 %", "fault"},
	} {
		m, err := p.Make(t.Context(), person, Request{Action: Deny, Query: "state:approved", Share: c.share})
		switch {
		case c.want == "fault":
			if err == nil {
				t.Errorf("%s: %+v", c.share, m)
			}
		case err != nil || c.want == "" && m.Count != 40 || c.want != "" && (strings.Join(m.Names, " ") != c.want || len(m.LeftOut) != 1 || m.LeftOut[0].Count != 40-m.Count):
			t.Errorf("%s: %v, %+v", c.share, err, m)
		}
	}
	// Many are installed by shares that nobody has to count, and each takes others.
	done := map[string]bool{}
	for range 10 {
		m, err := p.Make(t.Context(), person, Request{Action: Install, Query: "state:approved ticket:none", Share: "10"})
		if err != nil || m.Confirm {
			t.Fatalf("%v, %+v", err, m)
		}
		if m.Count == 0 {
			break
		}
		if _, err := p.Run(t.Context(), person, m.ID, 0, boot.Rights{}); err != nil {
			t.Fatal(err)
		}
		for _, n := range m.Names {
			if done[n] {
				t.Errorf("%s twice", n)
			}
			done[n] = true
		}
	}
	if len(done) != 40 {
		t.Errorf("%d of them", len(done))
	}
}
