// log.go: the log lines of a machine, stored ones and new ones as they come; and its
// packets.

package admin

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// lines are what the owner of these addresses logged, oldest first.
func (s *Server) lines(macs []boot.MAC) (out []boot.Request) {
	for _, m := range macs {
		out = append(out, s.Engine.Lines.Machine(m.String())...)
	}
	slices.SortStableFunc(out, func(a, b boot.Request) int { return a.At.Compare(b.At) })
	return out
}

// macs are the MACs of the machine that a request names: a host, or a stranger that is
// named by its MAC.
func (s *Server) macs(r *http.Request) (macs []boot.MAC, err error) {
	name := r.PathValue("name")
	err = s.Engine.View(r.Context(), func(tx boot.ReadTx) error {
		h, err := boot.FindHost(tx, s.Engine.Policy(), s.Engine.Now(), name)
		if err != nil {
			return err
		}
		if sees(r, h) {
			macs = h.MACs
			return nil
		}
		m, err := boot.ParseMAC(name)
		if err != nil || h != nil || who(r).Confined() {
			return boot.NoHost(name)
		}
		macs = []boot.MAC{m}
		return nil
	})
	return macs, err
}

// hostCapture sends what is kept of a machine's packets.
func (s *Server) hostCapture(w http.ResponseWriter, r *http.Request) {
	macs, err := s.macs(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.tcpdump.pcap")
	_ = s.Capture(w, macs) // a client that left early
}

// hostLog streams lines as JSON; with follow=1 for as long as the client stays.
func (s *Server) hostLog(w http.ResponseWriter, r *http.Request) {
	macs, err := s.macs(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	enc, rc := json.NewEncoder(w), http.NewResponseController(w)
	seen := s.Engine.Lines.Seq()
	for _, q := range s.lines(macs) {
		if q.Seq <= seen && enc.Encode(client.RequestEntry(q).Request) != nil {
			return
		}
	}
	for r.URL.Query().Get("follow") == "1" {
		_, _ = w.Write(nil)
		if rc.Flush() != nil {
			return
		}
		news, more := s.Engine.Lines.Since(seen)
		for _, q := range news {
			seen = q.Seq
			if slices.Contains(macs, q.MAC) && enc.Encode(client.RequestEntry(q).Request) != nil {
				return
			}
		}
		if rc.Flush() != nil {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}
