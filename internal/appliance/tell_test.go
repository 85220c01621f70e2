// tell_test.go: what a service says of what happens.

package appliance

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
)

// TestTell: events go to the log as they come, with why, and not again after a restart.
func TestTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab)
		r.run()
		_, err := r.engine.Do(t.Context(), boot.Actor{Kind: boot.Person}, boot.AddHost{Host: boot.NewHost{Name: "web1", MACs: []boot.MAC{{0x52, 0x54, 0, 0, 0, 1}}}})
		must(t, err)
		r.settle()
		r.must("event=1", "kind=host.added", "web1")
		r.end()
		again := newRig(t, lab)
		again.opt.Read = r.opt.Read
		again.run()
		again.after(time.Minute)
		again.never("kind=host.added")
		again.figure("muster_pending_hosts", "", 1)
		again.figure("muster_events_total", "", 1)
		again.figure("muster_info", "version=7", 1)
		if s, err := again.status(t.Context()); err != nil || s.Pending != 1 || s.Version != "7" || !s.Started.Equal(again.started) {
			t.Errorf("%v, %+v", err, s)
		}
	})
}
