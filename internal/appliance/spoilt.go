// spoilt.go: reads the stored boot files again, slowly, and says which of them the disk
// does not give back as they were stored. That they exist is not enough for a machine.

package appliance

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/admin"
)

const (
	verifyEvery = 24 * time.Hour
	verifyAfter = 10 * time.Minute // of the start
	verifyRate  = 16 << 20         // bytes a second: machines that boot go first
)

// verifyFiles reads every file that something refers to once a day.
func (d *daemon) verifyFiles(ctx context.Context) error {
	for wait := verifyAfter; ; wait = verifyEvery {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		all, err := admin.Referred(ctx, d.engine)
		if err != nil {
			d.log.Warn("stored files were not verified", "err", err)
			continue
		}
		for _, digest := range slices.Sorted(maps.Keys(all)) {
			if d.verifyFile(ctx, all[digest]); ctx.Err() != nil {
				return nil
			}
		}
		d.mu.Lock()
		maps.DeleteFunc(d.spoilt, func(digest, _ string) bool { _, in := all[digest]; return !in })
		d.mu.Unlock()
	}
}

func (d *daemon) verifyFile(ctx context.Context, r admin.Reference) {
	if d.thisRun != nil {
		for _, b := range d.thisRun.Files {
			if b.Digest == r.Blob.Digest {
				return // lies outside, and may change
			}
		}
	}
	if _, here := d.images.Has(r.Blob.Digest); r.Lazy && !here {
		return // nobody asked for it yet
	}
	err := d.images.Verify(ctx, r.Blob, func(n int64) {
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(n) * time.Second / verifyRate):
		}
	})
	if ctx.Err() != nil {
		return
	}
	if r.Lazy && errors.Is(err, images.ErrDigest) {
		d.log.Warn("a file that was fetched is damaged: the next machine that asks has it fetched again", "file", r.For)
		if err = d.images.Remove(r.Blob.Digest); err == nil {
			return
		}
	}
	d.mu.Lock()
	old, known := d.spoilt[r.Blob.Digest]
	switch {
	case err == nil:
		delete(d.spoilt, r.Blob.Digest)
	case errors.Is(err, boot.ErrNoFile) || errors.Is(err, fs.ErrNotExist):
		d.spoilt[r.Blob.Digest] = r.For + " is missing"
	case errors.Is(err, images.ErrDigest):
		d.spoilt[r.Blob.Digest] = r.For + " is damaged"
	default:
		d.spoilt[r.Blob.Digest] = r.For + " cannot be read"
	}
	text := d.spoilt[r.Blob.Digest]
	d.mu.Unlock()
	if err == nil || known && old == text {
		return
	}
	d.log.Error("a boot file is not as it was stored", "file", r.For, "err", err)
	if err := d.noted.Update(ctx, func(tx boot.Tx) error {
		_, err := tx.Append(boot.Event{At: d.now(), Kind: boot.FileSpoilt, By: boot.Actor{Kind: boot.Program, Name: "muster"}, Text: boot.CleanText(text+": import or push it again", 300)})
		return err
	}); err != nil && ctx.Err() == nil {
		d.log.Error("the event was not stored", "err", err)
	}
}

// spoiltFiles are what the last pass found. The caller holds d.mu.
func (d *daemon) spoiltFiles() []string { return slices.Sorted(maps.Values(d.spoilt)) }
