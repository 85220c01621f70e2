package engine

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// TestPackedKeepsEverything: every field of a Request comes back; a field that
// is added and forgotten in pack fails here.
func TestPackedKeepsEverything(t *testing.T) {
	at := time.Date(2026, 3, 4, 12, 0, 0, 5, time.UTC)
	r := boot.Request{Seq: 7, At: at, Host: 9, Name: "web1", MAC: boot.MAC{1, 2, 3, 4, 5, 6}, Source: netip.MustParseAddr("fd77::1"), Network: "lab", Via: boot.HTTP, Step: boot.Fetch,
		Class: boot.IPXE, Path: "boot/x", Reply: "file", Got: "vmlinuz", Outcome: "complete", Bytes: 1 << 40, Took: time.Minute, Boot: 3, Reasons: boot.Reasons{{Rule: "script", Code: boot.WhyHeld, Args: []string{"a", ""}, Cause: &boot.Reason{Code: boot.WhyParked, Cause: &boot.Reason{Code: "x", Args: []string{"b"}}}}, {Code: "y"}}, Why: "because", Line: &boot.Line{Severity: boot.Crit, Facility: "daemon", App: "init", Text: "text", Cut: 4}, Repeated: 2, Last: at.Add(time.Hour)}
	for v, i := reflect.ValueOf(r), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("the test leaves %s empty", v.Type().Field(i).Name)
		}
	}
	p := pack(&r, nil)
	if got := p.unpack(); !reflect.DeepEqual(got, r) {
		t.Errorf("got  %+v\nwant %+v", got, r)
	}
	var zero boot.Request
	zero.At = at
	p = pack(&zero, nil)
	if got := p.unpack(); !reflect.DeepEqual(got, zero) {
		t.Errorf("got  %+v\nwant %+v", got, zero)
	}
}
