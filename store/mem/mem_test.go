package mem

import (
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store"
	"github.com/musterboot/muster/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Opener {
		b := NewBackend()
		return func() (boot.Store, error) { return store.New(b) }
	})
}
