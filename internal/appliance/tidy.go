// tidy.go: what is removed automatically: old events, files that nothing refers to,
// memory that is unused after a storm.

package appliance

import (
	"context"
	"runtime/debug"
	rtmetrics "runtime/metrics"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/admin"
	"github.com/musterboot/muster/internal/config"
)

// tidyFiles removes stored files that nothing refers to: those of uploads that were
// cut off, by a stop of the appliance or by a power cut.
func (d *daemon) tidyFiles(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	// At the start all files from before this process may go. Later a file may belong
	// to an upload that is under way.
	for age := d.now().Sub(d.started); ; age = time.Hour {
		// A reference that is lost is no reason to lose the file too.
		if len(d.store.Damage()) > 0 {
			d.log.Warn("files that nothing refers to are kept until somebody repairs the store (muster store repair)")
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			continue
		}
		all, err := admin.Referred(ctx, d.engine)
		if err == nil {
			if d.thisRun != nil {
				for _, b := range d.thisRun.Files {
					all[b.Digest] = admin.Reference{Blob: b}
				}
			}
			var n int
			var bytes int64
			if n, bytes, err = d.images.Sweep(func(digest string) bool { _, in := all[digest]; return in }, age); n > 0 {
				d.log.Info("files that nothing refers to were set aside for a week", "files", n, "bytes", bytes)
			}
		}
		if err != nil && ctx.Err() == nil {
			d.log.Warn("stored files were not tidied", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tidyMemory gives memory back after a storm is over: the garbage collector would keep
// it.
func (d *daemon) tidyMemory(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	sample := []rtmetrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	var seen uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		before := seen
		seen = d.dhcp.Stats.Received.Load()
		if seen-before > 1000 {
			continue
		}
		rtmetrics.Read(sample)
		held := sample[1].Value.Uint64() + sample[2].Value.Uint64() + sample[3].Value.Uint64()
		if held > sample[0].Value.Uint64()+24<<20 {
			debug.FreeOSMemory()
		}
	}
}

const (
	tidyEventsEvery = time.Minute
	dropAtOnce      = 500 // events in one transaction
	dropPause       = 10 * time.Millisecond
)

// tidyEvents removes the oldest events: those beyond the number or the age that the
// configuration keeps. It removes a few at a time, so that machines need not wait.
func (d *daemon) tidyEvents(ctx context.Context) error {
	tick := time.NewTicker(tidyEventsEvery)
	defer tick.Stop()
	for {
		if n, err := dropOld(ctx, d.store, d.settings().Events, d.now()); err != nil && ctx.Err() == nil {
			d.log.Error("old events were not removed", "err", err)
		} else if n > 0 {
			d.log.Debug("old events were removed", "events", n)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func dropOld(ctx context.Context, s boot.Store, r config.Retention, now time.Time) (dropped uint64, err error) {
	for {
		var es []boot.Event
		var last uint64
		if err := s.View(ctx, func(tx boot.ReadTx) (err error) {
			if last, err = tx.Counter(boot.LastEvent); err == nil {
				es, err = tx.Events(0, dropAtOnce)
			}
			return err
		}); err != nil || len(es) == 0 {
			return dropped, err
		}
		first := es[0].Seq
		var upto uint64
		for _, e := range es {
			if last-e.Seq < uint64(r.Max) && (r.Keep == 0 || now.Sub(e.At) <= r.Keep) {
				break
			}
			upto = e.Seq
		}
		if upto == 0 {
			return dropped, nil
		}
		if err := s.Update(ctx, func(tx boot.Tx) error { _, err := tx.DropEvents(upto, dropAtOnce); return err }); err != nil {
			return dropped, err
		}
		dropped += upto - first + 1
		select {
		case <-ctx.Done():
			return dropped, nil
		case <-time.After(dropPause):
		}
	}
}
