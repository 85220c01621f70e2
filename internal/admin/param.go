// param.go: parameters that many machines inherit.

package admin

import (
	"net/http"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

func (s *Server) params(r *http.Request) (any, error) {
	out := []*boot.Values{}
	if err := s.eachScope(r, func(v *boot.Values) { out = append(out, v) }); err != nil {
		return nil, err
	}
	return paged(r, out, func(v *boot.Values) string { return string(v.Scope) })
}

func (s *Server) eachScope(r *http.Request, fn func(*boot.Values)) error {
	return each(r.Context(), s.Engine, "", func(tx boot.ReadTx, after boot.Scope) ([]*boot.Values, error) { return tx.AllValues(after, page) },
		func(v *boot.Values) boot.Scope {
			fn(v)
			return v.Scope
		})
}

func (s *Server) setParams(r *http.Request) (any, error) {
	var p client.ParamPatch
	if err := read(r, &p); err != nil {
		return nil, err
	}
	c, err := s.do(r, boot.SetParams{Scope: boot.Scope(r.PathValue("scope")), Params: p.Params, Typed: p.Typed, Options: p.Options, NoOption: p.NoOption})
	if err != nil {
		return nil, err
	}
	return client.ParamsSet{Values: *c.Values, Warnings: c.Warnings}, nil
}
