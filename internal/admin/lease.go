// lease.go: addresses that are given out.

package admin

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

func (s *Server) leases(r *http.Request) (any, error) {
	w, err := windowOf(r)
	if err != nil {
		return nil, err
	}
	// A cursor is NETWORK/ADDRESS.
	from, last, _ := strings.Cut(w.after, "/")
	begun, after := w.after == "", netip.Addr{}
	if !begun {
		if after, err = netip.ParseAddr(last); err != nil {
			return nil, w.bad()
		}
	}
	out := client.List[boot.Lease]{Items: []boot.Lease{}}
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
		if seen[n.Name] = true; !begun && n.Name != from {
			continue
		}
		begun = true
		for more := true; more; {
			var l []boot.Lease
			if err := s.Engine.View(r.Context(), func(tx boot.ReadTx) (err error) { l, err = tx.Leases(n.Name, after, page); return err }); err != nil {
				return nil, err
			}
			for _, x := range l {
				if after = x.Addr; !old && !x.Active(now) {
					continue
				}
				if len(out.Items) == w.limit {
					last := out.Items[w.limit-1]
					out.Next = last.Network + "/" + last.Addr.String()
					return out, nil
				}
				out.Items = append(out.Items, x)
			}
			more = len(l) == page
		}
		after = netip.Addr{}
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
