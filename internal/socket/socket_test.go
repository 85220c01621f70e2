package socket

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		broken := errors.New("broken")
		var p Patience
		start := time.Now()
		for range 2 { // a success between starts anew
			for i := range mostFailures {
				if end, err := p.Failed(ctx, "read", broken); end || err != nil {
					t.Fatalf("failure %d: %v, %v", i+1, end, err)
				}
			}
			if d := time.Since(start); d != mostFailures*nap {
				t.Errorf("%d failures took %s", mostFailures, d)
			}
			start = time.Now()
			p.Worked()
		}
		p.failures = mostFailures
		if end, err := p.Failed(ctx, "read", broken); !end || !errors.Is(err, broken) || err.Error() != "read: broken" {
			t.Errorf("one too many: %v, %v", end, err)
		}
		cancel()
		if end, err := p.Failed(ctx, "read", broken); !end || err != nil {
			t.Errorf("the end: %v, %v", end, err)
		}
	})
}

func TestNames(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		nettest.Lack(t, "no loopback: "+err.Error())
	}
	var l Names
	now := time.Unix(1, 0)
	if n := l.Of(lo.Index, now); n != "lo" {
		t.Errorf("loopback is %q", n)
	}
	if n := l.Of(1<<30, now); n != "" {
		t.Errorf("an index that nobody has is %q", n)
	}
	l.known[lo.Index] = "before"
	if n := l.Of(lo.Index, now.Add(namesLife)); n != "before" {
		t.Errorf("it was asked again too soon: %q", n)
	}
	if n := l.Of(lo.Index, now.Add(namesLife+1)); n != "lo" {
		t.Errorf("it was not asked again: %q", n)
	}
}
