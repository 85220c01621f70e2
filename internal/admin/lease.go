// lease.go: addresses that are given out.

package admin

import (
	"net/http"
	"net/netip"

	"github.com/musterboot/muster/boot"
)

func (s *Server) leases(r *http.Request) (any, error) {
	out := []boot.Lease{}
	old := r.URL.Query().Get("all") == "1"
	now := s.Engine.Now()
	want := r.URL.Query().Get("network")
	if want != "" && s.Engine.Policy().Network(want) == nil {
		return nil, boot.NewFault(boot.UnknownNetwork, "no network is called %s", boot.CleanText(want, 64)).Try("muster doctor")
	}
	seen := map[string]bool{} // a network of both families is listed once
	for n := range s.Engine.Policy().All() {
		if seen[n.Name] || want != "" && want != n.Name {
			continue
		}
		seen[n.Name] = true
		if err := each(r.Context(), s.Engine, netip.Addr{}, func(tx boot.ReadTx, after netip.Addr) ([]boot.Lease, error) { return tx.Leases(n.Name, after, page) },
			func(l boot.Lease) netip.Addr {
				if old || l.Active(now) {
					out = append(out, l)
				}
				return l.Addr
			}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Server) release(r *http.Request) (any, error) {
	a, err := netip.ParseAddr(r.PathValue("addr"))
	if err != nil {
		return nil, boot.NewFault(boot.Invalid, "%q is no address", boot.CleanText(r.PathValue("addr"), 64))
	}
	_, err = s.do(r, boot.ReleaseLease{Network: r.PathValue("network"), Addr: a})
	return struct{}{}, err
}
