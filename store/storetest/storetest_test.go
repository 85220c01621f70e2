// The judge is judged: a store that splits reading from writing must fail.

package storetest

import (
	"context"
	"runtime"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store"
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
	PutValues(*boot.Values) error
	DeleteValues(*boot.Values) error
	PutUser(*boot.User) error
	DeleteUser(*boot.User) error
	PutToken(*boot.APIToken) error
	DeleteToken(*boot.APIToken) error
	Append(boot.Event) (uint64, error)
	DropEvents(uint64, int) (uint64, error)
	SetCounter(boot.Counter, uint64) error
	SetSecret(string, []byte) error
	After(func())
}

// late runs what follows an update when it has returned: the next one has
// looked meanwhile.
type late struct{ boot.Store }

type lateTx struct {
	boot.Tx
	after *[]func()
}

func (l lateTx) After(fn func()) { *l.after = append(*l.after, fn) }

func (s late) Update(ctx context.Context, fn func(boot.Tx) error) error {
	var after []func()
	if err := s.Store.Update(ctx, func(tx boot.Tx) error {
		after = nil
		return fn(lateTx{tx, &after})
	}); err != nil {
		return err
	}
	for range 1000 {
		runtime.Gosched()
	}
	for _, fn := range after {
		fn()
	}
	return nil
}

// eager runs it at once, whatever becomes of the update.
type eager struct{ boot.Store }

type eagerTx struct{ boot.Tx }

func (eagerTx) After(fn func()) { fn() }

func (s eager) Update(ctx context.Context, fn func(boot.Tx) error) error {
	return s.Store.Update(ctx, func(tx boot.Tx) error { return fn(eagerTx{tx}) })
}

func TestSuiteCatchesAfterOutOfPlace(t *testing.T) {
	for name, bad := range map[string]func(boot.Store) boot.Store{
		"late":  func(s boot.Store) boot.Store { return late{s} },
		"eager": func(s boot.Store) boot.Store { return eager{s} },
		"none":  func(s boot.Store) boot.Store { return none{s} },
	} {
		err := CheckAfter(func() (boot.Store, error) {
			s, err := mem.Open()
			return bad(s), err
		})
		if err == nil {
			t.Errorf("%s: passed", name)
		}
		t.Log(name, err)
	}
}

// none forgets it.
type none struct{ boot.Store }

func (s none) Update(ctx context.Context, fn func(boot.Tx) error) error {
	return s.Store.Update(ctx, func(tx boot.Tx) error { return fn(deaf{tx}) })
}

// TestTwice: the store that runs everything twice keeps the contract.
func TestTwice(t *testing.T) {
	Run(t, func(*testing.T) Opener {
		b := mem.NewBackend()
		return func() (boot.Store, error) {
			s, err := store.New(b)
			return Twice(s), err
		}
	})
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
