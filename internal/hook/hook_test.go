package hook

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// TestOrder: a receiver that fails now and then gets every event, in order, once.
func TestOrder(t *testing.T) {
	inBubble(t, func(g *rig) {
		n := 0
		g.r.set(func(m Message) Answer {
			if n++; n%7 == 3 {
				return away(m)
			}
			if n%11 == 5 {
				return refuses(m)
			}
			return Answer{}
		})
		g.happen(350, boot.HostAdded)
		g.after(time.Hour)
		g.got(span(1, 350)...)
		if s := g.status(); s.Behind != 0 || s.Upto != 350 || s.State != client.WebhookIdle || s.Counts.Delivered != 350 || s.Counts.Failed == 0 || s.Error != "" {
			t.Errorf("%+v", s)
		}
		if d := g.l.of(boot.WebhookDead); len(d) > 0 {
			t.Errorf("given up: %v", d)
		}
	})
}

// TestAway: tries become rare, up to five minutes apart, and go on; what waited
// comes in order as soon as the receiver is back.
func TestAway(t *testing.T) {
	inBubble(t, func(g *rig) {
		g.r.set(away)
		g.happen(5, boot.HostAdded)
		g.after(2 * time.Hour)
		g.got()
		s := g.status()
		if s.State != client.WebhookWaiting || s.Behind != 5 || s.Error != "connection refused" || !s.Next.After(time.Now()) {
			t.Errorf("%+v", s)
		}
		g.r.mu.Lock()
		tried := g.r.tried
		g.r.mu.Unlock()
		for i := 1; i < len(tried); i++ {
			gap, most := tried[i].Sub(tried[i-1]), min(time.Second<<min(i-1, 16), 5*time.Minute)
			if gap < most/2 || gap > most {
				t.Errorf("try %d came %s after the one before, want %s to %s", i, gap, most/2, most)
			}
		}
		if len(tried) < 30 {
			t.Errorf("only %d tries in two hours", len(tried))
		}
		g.r.set(nil)
		g.happen(2, boot.HostAdded)
		g.after(5 * time.Minute)
		g.got(1, 2, 3, 4, 5, 6, 7)
	})
}

// TestRetryAfter: a receiver may say when, within reason.
func TestRetryAfter(t *testing.T) {
	for _, c := range []struct{ asks, least, most time.Duration }{
		{10 * time.Minute, 10 * time.Minute, 11 * time.Minute},
		{1000 * time.Hour, time.Hour, time.Hour + time.Minute},
	} {
		inBubble(t, func(g *rig) {
			began := time.Now()
			g.r.set(func(Message) Answer {
				if time.Since(began) < time.Second {
					return Answer{Result: Later, Words: "HTTP 429", After: c.asks}
				}
				return Answer{}
			})
			g.happen(1, boot.HostAdded)
			g.after(c.least - time.Second)
			g.got()
			g.after(c.most - c.least + time.Second)
			g.got(1)
		})
	}
}

// TestGiveUp: what is older than a day is put aside, so that news is not a day
// behind when the receiver is back; the letters are delivered to nobody.
func TestGiveUp(t *testing.T) {
	inBubble(t, func(g *rig) {
		g.r.set(away)
		g.happen(3, boot.HostAdded)
		g.after(20 * time.Hour)
		g.happen(2, boot.HostAdded)
		g.after(5 * time.Hour)
		dead := g.l.of(boot.WebhookDead)
		if len(dead) != 3 || dead[0].Ref != 1 || dead[2].Ref != 3 || dead[0].Hook != "cmdb" {
			t.Fatalf("%+v", dead)
		}
		if want := "event 1 (host.added m1) was not delivered to webhook cmdb: given up after 24h: connection refused"; dead[0].Text != want {
			t.Errorf("it says %q, want %q", dead[0].Text, want)
		}
		g.r.set(nil)
		g.after(time.Hour)
		g.got(4, 5)
		if s := g.status(); s.Dead != 3 || s.Counts.Dead != 3 || s.Behind != 0 {
			t.Errorf("%+v", s)
		}
		// The letters outlive a restart, and go out when a person wants it.
		g.start()
		if s := g.status(); s.Dead != 3 {
			t.Errorf("after a restart: %+v", s)
		}
		sent, err := g.h.Resend(context.Background(), "cmdb", []uint64{2, 4, dead[0].Seq, 999, 0}, false)
		want := []string{"2 true ok", "4 true ok", "6 false webhook.dead is about deliveries and is delivered to nobody",
			"999 false there is no such event, or it is not kept any more", "0 false there is no such event, or it is not kept any more"}
		if err != nil || !slices.Equal(words(sent), want) {
			t.Errorf("%q, %v", words(sent), err)
		}
		g.got(4, 5, 2, 4)
		if s := g.status(); s.Dead != 2 {
			t.Errorf("one letter went out: %+v", s)
		}
		g.l.drop(1) // retention took the event itself
		if s := g.status(); s.Dead != 1 {
			t.Errorf("a letter without its event: %+v", s)
		}
		if sent, err := g.h.Resend(context.Background(), "cmdb", nil, true); err != nil || !slices.Equal(words(sent), []string{"3 true ok"}) {
			t.Errorf("%q, %v", words(sent), err)
		}
		if s := g.status(); s.Dead != 0 || g.l.counter(boot.Undelivered("webhook cmdb")) != 0 {
			t.Errorf("all letters went out: %+v", s)
		}
		if len(g.l.of(boot.WebhookResent)) != 2 {
			t.Error("what was sent again was not written down")
		}
		g.after(time.Hour)
		g.got(4, 5, 2, 4, 3)
	})
}

