// flood.go: Muster under floods of strangers, and how long an ordinary machine
// waits meanwhile.

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	discoverRate = 40000 // a second: more than a processor core can answer
	wholeRate    = 5000
	smallPool    = 1000
	between      = 10 * time.Millisecond // so that the measured machine itself is no load
)

func (b *bench) floods(ctx context.Context) (ts []*table, err error) {
	for _, part := range []func(context.Context) (*table, error){b.discoverFlood, b.leaseFlood} {
		t, err := part(ctx)
		ts = append(ts, t)
		if err != nil {
			return ts, err
		}
	}
	return ts, nil
}

// discoverFlood: strangers send DISCOVERs and never take an offer.
func (b *bench) discoverFlood(ctx context.Context) (*table, error) {
	muster := b.musterServer("Muster", "udp/67", pool{size: 65000}, "", nil)
	t := newTable("Flood of DISCOVERs", []program{muster})
	length := 30 * time.Second
	if b.short {
		length = 6 * time.Second
	}
	t.note("Raw DISCOVERs from random MACs for %v, none asks twice; pool of 65,000; Muster's bounds on strangers as they ship. Beside it two machines, one on the roll and approved, the other with a new MAC each time, take a lease again and again, %v apart. Time to a lease: from the first DISCOVER to the ACK. A machine asks again after 1 and 2 more seconds and has failed after %d; what failed is not in the times.", length, between, 1<<tries-1)
	t.note("Flood, machines and server share the processors: what is answered is what was left to the server.")
	err := b.each(ctx, []program{muster}, func(_ int, p program) error {
		return b.beside(ctx, t, p, 1, discoverRate, false, func(s *process) error {
			end := time.Now().Add(length)
			var wg sync.WaitGroup
			errs := make([]error, 2)
			tallies := [2]tally{}
			for i, f := range []family{known, newcomer} {
				wg.Go(func() {
					w, err := b.wire(f)
					if errs[i] = err; err != nil {
						return
					}
					defer w.close()
					for n := 1; time.Now().Before(end) && ctx.Err() == nil; n++ {
						if f == known {
							n = 1
						}
						_, took, err := w.lease(f.number(n))
						tallies[i].note(took, err)
						pause(ctx, between)
					}
				})
			}
			wg.Wait()
			tallies[0].add(t, p, "approved machine: lease")
			tallies[1].add(t, p, "new machine: lease")
			return errors.Join(errs...)
		})
	})
	return t, err
}

// leaseFlood: strangers take every address there is.
func (b *bench) leaseFlood(ctx context.Context) (*table, error) {
	muster := b.musterServer("Muster", "udp/67", pool{size: smallPool}, "", nil)
	t := newTable("Flood of leases", []program{muster})
	hosts, settle := 200, 15*time.Second
	if b.short {
		hosts, settle = 40, 7*time.Second
	}
	t.note("%s whole exchanges a second from random MACs, none asks twice; pool of %s, of which %d went to a plain client before; Muster's bounds on strangers as they ship. After %v of it %d machines that are on the roll and approved, without a reserved address, come one after the other: each takes its first lease and renews it three times by unicast.", thousands(wholeRate), thousands(smallPool), warmUp, settle, hosts)
	err := b.each(ctx, []program{muster}, func(_ int, p program) error {
		return b.beside(ctx, t, p, hosts, wholeRate, true, func(s *process) error {
			pause(ctx, settle)
			w, err := b.wire(known)
			if err != nil {
				return err
			}
			defer w.close()
			var first, again tally
			// Without a share reserved for them, all of them fail, and slowly.
			patience := time.Now().Add(2 * settle)
			for n := 1; n <= hosts && time.Now().Before(patience) && ctx.Err() == nil; n++ {
				m := known.number(n)
				addr, took, err := w.lease(m)
				first.note(took, err)
				for range 3 {
					if err != nil {
						break
					}
					pause(ctx, between)
					took, err = b.renew(w, m, addr)
					again.note(took, err)
				}
			}
			first.add(t, p, "approved machine: first lease")
			again.add(t, p, "approved machine: renewal")
			return nil
		})
	})
	return t, err
}

// beside runs a flood while fn measures, and returns what the flood cost.
func (b *bench) beside(ctx context.Context, t *table, p program, hosts, rate int, whole bool, fn func(*process) error) error {
	s, err := b.start(ctx, p)
	if err != nil {
		return err
	}
	defer s.stop()
	data := filepath.Join(s.dir, "data")
	for n := 1; n <= hosts; n++ {
		out, err := exec.CommandContext(ctx, b.muster, "host", "add", fmt.Sprintf("known-%d", n), "--mac", known.number(n).String(), "--approved", "--data-dir", data).CombinedOutput()
		if err != nil {
			return fmt.Errorf("muster host add: %w: %s", err, out)
		}
	}
	w, err := b.wire(warmers)
	if err != nil {
		return err
	}
	defer w.close()
	if _, err := w.next(warmUp); err != nil {
		return fmt.Errorf("before the flood: %w", err)
	}
	strange, err := b.wire(strangers)
	if err != nil {
		return err
	}
	defer strange.close()
	memory := s.memory()
	store, log := sizes(data)
	began, cpu := time.Now(), s.cpu()
	flooding, stop := context.WithCancel(ctx)
	f, wait := strange.flood(flooding, rate, whole)
	err = fn(s)
	stop()
	wait()
	lasted := time.Since(began).Seconds()
	t.add("flood: DISCOVERs sent", "/s", p, float64(f.sent.Load())/lasted)
	t.add("flood: OFFERs got", "/s", p, float64(f.offers.Load())/lasted)
	if whole {
		t.add("flood: leases got", "of "+thousands(smallPool), p, float64(f.leases.Load()))
	}
	t.add("server CPU", "cores", p, (s.cpu()-cpu).Seconds()/lasted)
	pause(ctx, time.Second) // so that queued writes are done
	newStore, newLog := sizes(data)
	t.add("store grew", "MB", p, newStore-store)
	t.add("request log grew", "MB", p, newLog-log)
	t.add("memory before", "MB", p, memory)
	t.add("memory after", "MB", p, s.memory())
	return err
}

// sizes are MB in the data directory: of the request log, which has a cap, and
// of everything else.
func sizes(dir string) (store, log float64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			if mb := float64(info.Size()) / 1e6; strings.HasPrefix(d.Name(), "requests.log") {
				log += mb
			} else {
				store += mb
			}
		}
		return nil
	})
	return store, log
}

// tally counts the attempts of one kind of machine by result.
type tally struct {
	tried int
	took  []float64 // milliseconds of those that succeeded
}

func (y *tally) note(took time.Duration, err error) {
	y.tried++
	if err == nil {
		y.took = append(y.took, ms(took))
	}
}

func (y *tally) add(t *table, p program, name string) {
	t.add(name+", tried", "times", p, float64(y.tried))
	if y.tried > 0 {
		t.add(name+", succeeded", "%", p, 100*float64(len(y.took))/float64(y.tried))
	}
	t.delays(name, p, y.took)
}
