// trace_test.go: what a collector reads, and what belongs to which boot.

package trace

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/hook"
)

var (
	noon = time.Date(2026, 12, 4, 12, 0, 0, 0, time.UTC)
	mac  = boot.MAC{0x52, 0x54, 0, 0, 0, 1}
)

func at(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }

func asked(sec int, via boot.Via, step boot.Step, number uint32) boot.Request {
	return boot.Request{Seq: uint64(sec) + 1000, At: at(sec), MAC: mac, Via: via, Step: step, Boot: number, Reply: "file"}
}

func report(sec int, number uint32, stage string) boot.Event {
	return boot.Event{Seq: uint64(sec) + 1, At: at(sec), Kind: boot.BootReport, Host: 7, Name: "web1", MAC: mac, MACs: []boot.MAC{mac}, Boot: number,
		Text: "web1 reports " + stage, Reasons: boot.Reasons{{Code: "report.stage", Args: []string{stage}}}}
}

// TestSince: a boot is what has its number, and what led to it.
func TestSince(t *testing.T) {
	all := []boot.Request{
		asked(0, boot.DHCP4, boot.Discover, 0), // of the boot before
		asked(1, boot.HTTP, boot.Fetch, 3),
		asked(2, boot.DHCP4, boot.Renew, 0),
		asked(399, boot.DHCP4, boot.Release, 0),
		asked(400, boot.DHCP4, boot.Discover, 0),
		asked(401, boot.TFTP, boot.Fetch, 0),
		asked(402, boot.HTTP, boot.Fetch, 3), // late
		asked(403, boot.HTTP, boot.Fetch, 4),
		asked(404, boot.DHCP4, boot.Discover, 0), // the installer's
		asked(1500, boot.HTTP, boot.Fetch, 4),
		asked(1502, boot.HTTP, boot.Fetch, 5),
	}
	long := asked(100, boot.TFTP, boot.Fetch, 0)
	long.Took = 5 * time.Minute
	often := asked(100, boot.DHCP4, boot.Discover, 0)
	often.Repeated, often.Last = 9, at(399)
	silent := report(1000, 0, "")
	for _, x := range []struct {
		name  string
		e     boot.Event
		asked []boot.Request
		since time.Time
		want  []int
	}{
		{"whole", report(1501, 4, "installed"), all, time.Time{}, []int{403, 404, 1500}},
		{"without the late one", report(1501, 4, "installed"), slices.Concat(all[:6], all[7:]), time.Time{}, []int{400, 401, 403, 404, 1500}},
		{"any order", report(1501, 4, "installed"), []boot.Request{all[7], all[5], all[4]}, time.Time{}, []int{400, 401, 403}},
		{"goes on", report(1501, 4, "installed"), all, at(404), []int{1500}},
		{"the one before", report(3, 3, "running"), all, time.Time{}, []int{0, 1, 2}},
		{"a long transfer is no pause", report(1501, 4, "installed"), []boot.Request{long, all[7]}, time.Time{}, []int{100, 403}},
		{"nor is a repeated question", report(1501, 4, "installed"), []boot.Request{often, all[7]}, time.Time{}, []int{100, 403}},
		{"no script", silent, all[:6], time.Time{}, []int{400, 401}},
		{"no script, after a boot", silent, all[:2], time.Time{}, nil},
		{"nothing is kept", report(1501, 4, "installed"), nil, time.Time{}, nil},
		{"nothing of it is kept", report(1501, 4, "installed"), all[:2], time.Time{}, nil},
	} {
		var got []int
		for _, r := range since(x.e.Boot, until(x.e.At, x.asked), x.since) {
			got = append(got, int(r.At.Sub(noon)/time.Second))
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%s: %d, want %d", x.name, got, x.want)
		}
	}
	var many []boot.Request
	for i := range 2 * maxSpans {
		many = append(many, asked(i, boot.HTTP, boot.Fetch, 4))
	}
	if got := since(4, many, time.Time{}); len(got) != maxSpans || got[0].At != at(0) || got[maxSpans-1].At != at(2*maxSpans-1) {
		t.Errorf("%d of many", len(got))
	}
}

// read is the trace as OpenTelemetry's own reader has it.
func read(t *testing.T, body []byte) ptrace.ScopeSpans {
	t.Helper()
	got, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(body)
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	// Written again by them, it says the same: nothing was passed over as unknown.
	b, err := (&ptrace.JSONMarshaler{}).MarshalTraces(got)
	if err != nil {
		t.Fatal(err)
	}
	var ours, theirs any
	json.Unmarshal(body, &ours)
	json.Unmarshal(b, &theirs)
	if x, y := fmt.Sprint(ours), fmt.Sprint(theirs); x != y {
		t.Errorf("read as\n%s\nwritten as\n%s", y, x)
	}
	return got.ResourceSpans().At(0).ScopeSpans().At(0)
}

