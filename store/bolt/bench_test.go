// bench_test.go: what a lease costs, alone and in a crowd.

package bolt

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

func BenchmarkLease(b *testing.B) {
	open := func(b *testing.B) boot.Store {
		s, err := Open(filepath.Join(b.TempDir(), "muster.db"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.Close() })
		return s
	}
	grant := func(b *testing.B, s boot.Store, i int) {
		now := time.Unix(1_800_000_000+int64(i), 0)
		l := boot.Lease{Network: "lab", Addr: addr(i % 100_000), Kind: boot.Dynamic, Starts: now, Expires: now.Add(time.Hour)}
		l.MAC = boot.MAC{2, byte(i >> 16), byte(i >> 8), byte(i)}
		l.Holder = boot.HeldBy(l.MAC)
		if err := s.Update(context.Background(), func(tx boot.Tx) error {
			if _, err := tx.LeaseByHolder(l.Network, l.Holder); err != nil {
				return err
			}
			return tx.PutLease(l)
		}); err != nil {
			b.Error(err)
		}
	}
	b.Run("alone", func(b *testing.B) {
		s := open(b)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			grant(b, s, i)
		}
	})
	b.Run("crowd", func(b *testing.B) {
		s := open(b)
		var n atomic.Int64
		b.ReportAllocs()
		b.SetParallelism(500)
		b.ResetTimer()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				grant(b, s, int(n.Add(1)))
			}
		})
	})
}
