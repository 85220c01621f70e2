package appliance

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store/bolt"
)

// TestDamagedStore: the appliance serves what is whole, says what is lost, takes every
// ticket away once, and keeps files that nothing refers to.
func TestDamagedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab)
		r.run()
		digest := strings.Repeat("ab", 32)
		orphan := filepath.Join(r.dataDir, "files", digest[:2], digest)
		path := filepath.Join(r.dataDir, "muster.db")
		r.end()
		must(t, os.MkdirAll(filepath.Dir(orphan), 0o700))
		must(t, os.WriteFile(orphan, []byte("x"), 0o600))
		s, err := bolt.Open(path)
		must(t, err)
		must(t, s.Update(t.Context(), func(tx boot.Tx) error {
			for i := range 20 {
				h := &boot.Host{ID: boot.HostID(i + 1), Name: "web" + string(rune('a'+i)), State: boot.Approved, MACs: []boot.MAC{{0x52, 0x54, 0, 0, 0, byte(i)}}}
				if i == 7 {
					h.Ticket = &boot.Ticket{Template: "debian", State: boot.TicketArmed}
				}
				if i == 9 {
					h.Ticket = &boot.Ticket{Template: "debian", State: boot.TicketSpent, Boot: 1}
				}
				if err := tx.PutHost(h); err != nil {
					return err
				}
			}
			return tx.SetCounter(boot.LastHost, 20)
		}))
		must(t, s.Close())
		raw, err := os.ReadFile(path)
		must(t, err)
		raw[bytes.LastIndex(raw, []byte(`"webc"`))+1] ^= 1
		must(t, os.WriteFile(path, raw, 0o600))

		for start := range 2 {
			again := newRig(t, lab)
			again.opt.Read = r.opt.Read
			again.run()
			again.must("the store was damaged", "host 3: the record does not agree with its checksum")
			kinds := map[boot.EventKind]int{}
			must(t, again.store.View(t.Context(), func(tx boot.ReadTx) error {
				h, err := tx.Host(8)
				if err == nil && h.Ticket.State != boot.TicketClosed {
					t.Errorf("start %d: the ticket is %s", start, h.Ticket.State)
				}
				if spent, err := tx.Host(10); err != nil || !spent.Ticket.Ran {
					t.Errorf("start %d: a spent ticket may become armed again: %+v, %v", start, spent.Ticket, err)
				}
				es, eerr := tx.Events(0, 1000)
				for _, e := range es {
					kinds[e.Kind]++
				}
				if err == nil {
					err = eerr
				}
				return err
			}))
			if kinds[boot.StoreDamaged] != start+1 || kinds[boot.TicketBack] != 1 {
				t.Errorf("start %d: events %v", start, kinds)
			}
			if _, err := os.Stat(orphan); err != nil {
				t.Errorf("start %d: a file that nothing refers to: %v", start, err)
			}
			if start == 1 {
				resp, err := again.c.web["admin"].client().Post("http://x/api/v1/store/repair", "application/json", http.NoBody)
				must(t, err)
				resp.Body.Close()
				if d := again.store.Damage(); len(d) > 0 {
					t.Errorf("after a repair: %q", d)
				}
			}
			again.end()
		}
	})
}
