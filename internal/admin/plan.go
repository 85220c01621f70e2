// plan.go: orders on many hosts at once, and the query that chooses them.

package admin

import (
	"net/http"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/match"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/plan"
)

func (s *Server) makePlan(r *http.Request) (any, error) {
	var q client.PlanRequest
	if err := read(r, &q); err != nil {
		return nil, err
	}
	life, err := ticketLife(q.Expires)
	if err != nil {
		return nil, err
	}
	req := plan.Request{Action: q.Action, Query: q.Query, Names: q.Names, All: q.All, Share: q.Share, Template: q.Template, Again: q.Again, Expires: life}
	if p := q.Set; p != nil {
		if p.Name != nil || len(p.AddMACs)+len(p.DropMACs) > 0 || p.UUID != nil || p.Serial != nil || p.Address != nil || p.Address6 != nil || p.Port != nil {
			return nil, boot.NewFault(boot.Invalid, "name, MAC, UUID, serial number, address and switch port are one machine's: a plan sets template, tags, parameters, options and protection")
		}
		req.Set = boot.SetHost{Template: p.Template, Params: p.Params, Typed: p.Typed, Tags: p.Tags, NoTags: p.NoTags, Protected: p.Protected, Options: p.Options, NoOption: p.NoOption}
	}
	req.Rights = who(r).Rights()
	return s.plans.Make(r.Context(), s.actor(r), req)
}

func (s *Server) runPlan(r *http.Request) (any, error) {
	var q client.PlanRun
	if err := read(r, &q); err != nil {
		return nil, err
	}
	return s.plans.Run(r.Context(), s.actor(r), r.PathValue("id"), q.Count, who(r).Rights())
}

// query reads ?q=, and ?state= as one more condition.
func query(r *http.Request) (match.Query, error) {
	text := r.URL.Query().Get("q")
	switch state := r.URL.Query().Get("state"); boot.State(state) {
	case "":
	case boot.Pending, boot.Approved, boot.Denied:
		text += " state:" + state
	default:
		return match.Query{}, boot.NewFault(boot.Invalid, "state %q: want pending, approved or denied", boot.CleanText(state, 64))
	}
	q, err := match.Parse(text)
	if err != nil {
		return q, boot.NewFault(boot.Invalid, "%v", err)
	}
	return q, nil
}
