package appliance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/admin"
)

// TestRoom: a disk that fills up is in the status, in a figure and in /readyz before
// the first machine finds out, and is over when there is room again.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab)
		r.run()
		api := &admin.Server{Engine: r.engine, Status: r.status}
		ready := func() (int, string) {
			w := httptest.NewRecorder()
			api.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
			return w.Code, w.Body.String()
		}
		if code, body := ready(); code != 200 {
			t.Errorf("%d %s", code, body)
		}
		r.figure("muster_writes_fail", "", 0)
		r.c.mu.Lock()
		r.c.room = 5 << 20
		r.c.mu.Unlock()
		r.after(time.Minute)
		if s, err := r.status(t.Context()); err != nil || !strings.Contains(s.Disk, "5 MiB left") {
			t.Errorf("%q, %v", s.Disk, err)
		}
		if code, body := ready(); code != 503 || !strings.Contains(body, "5 MiB left") {
			t.Errorf("%d %s", code, body)
		}
		r.must("disk:", "5 MiB left", "level=ERROR")
		r.figure("muster_data_free_bytes", "", 5<<20)
		r.c.mu.Lock()
		r.c.room = 0
		r.c.mu.Unlock()
		r.after(time.Minute)
		if code, body := ready(); code != 200 {
			t.Errorf("%d %s", code, body)
		}
		r.must("there is room")
	})
}

// TestExpected: a loader that is missing matters where such a machine is expected.
func TestExpected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab)
		r.run()
		is := func(p boot.Platform) bool {
			m, err := r.expected(context.Background())
			must(t, err)
			return m[p]
		}
		if !is(boot.X64UEFI) || is(boot.ARM64UEFI) {
			t.Error("with nothing known, an ordinary server is expected, and nothing else")
		}
		must(t, r.store.Update(t.Context(), func(tx boot.Tx) error {
			return tx.PutHost(&boot.Host{ID: 7, Name: "pi", State: boot.Approved, MACs: []boot.MAC{{2, 7}}, Platform: boot.ARM64UEFI})
		}))
		if is(boot.X64UEFI) || !is(boot.ARM64UEFI) {
			t.Error("the one host decides")
		}
	})
}
