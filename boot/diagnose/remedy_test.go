package diagnose

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// TestRemedyIsAnOrder: where one order is the remedy, the finding carries it, and
// it survives JSON, by which pages and commands read it.
func TestRemedyIsAnOrder(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	mac := boot.MAC{2, 0, 0, 0, 0, 1}
	script := func(name string, why *boot.Reason) []boot.Request {
		return []boot.Request{{At: now.Add(-time.Minute), MAC: mac, Via: boot.HTTP, Step: boot.Fetch, Reply: "script", Got: name + " script",
			Reasons: boot.Reasons{{Rule: "script", Code: boot.Code("script." + name), Cause: why}}}}
	}
	no := false
	for code, x := range map[string]struct {
		host boot.Host
		reqs []boot.Request
		want boot.Order
	}{
		Denied:      {boot.Host{State: boot.Denied}, script("local", nil), boot.Approve{Name: "web1"}},
		Pending:     {boot.Host{State: boot.Pending}, script("hold", &boot.Reason{Code: "host.pending"}), boot.Approve{Name: "web1"}},
		Parked:      {boot.Host{State: boot.Approved}, script("hold", &boot.Reason{Code: boot.WhyParked}), boot.Update{Name: "web1"}},
		NoTicket:    {boot.Host{State: boot.Approved}, script("local", &boot.Reason{Code: "disk.instead", Cause: &boot.Reason{Code: boot.WhyNoTicket}}), boot.Install{Name: "web1"}},
		Protected:   {boot.Host{State: boot.Approved, Protected: true}, script("local", &boot.Reason{Code: "disk.instead", Cause: &boot.Reason{Code: boot.WhyProtected}}), boot.SetHost{Name: "web1", Protected: &no}},
		Unconfirmed: {boot.Host{State: boot.Approved, Ticket: &boot.Ticket{State: boot.TicketSpent, Spent: now.Add(-3 * time.Hour)}}, script("local", nil), boot.Install{Name: "web1", Again: true}},
		Failed:      {boot.Host{State: boot.Approved, Ticket: &boot.Ticket{State: boot.TicketClosed, Stage: boot.StageFailed}}, script("local", nil), boot.Install{Name: "web1"}},
		NoTemplate:  {boot.Host{State: boot.Approved}, script("local", &boot.Reason{Code: "disk.instead", Cause: &boot.Reason{Code: boot.WhyNoTemplate}}), nil},
	} {
		x.host.Name, x.host.MACs = "web1", []boot.MAC{mac}
		found := Find(Case{Now: now, MAC: mac, Host: &x.host, Requests: x.reqs})
		if len(found) == 0 || found[0].Code != code {
			t.Errorf("%s: found %+v", code, found)
			continue
		}
		r := found[0].Remedy
		if !reflect.DeepEqual(r.Order, x.want) {
			t.Errorf("%s: order %+v, want %+v", code, r.Order, x.want)
		}
		b, err := json.Marshal(r)
		var back Remedy
		if err == nil {
			err = json.Unmarshal(b, &back)
		}
		if err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("%s: %s came back as %+v, %v", code, b, back, err)
		}
	}
	if err := json.Unmarshal([]byte(`{"text":"x","order":"of-later","args":{}}`), new(Remedy)); err != nil {
		t.Errorf("an order of a newer version: %v", err)
	}
}
