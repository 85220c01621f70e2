// probe_linux_test.go: who is on an address that is to be given out.

package dhcpd

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

// TestAnswers: beyond a relay an address is probed by ICMP.
func TestAnswers(t *testing.T) {
	lab := nettest.NewT(t)
	sw := lab.Switch()
	srv := lab.Host("srv", sw, "10.77.0.1/24")
	lab.Host("there", sw, "10.77.0.9/24")
	addr := netip.MustParseAddr
	var found []netip.Addr
	err := srv.Do(func() (err error) {
		found, err = Answers(t.Context(), addr("10.77.0.1"), []netip.Addr{addr("10.77.0.8"), addr("10.77.0.9"), addr("192.0.2.1")}, 3*time.Second)
		return err
	})
	if want := []netip.Addr{addr("10.77.0.9")}; err != nil || !slices.Equal(found, want) {
		t.Errorf("found %v, want %v: %v", found, want, err)
	}
}
