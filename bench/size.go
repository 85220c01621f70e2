// size.go: Muster alone with more and more leases in its store, to see which
// figures change.

package main

import (
	"context"
	"time"
)

// roomy holds the largest number of leases and the clients of a run.
const roomy = 786430

func (b *bench) size(ctx context.Context) (*table, error) {
	var servers []program
	counts := []int{1000, 10000, 100000, 500000}
	if b.short {
		counts = counts[:3]
	}
	for _, n := range counts {
		p := b.musterServer(thousands(n), "udp/67", pool{size: roomy, leased: n}, b.noLimits, nil)
		servers = append(servers, p)
	}
	t := newTable("Leases in the store of Muster", servers)
	t.growth = true
	t.note("Columns: leases present at the start, spread evenly over a pool of %s addresses; all clients are new ones. Ratios are to the first column.%s", thousands(roomy), b.limitsNote())
	t.note("Start: from the start of the process to its first OFFER, the store in the page cache. Lone exchange: DISCOVER to ACK of one plain client at a time, by raw frames. Highest rate: as in the table of DHCP.")
	alone, length := 2000, 3*time.Second
	if b.short {
		alone, length = 300, time.Second
	}
	err := b.each(ctx, servers, func(_ int, p program) error {
		start, took, idle, busy, err := b.alone(ctx, p, alone)
		if err != nil {
			return err
		}
		t.add("start", "ms", p, ms(start))
		t.add("memory at the first OFFER", "MB", p, idle)
		t.delays("lone exchange", p, took)
		t.add("memory after "+thousands(alone)+" lone exchanges", "MB", p, busy)
		g := &target{b: b, p: p, v: dhcp4}
		defer g.stop()
		best, err := g.highest(ctx, length)
		if err != nil {
			return err
		}
		t.add("highest rate without loss", "/s", p, best.rate())
		t.add("server CPU per exchange at that rate", "µs", p, float64(best.cpu.Microseconds())/best.acked)
		t.add("memory after the run at that rate", "MB", p, best.memory)
		return nil
	})
	return t, err
}

// alone starts p and leases to n machines, one after the other.
func (b *bench) alone(ctx context.Context, p program, n int) (start time.Duration, took []float64, idle, busy float64, err error) {
	w, err := b.wire(newcomer)
	if err != nil {
		return 0, nil, 0, 0, err
	}
	defer w.close()
	s, err := b.launch(ctx, p)
	if err != nil {
		return 0, nil, 0, 0, err
	}
	defer s.stop()
	if start, err = w.awake(ctx, s); err != nil {
		return 0, nil, 0, 0, err
	}
	idle = s.memory()
	if _, err = w.next(warmUp); err != nil {
		return 0, nil, 0, 0, err
	}
	took, err = w.next(n)
	return start, took, idle, s.memory(), err
}
