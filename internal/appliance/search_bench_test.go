// How long a search in a long roll takes:
// go test -run '^$' -bench Search -benchtime 5x ./internal/appliance

package appliance

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/engine"
	"github.com/musterboot/muster/internal/admin"
	"github.com/musterboot/muster/store/bolt"
)

// BenchmarkSearch asks for a page of 100,000 hosts on disk: what none matches, what one
// does, what many do, and all; each counted, as the page wants it, and not.
func BenchmarkSearch(b *testing.B) {
	s, err := bolt.Open(filepath.Join(b.TempDir(), "muster.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const hosts = 100_000
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for at := 0; at < hosts; at += 10_000 {
		if err := s.Update(b.Context(), func(tx boot.Tx) error {
			for i := at; i < at+10_000; i++ {
				h := &boot.Host{ID: boot.HostID(i + 1), Name: fmt.Sprintf("web%05d", i), State: boot.Approved, MACs: []boot.MAC{{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}, {6, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}},
					Serial: fmt.Sprintf("RIG-%d", i), UUID: boot.UUID{1, byte(i >> 16), byte(i >> 8), byte(i)}, Platform: boot.BIOS, Network: "lab", Template: "debian13", Tags: []string{fmt.Sprintf("rack=%d", i%500), "web"},
					Params: map[string]string{"disk": "/dev/nvme0n1"}, Created: noon, Changed: noon, Stage: "running"}
				if err := tx.PutHost(h); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	e := engine.New(s, engine.NewRequestLog(nil), slog.New(slog.DiscardHandler))
	defer e.Close()
	api := (&admin.Server{Engine: e, Log: slog.New(slog.DiscardHandler)}).Handler()
	for _, x := range []struct{ name, q string }{{"none", "zebra"}, {"one", "web54321"}, {"mac", "02:00:00:00:ff:fe"}, {"tag", "tag:rack=12"}, {"state", "state:pending"}, {"tenth", "7"}, {"all", ""}} {
		for _, total := range []string{"", "&total=1"} {
			b.Run(x.name+total, func(b *testing.B) {
				for b.Loop() {
					w := httptest.NewRecorder()
					if api.ServeHTTP(w, httptest.NewRequestWithContext(b.Context(), "GET", "/api/v1/hosts?limit=100&q="+url.QueryEscape(x.q)+total, nil)); w.Code != 200 {
						b.Fatal(w.Body)
					}
				}
			})
		}
	}
}
