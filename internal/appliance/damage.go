// damage.go: what the appliance does at its start if its store was damaged.

package appliance

import (
	"context"
	"fmt"
	"strings"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store"
)

// doubt says what of the store was damaged, and takes the tickets away if records may
// be older than they were: one that was used since would install again.
func (d *daemon) doubt(ctx context.Context) error {
	damage := d.store.Damage()
	for _, l := range damage {
		d.log.Error("the store was damaged", "what", l)
	}
	doubted, err := d.store.Doubted(ctx)
	if err != nil || len(damage) == 0 && !doubted {
		return err
	}
	text := "the store was damaged: " + strings.Join(damage[:min(len(damage), 3)], "; ")
	lost := "the store was damaged, and it may have been used since"
	if len(damage) == 0 {
		text = "the store lost what was written last"
	}
	of, err := d.store.RestoredFrom(ctx)
	if err != nil {
		return err
	}
	if !of.IsZero() {
		text = "the store was restored from a backup of " + of.Format("2006-01-02 15:04 MST") + ": what happened since is not in it, numbers of events go on far ahead, and every ticket that was open is taken away"
		lost = "the store was restored from a backup, and it may have been used since"
		d.log.Warn(text)
	}
	hosts, err := d.allHosts(ctx)
	if err != nil {
		return err
	}
	return d.store.Update(ctx, func(tx boot.Tx) error {
		by := boot.Actor{Kind: boot.Program, Name: "muster"}
		if _, err := tx.Append(boot.Event{At: d.now(), Kind: boot.StoreDamaged, By: by, Text: boot.CleanText(text, 500)}); err != nil || !doubted {
			return err
		}
		for _, id := range hosts {
			h, err := tx.Host(id)
			if err != nil || h == nil || h.Ticket == nil || h.Ticket.State == boot.TicketClosed {
				continue
			}
			// One that is spent must not become armed again either.
			armed := h.Disarm(d.now())
			if err := tx.PutHost(h); err != nil {
				return err
			}
			if !armed {
				continue
			}
			if _, err := tx.Append(boot.Event{At: d.now(), Kind: boot.TicketBack, By: by, Host: h.ID, Text: fmt.Sprintf("%s has no ticket any more: %s", h.Name, lost)}); err != nil {
				return err
			}
		}
		return store.Trust(tx)
	})
}

// allHosts lists the numbers of all hosts.
func (d *daemon) allHosts(ctx context.Context) (ids []boot.HostID, err error) {
	const page = 1000
	for after := boot.HostID(0); ; {
		var hs []*boot.Host
		if err := d.store.View(ctx, func(tx boot.ReadTx) (err error) { hs, err = tx.Hosts(after, page); return err }); err != nil {
			return nil, err
		}
		for _, h := range hs {
			after, ids = h.ID, append(ids, h.ID)
		}
		if len(hs) < page {
			return ids, nil
		}
	}
}
