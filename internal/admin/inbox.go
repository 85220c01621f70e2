// inbox.go: orders for many pending hosts at once, chosen by their facts.

package admin

import (
	"errors"
	"net/http"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

func (s *Server) approveMany(r *http.Request) (any, error) {
	return s.inbox(r, func(in *client.Inbox, name string) boot.Order { return boot.Approve{Name: name, Template: in.Template} })
}

func (s *Server) denyMany(r *http.Request) (any, error) {
	return s.inbox(r, func(_ *client.Inbox, name string) boot.Order { return boot.Deny{Name: name} })
}

// inbox carries out an order on every pending host that matches, one by one. Each is
// committed by itself, so that one that fails does not stop the others.
func (s *Server) inbox(r *http.Request, order func(*client.Inbox, string) boot.Order) (any, error) {
	var in client.Inbox
	if err := read(r, &in); err != nil {
		return nil, err
	}
	if key, err := in.Validate(); err != nil {
		return nil, boot.NewFault(boot.Invalid, "%s: %v", key, err)
	}
	if in.Empty() && in.Seen == 0 && !in.All {
		return nil, boot.NewFault(boot.Invalid, "say which of the waiting machines are meant, or all")
	}
	hosts, err := s.waiting(r, &in)
	if err != nil {
		return nil, err
	}
	act := s.do
	if in.DryRun {
		act = s.try
	}
	out := []client.Inboxed{}
	for _, h := range hosts {
		var c boot.Changes
		for range 3 {
			c, err = act(r, boot.AsSeen{Name: h.Name, ID: h.ID, Revision: h.Revision, Order: order(&in, h.Name)})
			var changed *boot.ChangedHost
			if !errors.As(err, &changed) {
				break
			}
			if h = changed.Host; !s.meant(&in, h) {
				break // a person has decided about it meanwhile
			}
		}
		x := client.Inboxed{Host: *h}
		switch {
		case err == nil:
			x.Host = *c.Subject()
		case boot.FaultOf(err) != nil:
			x.Error = err.Error()
		default:
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// meant reports a pending host that matches.
func (s *Server) meant(in *client.Inbox, h *boot.Host) bool {
	return h.State == boot.Pending && in.Match(h.Facts()) == boot.Yes && (in.Seen == 0 || s.Engine.Now().Sub(s.lastSeen(h)) <= in.Seen)
}

// waiting returns the pending hosts that match.
func (s *Server) waiting(r *http.Request, in *client.Inbox) (out []*boot.Host, err error) {
	err = each(r.Context(), s.Engine, 0, func(tx boot.ReadTx, after boot.HostID) ([]*boot.Host, error) { return tx.Hosts(after, page) },
		func(h *boot.Host) boot.HostID {
			if s.meant(in, h) && sees(r, h) {
				out = append(out, h)
			}
			return h.ID
		})
	return out, err
}
