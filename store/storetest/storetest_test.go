// The judge is judged: a store that splits reading from writing must fail.

package storetest

import (
	"context"
	"runtime"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store/mem"
)

// split looks in one transaction and writes in another: the classic mistake.
type split struct{ boot.Store }

type splitTx struct {
	boot.Tx
	read   boot.Reader
	leases []boot.Lease
}

func (s *splitTx) PutLease(l boot.Lease) error { s.leases = append(s.leases, l); return nil }

func (s split) Update(ctx context.Context, fn func(boot.Tx) error) error {
	var w splitTx
	if err := s.Store.View(ctx, func(r boot.ReadTx) error {
		w.read = r
		return fn(struct {
			boot.Reader
			writes
		}{r, &w})
	}); err != nil {
		return err
	}
	runtime.Gosched()
	return s.Store.Update(ctx, func(tx boot.Tx) error {
		for _, l := range w.leases {
			if err := tx.PutLease(l); err != nil {
				return err
			}
		}
		return nil
	})
}

// writes is the writing half of boot.Tx.
type writes interface {
	PutHost(*boot.Host) error
	DeleteHost(*boot.Host) error
	PutInventory(boot.HostID, *boot.Inventory) error
	PutLease(boot.Lease) error
	PutTemplate(*boot.Template) error
	DropTemplate(string) error
	PutImage(*boot.Image) error
	DeleteImage(string) error
	Append(boot.Event) (uint64, error)
	DropEvents(uint64, int) (uint64, error)
	SetCounter(boot.Counter, uint64) error
	SetSecret(string, []byte) error
}

func TestSuiteCatchesSplitStore(t *testing.T) {
	err := CheckAllocation(func() (boot.Store, error) {
		s, err := mem.Open()
		return split{s}, err
	})
	if err == nil {
		t.Fatal("a store that splits read from write passed the allocation check")
	}
	t.Log(err)
}