// TestLateButWelcome: an event that is old because the appliance was off is
// tried before it is given up.
func TestLateButWelcome(t *testing.T) {
	inBubble(t, func(g *rig) {
		g.r.set(away)
		g.happen(1, boot.HostAdded)
		g.after(time.Minute)
		g.stop()
		time.Sleep(72 * time.Hour)
		g.r.set(nil)
		g.start()
		g.got(1)
		// One that has failed and is well again is no different.
		g.r.set(away)
		g.happen(1, boot.HostAdded)
		g.after(time.Minute)
		g.r.set(nil)
		g.after(time.Hour)
		if err := g.l.Update(context.Background(), func(tx boot.Tx) error {
			_, err := tx.Append(boot.Event{At: time.Now().Add(-72 * time.Hour), Kind: boot.HostAdded})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		g.after(time.Second)
		g.got(1, 2, 3)
	})
}

// TestRefused: an event that is not wanted is tried three times and then does not
// keep the others.
func TestRefused(t *testing.T) {
	inBubble(t, func(g *rig) {
		n := 0
		g.r.set(func(m Message) Answer {
			if m.Event.Seq == 2 {
				n++
				return refuses(m)
			}
			return Answer{}
		})
		g.happen(3, boot.HostAdded)
		g.after(time.Minute)
		g.got(1, 3)
		dead := g.l.of(boot.WebhookDead)
		if n != 3 || len(dead) != 1 || !strings.HasSuffix(dead[0].Text, "event 2 (host.added m1) was not delivered to webhook cmdb: HTTP 410 Gone") {
			t.Errorf("tried %d times, %+v", n, dead)
		}
		if sent, err := g.h.Resend(context.Background(), "cmdb", []uint64{2}, false); err != nil || !slices.Equal(words(sent), []string{"2 false HTTP 410 Gone"}) || g.status().Dead != 1 {
			t.Errorf("%q, %v", words(sent), err)
		}
	})
}

// TestBegins: a new target hears what happens from now on, also when it is ended
// before anything does.
func TestBegins(t *testing.T) {
	inBubble(t, func(g *rig) {
		g.h.Set(nil)
		g.after(time.Second)
		delete(g.l.counters, boot.Delivered("webhook cmdb"))
		g.happen(4, boot.HostAdded)
		g.start()
		g.happen(1, boot.HostAdded)
		g.after(time.Second)
		g.got(5)
	})
	inBubble(t, func(g *rig) {
		g.stop()
		g.happen(1, boot.HostAdded)
		g.start()
		g.after(time.Second)
		g.got(1)
	})
}

// TestKilled: what was delivered and not written down is delivered again, under
// the same id; nothing is lost.
func TestKilled(t *testing.T) {
	inBubble(t, func(g *rig) {
		g.happen(2, boot.HostAdded)
		g.after(time.Minute)
		g.r.set(func(Message) Answer {
			g.l.mu.Lock()
			g.l.refuse = true // from here on nothing reaches the disk
			g.l.mu.Unlock()
			return Answer{}
		})
		g.happen(1, boot.HostAdded)
		g.after(time.Minute)
		g.stop()
		g.got(1, 2, 3)
		g.l.mu.Lock()
		g.l.refuse = false
		g.l.mu.Unlock()
		g.r.set(nil)
		g.start()
		g.happen(1, boot.HostAdded)
		g.after(time.Minute)
		g.got(1, 2, 3, 3, 4)
		if g.r.ids[2] != g.r.ids[3] || g.r.ids[2] != "0000-3" {
			t.Errorf("ids are %q", g.r.ids)
		}
		// A clean end repeats nothing.
		g.start()
		g.after(time.Minute)
		g.got(1, 2, 3, 3, 4)
	})
}

// TestFullDisk: a letter that cannot be written keeps its event.
func TestFullDisk(t *testing.T) {
	inBubble(t, func(g *rig) {
		g.happen(1, boot.HostAdded)
		g.l.mu.Lock()
		g.l.refuse = true
		g.l.mu.Unlock()
		g.r.set(refuses)
		g.after(time.Hour)
		g.got()
		g.l.mu.Lock()
		g.l.refuse = false
		g.l.mu.Unlock()
		g.after(time.Hour)
		if d := g.l.of(boot.WebhookDead); len(d) != 1 || d[0].Ref != 1 {
			t.Errorf("%+v", d)
		}
	})
}

// TestLost: events that were removed before they went out are told of, once.
func TestLost(t *testing.T) {
	inBubble(t, func(g *rig) {
		g.happen(1, boot.HostAdded)
		g.after(time.Minute)
		g.stop()
		g.happen(9, boot.HostAdded)
		g.l.drop(7)
		g.start()
		g.after(time.Minute)
		g.got(1, 8, 9, 10)
		lost := g.l.of(boot.WebhookLost)
		if len(lost) != 1 || !strings.HasPrefix(lost[0].Text, "6 events (2 to 7) were removed before they could be delivered to webhook cmdb") || g.status().Counts.Lost != 6 {
			t.Errorf("%+v", lost)
		}
		// Everything gone, the letter about it too.
		g.stop()
		g.happen(3, boot.HostAdded)
		g.l.drop(99)
		g.start()
		g.happen(1, boot.HostAdded)
		g.after(time.Minute)
		g.got(1, 8, 9, 10, 16)
	})
}

// TestKindsOnly: what a target does not want is not sent, and costs hardly a write.
func TestKindsOnly(t *testing.T) {
	inBubble(t, func(g *rig) {
		g.kinds = boot.Kinds{"ticket.*"}
		g.start()
		g.l.mu.Lock()
		before := g.l.writes
		g.l.mu.Unlock()
		g.happen(2500, boot.LeaseGranted)
		g.after(time.Minute)
		// A power cut now, and not many are read again.
		if n := 2501 - g.l.counters[boot.Delivered("webhook cmdb")]; n >= 1000 {
			t.Errorf("%d skipped events are not written down as skipped", n)
		}
		g.happen(1, boot.TicketArm)
		g.after(time.Minute)
		g.got(2501)
		for range 50 {
			g.happen(1, boot.LeaseGranted)
			g.after(time.Minute)
		}
		g.l.mu.Lock()
		n := g.l.writes - before - 2551
		g.l.mu.Unlock()
		if n > 4 {
			t.Errorf("%d writes for one message", n)
		}
		// A clean end writes down what was skipped.
		g.stop()
		if n := g.l.counters[boot.Delivered("webhook cmdb")]; n != 2552 {
			t.Errorf("goes on at %d, want 2552", n)
		}
	})
}

// TestReload: a changed target is tried at once, where the old one stood; one
// that is taken away is silent, and resumes when it comes back.
func TestReload(t *testing.T) {
	inBubble(t, func(g *rig) {
		g.r.set(away)
		g.happen(3, boot.HostAdded)
		g.after(time.Hour)
		fresh := &receiver{}
		g.h.Set([]*Target{g.target(fresh)})
		g.after(0)
		g.r = fresh
		g.got(1, 2, 3)
		g.h.Set(nil)
		g.after(time.Second)
		g.happen(2, boot.HostAdded)
		g.after(time.Hour)
		g.got(1, 2, 3)
		if _, err := g.h.Test(context.Background(), "cmdb"); boot.FaultOf(err) == nil {
			t.Errorf("a webhook that is gone: %v", err)
		}
		g.h.Set([]*Target{g.target(fresh)})
		g.after(time.Second)
		g.got(1, 2, 3, 4, 5)
	})
}

// TestStops: the end of the program does not wait for a receiver that hangs.
func TestStops(t *testing.T) {
	inBubble(t, func(g *rig) {
		g.h.Set([]*Target{g.target(hanging{})})
		g.happen(1, boot.HostAdded)
		g.after(time.Second)
		if s := g.status(); s.State != client.WebhookSending || s.Behind != 1 {
			t.Errorf("%+v", s)
		}
		began := time.Now()
		g.stop()
		if d := time.Since(began); d > 0 {
			t.Errorf("it took %s", d)
		}
		g.start()
		g.after(time.Second)
		g.got(1)
	})
}

type hanging struct{}

func (hanging) Send(ctx context.Context, _ Message) Answer {
	<-ctx.Done()
	return Answer{Result: Later, Words: "hangs"}
}

// TestPing: a test is an event without a number.
func TestPing(t *testing.T) {
	inBubble(t, func(g *rig) {
		sent, err := g.h.Test(context.Background(), "cmdb")
		if err != nil || !sent.OK || !slices.Equal(g.r.kinds, []boot.EventKind{"ping"}) || !strings.HasPrefix(g.r.ids[0], "0000-ping-") {
			t.Errorf("%+v, %v, %q", sent, err, g.r.ids)
		}
		g.r.set(refuses)
		if sent, err = g.h.Test(context.Background(), "cmdb"); err != nil || sent.OK || sent.Words != "HTTP 410 Gone" {
			t.Errorf("%+v, %v", sent, err)
		}
		if len(g.l.events) > 0 {
			t.Error("a test was written down")
		}
	})
}

func TestIdentity(t *testing.T) {
	l := newLedger()
	a, err := Identity(t.Context(), l)
	b, err2 := Identity(t.Context(), l)
	if errors.Join(err, err2) != nil || a != b || len(a) != 36 || a[14] != '4' {
		t.Errorf("%q, then %q", a, b)
	}
}

func TestRough(t *testing.T) {
	for d, want := range map[time.Duration]string{24 * time.Hour: "24h", 90 * time.Minute: "1h30m", 10 * time.Second: "10s", 1500 * time.Millisecond: "1.5s"} {
		if got := rough(d); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
