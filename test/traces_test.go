// traces_test.go: the boot of a machine as a collector of OpenTelemetry gets it.

package test

import (
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

var token = regexp.MustCompile("^boot/[^/]*/")

// TestTraces: a machine that nobody knew boots twice, and the collector, which is away at first,
// has both traces from the first question to the report.
func TestTraces(t *testing.T) {
	r := newRig(t)
	r.fakeLoaders("undionly.kpxe")
	r.serveConfig(fullNetwork + "[enroll]\npolicy = \"auto\"\n[[webhook]]\nname = \"traces\"\nformat = \"otlp\"\nurl = \"http://10.77.0.9:4318/v1/traces\"\n")
	kernel, initrd := r.smallLinux()
	r.pushLinux("linux", "[match]\narch = [\"bios\"]\n", kernel, initrd, "quiet muster.report={{ .ReportURL }}")
	collector := r.host("collector", "10.77.0.9/24")
	client, err := r.lab.Host("client")
	must(t, err)
	must(t, r.lab.Plug(client, "eth0", r.sw))
	boot := func() {
		t.Helper()
		if code, said := r.simulate(client, nil, "bios", "-i", "eth0", "--mac", "52:54:00:aa:bb:01", "--stage", "running"); code != 0 {
			t.Fatal(said)
		}
	}
	boot()
	l, err := collector.Listen("tcp", "10.77.0.9:4318")
	must(t, err)
	traces := make(chan ptrace.Traces, 10)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		got, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(b)
		if err != nil || q.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v: %s", q.URL, err, b)
		}
		traces <- got
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	boots := func(number int64, want string) {
		t.Helper()
		select {
		case got := <-traces:
			spans := got.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
			var names []string
			for i := range spans.Len() {
				name := spans.At(i).Name()
				if path, ok := spans.At(i).Attributes().Get("url.path"); ok {
					name += " " + token.ReplaceAllString(path.Str(), "")
				}
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
			if all := strings.Join(names, ", "); all != want {
				t.Errorf("boot %d:\n got %s\nwant %s", number, all, want)
			}
			attributes := spans.At(0).Attributes()
			if v, ok := attributes.Get("muster.stage"); !ok || v.Str() != "running" {
				t.Errorf("boot %d ended as %v", number, v)
			}
			if v, ok := attributes.Get("muster.boot"); !ok || v.Int() != number {
				t.Errorf("boot %d is boot %v", number, v)
			}
		case <-time.After(60 * time.Second):
			t.Fatalf("the collector heard nothing: %s", r.muster("webhook", "list"))
		}
	}
	way := "boot, dhcp4 discover, dhcp4 request, tftp fetch undionly.kpxe, http fetch boot.ipxe, http fetch vmlinuz, http fetch initrd.gz, http fetch report"
	boots(1, way)
	boot()
	boots(2, way)
	if list := r.muster("webhook", "list"); !strings.Contains(list, "traces") {
		t.Error(list)
	}
}
