package admin

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

const (
	macA = `"52:54:00:00:00:01"`
	macB = `"52:54:00:00:00:02"`
)

// TestIfMatch: an order for a host as it was seen is refused where it is not so any
// more, and the answer says how it is.
func TestIfMatch(t *testing.T) {
	d := newDesk(t)
	d.want(200, "POST", "/api/v1/hosts", `{"name":"a","macs":[`+macA+`]}`)
	var h client.HostDetail
	tag := func() string { return d.want(200, "GET", "/api/v1/hosts/a", "").into(&h).Header().Get("ETag") }
	if got := tag(); got != `"1.1"` || h.Revision != 1 {
		t.Fatalf("ETag %s, revision %d", got, h.Revision)
	}
	a := d.want(200, "PATCH", "/api/v1/hosts/a", `{"params":{"k":"v"}}`, "If-Match", `"1.1"`)
	if got := a.Header().Get("ETag"); got != `"1.2"` || got != tag() {
		t.Errorf("after it was set: ETag %s, then %s", got, tag())
	}
	for _, x := range []struct{ method, path, body string }{
		{"PATCH", "", `{"params":{"k":"w"}}`},
		{"DELETE", "", ""},
		{"POST", "/approve", ""},
		{"POST", "/deny", ""},
		{"POST", "/install", ""},
		{"POST", "/rescue", `{"template":"t"}`},
		{"POST", "/local", ""},
		{"POST", "/update", ""},
		{"POST", "/merge", `{"other":"b"}`},
		{"POST", "/split", `{"macs":[` + macA + `]}`},
	} {
		var f client.Problem
		a := d.want(412, x.method, "/api/v1/hosts/a"+x.path, x.body, "If-Match", `"1.1"`).into(&f)
		if f.Code != boot.Changed || f.Host == nil || f.Host.Revision != 2 || f.Host.Params["k"] != "v" || a.Header().Get("ETag") != `"1.2"` {
			t.Errorf("%s %s: %+v, ETag %s", x.method, x.path, f, a.Header().Get("ETag"))
		}
	}
	// What finds things as it wants them is no error, and raises nothing.
	d.want(200, "POST", "/api/v1/hosts/a/approve", "", "If-Match", `"1.2"`)
	if a := d.want(200, "POST", "/api/v1/hosts/a/approve", "", "If-Match", `"1.3"`); a.Header().Get("ETag") != `"1.3"` {
		t.Errorf("ETag %s", a.Header().Get("ETag"))
	}
	d.want(200, "POST", "/api/v1/hosts/a/deny", "", "If-Match", "*")
	for _, bad := range []string{"1.4", `"1.4`, `1.4"`, `"x"`, `"4"`, `"0.4"`, `"1."`, `"1.x"`, `W/"1.4"`, `"1.3", "1.4"`, `"1.-1"`, `"`, `""`} {
		d.want(400, "DELETE", "/api/v1/hosts/a", "", "If-Match", bad)
	}
	d.want(400, "DELETE", "/api/v1/hosts/a", "", "If-Match", `"1.3"`, "If-Match", "1.4")
	d.want(404, "DELETE", "/api/v1/hosts/b", "", "If-Match", `"1.1"`)
	d.want(400, "POST", "/api/v1/hosts", `{"name":"b","macs":[`+macB+`]}`, "If-Match", `"1.1"`)
	if a := d.want(200, "DELETE", "/api/v1/hosts/a", "", "If-Match", `"1.4"`); a.Header().Get("ETag") != "" {
		t.Errorf("a host that is gone has ETag %s", a.Header().Get("ETag"))
	}
	// Another machine of the same name and revision is not the one that was seen.
	d.want(200, "POST", "/api/v1/hosts", `{"name":"a","macs":[`+macB+`]}`)
	var f client.Problem
	if d.want(412, "DELETE", "/api/v1/hosts/a", "", "If-Match", `"1.1"`).into(&f); f.Host == nil || f.Host.ID != 2 || f.Host.Revision != 1 {
		t.Errorf("%+v", f)
	}
}

// TestIfMatchOfMany: of many who saw the same, one is obeyed.
func TestIfMatchOfMany(t *testing.T) {
	d := newDesk(t)
	d.want(200, "POST", "/api/v1/hosts", `{"name":"a","macs":[`+macA+`]}`)
	codes := make([]int, 30)
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() {
			codes[i] = d.ask("PATCH", "/api/v1/hosts/a", `{"params":{"n":"`+strings.Repeat("x", i+1)+`"}}`, "If-Match", `"1.1"`).Code
		})
	}
	wg.Wait()
	obeyed := 0
	for _, c := range codes {
		switch c {
		case 200:
			obeyed++
		case 412:
		default:
			t.Errorf("status %d", c)
		}
	}
	if h := d.hosts()[0]; obeyed != 1 || h.Revision != 2 {
		t.Errorf("%d were obeyed, revision %d", obeyed, h.Revision)
	}
}

// TestInboxLooksAgain: a machine that asks while it is let in is let in all the same;
// one that a person denies meanwhile stays denied.
func TestInboxLooksAgain(t *testing.T) {
	for state, want := range map[boot.State]boot.State{boot.Pending: boot.Approved, boot.Denied: boot.Denied} {
		d := newDesk(t)
		d.want(200, "POST", "/api/v1/hosts", `{"name":"a","macs":[`+macA+`]}`)
		once := true
		d.engine.Now = func() time.Time { // asked when the order is about to be carried out
			if once {
				once = false
				if err := d.store.Update(t.Context(), func(tx boot.Tx) error {
					h, err := tx.HostByName("a")
					if err != nil {
						return err
					}
					h.State, h.Class = state, "PXEClient"
					return tx.PutHost(h)
				}); err != nil {
					t.Error(err)
				}
			}
			return noon
		}
		var out []client.Inboxed
		d.want(200, "POST", "/api/v1/hosts/approve", `{"all":true}`).into(&out)
		h := d.hosts()[0]
		if h.State != want || h.Class != "PXEClient" || len(out) != 1 || out[0].Host.State != want || (out[0].Error != "") != (state == boot.Denied) {
			t.Errorf("it is %s: %+v", h.State, out)
		}
	}
}
