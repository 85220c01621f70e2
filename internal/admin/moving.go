// moving.go: which machines are on their way this minute.

package admin

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// How long after its last request a machine counts as moving, and how many are looked at.
const (
	movingFor  = 2 * time.Minute
	mostMoving = 200
)

// moving lists the machines that asked for something a moment ago, those that began
// last first.
func (s *Server) moving(r *http.Request) (any, error) {
	now := s.Engine.Now()
	macs, more := s.Engine.Log.Silent(now.Add(-movingFor), now.Add(time.Hour), mostMoving)
	out := client.Moving{Machines: []client.MovingMachine{}, More: more}
	at := map[boot.HostID]int{} // in Machines
	for _, m := range macs {
		asked := s.Engine.Log.Machine(m.String())
		if len(asked) == 0 {
			continue
		}
		last := asked[len(asked)-1]
		var h *boot.Host
		if err := s.Engine.View(r.Context(), func(tx boot.ReadTx) (err error) { h, err = tx.HostByMAC(m); return err }); err != nil {
			return nil, err
		}
		if !sees(r, h) {
			continue
		}
		x := client.MovingMachine{MAC: m, Network: last.Network, Via: last.Via, Step: last.Step, Reply: last.Reply, Got: cmp.Or(last.Path, last.Got), At: last.End(), Since: last.End()}
		if h != nil {
			if i, known := at[h.ID]; known {
				if old := &out.Machines[i]; x.At.After(old.At) {
					old.Via, old.Step, old.Reply, old.Got, old.At = x.Via, x.Step, x.Reply, x.Got, x.At
				}
				continue
			}
			at[h.ID] = len(out.Machines)
			x.Name, x.State, x.Template, x.Stage, x.Boot = h.Name, h.State, h.Template, h.Stage, h.Boots
			x.Installing = h.Installing()
			for _, u := range s.Engine.Running(h.ID) {
				x.Got, x.Sent, x.Size, x.Via = cmp.Or(u.Path, u.Got), u.Bytes, u.Size, u.Via
			}
		}
		// The firmware's first question after a pause began it.
		for i := len(asked) - 1; i > 0 && asked[i].At.Sub(asked[i-1].End()) < movingFor; i-- {
			x.Since = asked[i-1].At
		}
		out.Machines = append(out.Machines, x)
	}
	slices.SortStableFunc(out.Machines, func(a, b client.MovingMachine) int { return b.Since.Compare(a.Since) })
	return out, nil
}
