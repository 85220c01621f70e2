// inbox.go: many waiting machines at once, by what is known of them.

package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/musterboot/muster/boot"
)

// Inboxed is what became of one of them.
type Inboxed struct {
	Host  boot.Host `json:"host"`
	Error string    `json:"error,omitempty"`
}

func (s *Server) approveMany(r *http.Request) (any, error) {
	return s.inbox(r, func(in *Inbox, name string) boot.Order { return boot.Approve{Name: name, Template: in.Template} })
}

func (s *Server) denyMany(r *http.Request) (any, error) {
	return s.inbox(r, func(_ *Inbox, name string) boot.Order { return boot.Deny{Name: name} })
}

// inbox gives every waiting machine that matches its order, one by one: each is
// committed, and one that cannot be does not keep the others waiting.
func (s *Server) inbox(r *http.Request, order func(*Inbox, string) boot.Order) (any, error) {
	var in Inbox
	if err := read(r, &in); err != nil {
		return nil, err
	}
	if key, err := in.Validate(); err != nil {
		return nil, boot.NewFault(boot.Invalid, "%s: %v", key, err)
	}
	if in.Empty() && in.Seen == 0 && !in.All {
		return nil, boot.NewFault(boot.Invalid, "say which of the waiting machines are meant, or all")
	}
	names, err := s.waiting(r.Context(), &in)
	if err != nil {
		return nil, err
	}
	act := s.Engine.Do
	if in.DryRun {
		act = s.Engine.Try
	}
	out := []Inboxed{}
	for _, n := range names {
		c, err := act(r.Context(), s.actor(r), order(&in, n))
		x := Inboxed{Host: boot.Host{Name: n}}
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

// waiting names the pending hosts that match.
func (s *Server) waiting(ctx context.Context, in *Inbox) (names []string, err error) {
	for after := boot.HostID(0); ; {
		n := 0
		err := s.Engine.View(ctx, func(tx boot.ReadTx) error {
			hs, err := tx.Hosts(after, page)
			n = len(hs)
			for _, h := range hs {
				after = h.ID
				if h.State == boot.Pending && in.Match(h.Facts()) == boot.Yes && (in.Seen == 0 || time.Since(s.lastSeen(h)) <= in.Seen) {
					names = append(names, h.Name)
				}
			}
			return err
		})
		if err != nil || n < page {
			return names, err
		}
	}
}
