// sieve_test.go: a sieve never holds back a host that is meant.

package match

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterboot/muster/boot"
)

// sieve judges a host by its record.
func sieve(t interface{ Fatal(...any) }, q Query, h *boot.Host) bool {
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	may := q.Sieve()
	return may == nil || may(b)
}

// TestSieve: what is passed over without being decoded.
func TestSieve(t *testing.T) {
	h := subject().Host
	for text, want := range map[string]bool{
		"": true, "zebra": false, "DB-0007": true, "db0008": false, "52:54:00:aa:bb:01": true, "5254.00aa.bb02": false, "52-54-00-aa-bb-02": false, "10.99": true, "fd77::": true,
		"state:approved": true, "state:pending": false, "state:pending,approved": true, "-state:pending": true, "-zebra": true, "52-54-00-AA": true, "52:54:00": true, "state:failed": false, "state:parked": true, "state:installing": true,
		"template:deb*": true, "template:fedora*": false, "template:none": true, "template:n*": true, "tag:rack=1?": true, "tag:rack=13": false, "tag:row": false, "serial:RIG*": true, "serial:SN*": false, "serial:[S]N": true,
		"mac:52:54:*": true, "mac:52-55-*": false, "uuid:c0ffee*": true, "ticket:none": true, "ticket:spent": true, "protected:yes": false, "protected:no": true, "boots:>100": true, "param.disk:x": true, "port:leaf3:*": true, "db zebra": false,
	} {
		q, err := Parse(text)
		if err != nil {
			continue
		}
		if sieve(t, q, h) != want {
			t.Errorf("%q: %t", text, !want)
		}
	}
	h.Serial = "K\u212a" // KELVIN SIGN, whose lower case is k
	if q, _ := Parse("serial:kk"); !q.Match(Subject{Host: h}) || !sieve(t, q, h) {
		t.Error("a character whose lower case is in ASCII")
	}
}

// TestSieveHoldsNone: for any host and any query that means it, the sieve lets it through.
func TestSieveHoldsNone(t *testing.T) {
	meant := 0
	texts := rapid.SampledFrom([]string{"", "a", "db-7", "DB.7", "x<y", `q"r`, "é", "none", "n1", "sw:1/2", "52:54:00", "rack=12", "K\u212a", "10.77.0.5", "fd77::5", "c0ffee", "0000"})
	keys := rapid.SampledFrom([]string{"", "", "", "stage", "template", "tag", "net", "port", "arch", "vendor", "name", "serial", "mac", "uuid", "address"})
	words := rapid.SampledFrom([]string{"state:pending", "state:approved", "state:installing", "state:installed", "state:failed", "state:parked", "ticket:armed", "ticket:expired", "ticket:spent", "ticket:closed", "ticket:none", "protected:yes", "protected:no"})
	rapid.Check(t, func(t *rapid.T) {
		pick := func(name string) string { return texts.Draw(t, name) }
		h := &boot.Host{ID: 1, Name: pick("name"), State: rapid.SampledFrom([]boot.State{boot.Pending, boot.Approved, boot.Denied}).Draw(t, "state"), Serial: pick("serial"), Template: pick("template"), Once: pick("once"), Network: pick("network"), SeenOn: pick("seen"),
			Port: pick("port"), BoundPort: pick("bound"), Platform: boot.Platform(pick("platform")), Class: pick("class"), Stage: rapid.SampledFrom([]string{"", "running", boot.StageFailed}).Draw(t, "stage"), Tags: []string{pick("tag")},
			Silent: rapid.IntRange(0, 3).Draw(t, "silent"), Protected: rapid.Bool().Draw(t, "protected"), MACs: []boot.MAC{{0x52, 0x54, 0, 0xc0, 0xff, 0xee}}}
		if rapid.Bool().Draw(t, "uuid") {
			h.UUID = boot.UUID{0xc0, 0xff, 0xee}
		}
		if rapid.Bool().Draw(t, "reserved") {
			h.Address = netip.MustParseAddr("10.77.0.5")
		}
		if rapid.Bool().Draw(t, "ticket") {
			h.Ticket = &boot.Ticket{State: rapid.SampledFrom([]boot.TicketState{boot.TicketArmed, boot.TicketSpent, boot.TicketClosed}).Draw(t, "standing"), Boot: 1, Stage: rapid.SampledFrom([]string{"installed", "done", boot.StageFailed}).Draw(t, "end")}
		}
		s := Subject{Host: h, Now: now, Loop: 1, Addresses: []netip.Addr{netip.MustParseAddr("fd77::5"), netip.MustParseAddr("10.88.0.9")}}
		own := []string{h.Name, h.Serial, h.Template, h.On(), h.BoundPort, h.Port, string(h.Platform), h.Class, h.Stage, h.Tags[0], h.MACs[0].String(), h.MACs[0].Bare(), h.UUID.String(), "10.88", "fd77:", "none"}
		for range 100 {
			var terms []string
			for range rapid.IntRange(1, 2).Draw(t, "terms") {
				if rapid.IntRange(0, 3).Draw(t, "what") == 0 {
					terms = append(terms, words.Draw(t, "words"))
					continue
				}
				key, v := keys.Draw(t, "key"), strings.ReplaceAll(rapid.SampledFrom(own).Draw(t, "value"), `"`, "")
				v = strings.ToValidUTF8(v[rapid.IntRange(0, len(v)/2).Draw(t, "from"):], "")
				if key != "" {
					v = rapid.SampledFrom([]string{"", "*", "?"}).Draw(t, "before") + v + rapid.SampledFrom([]string{"", "*", ",zz"}).Draw(t, "after")
					key += ":"
				}
				terms = append(terms, key+`"`+v+`"`)
			}
			q, err := Parse(strings.Join(terms, " "))
			if err != nil || !q.Match(s) {
				continue
			}
			meant++
			if !sieve(t, q, h) {
				t.Fatalf("%s means %+v", q, h)
			}
		}
	})
	if meant < 100 {
		t.Errorf("only %d queries meant their host", meant)
	}
}
