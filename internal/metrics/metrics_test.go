package metrics

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	n := 0.0
	took := NewHistogram([]float64{.1, 1})
	for _, v := range []float64{.05, .1, .5, 20} {
		took.Observe(v)
	}
	h := Handler(func() []Sample {
		n++
		return []Sample{
			{Name: "muster_dhcp_packets_total", Help: "Packets.", Counter: true, Value: n, Labels: []Label{{"result", "answered"}}},
			{Name: "muster_took_seconds", Help: "How long.", Histogram: took, Labels: []Label{{"via", "tftp"}}},
			{Name: "muster_pool_addresses", Help: "Addresses.", Value: 101, Labels: []Label{{"network", `la"b`}}},
		}
	})
	get := func() string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		b, _ := io.ReadAll(w.Result().Body)
		return string(b)
	}
	get()
	got := get()
	for _, want := range []string{
		`muster_dhcp_packets_total{result="answered"} 2`, `muster_pool_addresses{network="la\"b"} 101`, "# TYPE muster_dhcp_packets_total counter", "process_resident_memory_bytes", "go_goroutines",
		`muster_took_seconds_bucket{via="tftp",le="0.1"} 2`, `muster_took_seconds_bucket{via="tftp",le="1"} 3`, `muster_took_seconds_bucket{via="tftp",le="+Inf"} 4`, `muster_took_seconds_sum{via="tftp"} 20.65`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in:\n%s", want, got)
		}
	}
}
