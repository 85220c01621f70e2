package appliance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/admin"
)

// TestSpoiltFile: a boot file that the disk damaged is told once, in the status, the
// log and an event; and is well again after the same bytes were pushed.
func TestSpoiltFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab)
		r.run()
		b, err := r.images.Put(t.Context(), strings.NewReader("kernel"), "")
		must(t, err)
		must(t, r.store.Update(t.Context(), func(tx boot.Tx) error {
			return tx.PutImage(&boot.Image{Name: "pve", Files: map[string]boot.Blob{"vmlinuz": b}})
		}))
		must(t, os.WriteFile(filepath.Join(r.dataDir, "files", b.Digest[:2], b.Digest), []byte("kernal"), 0o600))
		r.after(verifyAfter + time.Minute)
		r.must("a boot file is not as it was stored", "image pve, file vmlinuz")
		told := func(want int) {
			t.Helper()
			s, err := r.status(t.Context())
			must(t, err)
			if len(s.Spoilt) != want || len(r.events(boot.FileSpoilt)) != 1 {
				t.Errorf("the status says %q, with %d events", s.Spoilt, len(r.events(boot.FileSpoilt)))
			}
		}
		told(1)
		_, err = r.images.Put(t.Context(), strings.NewReader("kernel"), "")
		must(t, err)
		told(1)
		r.verifyFile(t.Context(), refersTo(t, r, b.Digest))
		told(0)
	})
}

func refersTo(t *testing.T, r *rig, digest string) admin.Reference {
	t.Helper()
	all, err := admin.Referred(t.Context(), r.engine)
	must(t, err)
	return all[digest]
}