// TestSend: a collector gets one trace a boot, what came later beside it, and the same IDs
// when it is sent again.
func TestSend(t *testing.T) {
	var got [][]byte
	code := 200
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if got = append(got, b); r.Header.Get("Authorization") != "Bearer hush" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%v", r.Header)
		}
		w.WriteHeader(code)
	}))
	defer s.Close()
	u, _ := url.Parse(s.URL)
	cut := asked(2, boot.TFTP, boot.Fetch, 0)
	cut.Outcome, cut.Bytes, cut.Took, cut.Path = string(boot.CutShort)+" at 7 bytes", 7, 1500*time.Millisecond, "ipxe.efi"
	log := []boot.Request{asked(1, boot.DHCP4, boot.Discover, 0), cut, asked(5, boot.HTTP, boot.Fetch, 4), asked(30, boot.HTTP, boot.Fetch, 4)}
	sender := NewSender(Config{URL: u, Header: "Bearer hush", Version: "7", Asked: func(boot.Event) []boot.Request { return log }}, hook.NewPoster(nil, time.Minute, time.Now))
	send := func(e boot.Event, want hook.Result) {
		t.Helper()
		if a := sender.Send(t.Context(), hook.Message{ID: "a-1", Source: "urn:uuid:a", Event: e}); a.Result != want {
			t.Fatalf("%+v", a)
		}
	}
	send(report(8, 4, "installing"), hook.Delivered)
	step := report(9, 4, "")
	step.Reasons = boot.Reasons{{Code: "report.progress", Args: []string{"disk"}}}
	send(step, hook.Delivered)
	if len(got) != 0 {
		t.Fatalf("sent before the end: %s", got)
	}
	code = 503
	send(report(10, 4, "running"), hook.Later)
	code = 200
	send(report(10, 4, "running"), hook.Delivered)
	if len(got) != 2 || string(got[0]) != string(got[1]) {
		t.Fatalf("sent again otherwise: %s", got)
	}
	spans := read(t, got[1]).Spans()
	if spans.Len() != 4 {
		t.Fatalf("%d spans: %s", spans.Len(), got[1])
	}
	root, dhcp, tftp := spans.At(0), spans.At(1), spans.At(2)
	if root.Name() != "boot" || !root.ParentSpanID().IsEmpty() || root.Status().Code() != ptrace.StatusCodeOk || !root.StartTimestamp().AsTime().Equal(at(1)) || !root.EndTimestamp().AsTime().Equal(at(10)) || root.Kind() != ptrace.SpanKindServer {
		t.Errorf("%s", got[1])
	}
	if v, _ := root.Attributes().Get("muster.stage"); v.Str() != "running" || root.Events().At(0).Name() != "boot.report" {
		t.Errorf("%s", got[1])
	}
	if dhcp.Name() != "dhcp4 discover" || dhcp.ParentSpanID() != root.SpanID() || dhcp.TraceID() != root.TraceID() {
		t.Errorf("%s", got[1])
	}
	if v, _ := tftp.Attributes().Get("muster.bytes"); v.Int() != 7 || tftp.Status().Code() != ptrace.StatusCodeError || tftp.EndTimestamp().AsTime().Sub(tftp.StartTimestamp().AsTime()) != 1500*time.Millisecond {
		t.Errorf("%s", got[1])
	}
	seen := map[string]bool{}
	for i := range spans.Len() {
		if id := spans.At(i).SpanID().String(); seen[id] || id == "0000000000000000" {
			t.Errorf("two spans are %s", id)
		} else {
			seen[id] = true
		}
	}

	send(report(40, 4, boot.StageFailed), hook.Delivered)
	later := read(t, got[2]).Spans()
	if later.Len() != 2 || later.At(0).Name() != "boot goes on" || later.At(0).ParentSpanID() != root.SpanID() || later.At(0).TraceID() != root.TraceID() || later.At(0).Status().Code() != ptrace.StatusCodeError ||
		later.At(1).ParentSpanID() != root.SpanID() || !later.At(1).StartTimestamp().AsTime().Equal(at(30)) {
		t.Errorf("%s", got[2])
	}
	send(report(50, 5, "running"), hook.Delivered)
	if next := read(t, got[3]).Spans(); next.At(0).TraceID() == root.TraceID() || next.At(0).Name() != "boot" {
		t.Errorf("%s", got[3])
	}
	// The next one stops before it has a number: the event has that of the last boot.
	stopped := report(90, 5, "")
	stopped.Kind, stopped.Reasons = boot.BootStopped, boot.Reasons{{Rule: "diagnose", Code: "loader.cut"}}
	discover := asked(80, boot.DHCP4, boot.Discover, 0)
	discover.Class = boot.PXE
	log = append(log, discover, asked(81, boot.TFTP, boot.Fetch, 0))
	send(stopped, hook.Delivered)
	if x := read(t, got[4]).Spans(); x.Len() != 3 || x.At(0).Name() != "boot" || x.At(0).TraceID() == root.TraceID() || x.At(0).Status().Code() != ptrace.StatusCodeError || !x.At(0).StartTimestamp().AsTime().Equal(at(80)) {
		t.Errorf("%s", got[4])
	}
	send(boot.Event{At: noon, Kind: "ping", Text: "a test of webhook traces"}, hook.Delivered)
	if ping := read(t, got[5]).Spans(); ping.Len() != 1 || ping.At(0).Events().At(0).Name() != "ping" {
		t.Errorf("%s", got[5])
	}
}

// TestManyHosts: how far each was told is kept for so many.
func TestManyHosts(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	u, _ := url.Parse(s.URL)
	x := NewSender(Config{URL: u, Asked: func(boot.Event) []boot.Request { return nil }}, hook.NewPoster(nil, time.Minute, time.Now)).(*sender)
	for i := range maxHosts {
		x.told[boot.HostID(i+100)] = end{boot: 1}
	}
	x.Send(t.Context(), hook.Message{Event: report(1, 1, "running")})
	if len(x.told) != 1 {
		t.Errorf("%d are kept", len(x.told))
	}
}
