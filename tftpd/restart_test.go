// restart_test.go: a client that begins anew from the same port, and one that
// asks for a time-out of minutes.

package tftpd

import (
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// TestBeginsAnew: a machine that was reset asks for another file from the same
// port. It gets that file, and no packets of the old transfer, which it would
// take for the answer.
func TestBeginsAnew(t *testing.T) { families(t, testBeginsAnew) }

func testBeginsAnew(t *testing.T, host string) {
	s, _, addr := start(t, host)
	c := newRaw(t, addr)
	c.ask("big", "octet")
	c.recv()
	c.send(0, 4, 0, 1)
	c.recv()
	c.ask("text", "octet")
	for {
		got := c.recv()
		if got[1] == opDATA && string(got[4:]) == "a\nb\rc" {
			break
		}
		if got[1] != opDATA {
			t.Fatalf("%q", got)
		}
	}
	c.send(0, 4, 0, 1)
	<-s.end
	<-s.end
	results := map[boot.Result]int{}
	for _, o := range s.ended {
		results[o.Result]++
	}
	if results[boot.Complete] != 1 || results[boot.CutShort] != 1 {
		t.Errorf("ended as %v", results)
	}
}

// TestOnePort: a ROM asks for one file after the other from one port, the next
// as soon as it has the last block. It gets the right answers, and every
// transfer counts as complete.
func TestOnePort(t *testing.T) { families(t, testOnePort) }

func testOnePort(t *testing.T, host string) {
	s, _, addr := start(t, host)
	c := newRaw(t, addr)
	want := func(w string) {
		t.Helper()
		if got := c.recv(); string(got) != w {
			t.Fatalf("got %.80q, want %.80q", got, w)
		}
	}
	block := "\x00\x03\x00\x01" + string(s.files["block"])
	const rounds = 300
	for range rounds {
		c.ask("text", "octet")
		want("\x00\x03\x00\x01a\nb\rc")
		c.send(0, 4, 0, 1)
		c.ask("nothing", "octet")
		want("\x00\x05\x00\x01no such file\x00")
		c.ask("big", "octet") // only to see whether it is there
		c.recv()
		c.send(0, 5, 0, 0, 0)
		c.ask("block", "octet")
		want(block)
		c.send(0, 4, 0, 1)
		want("\x00\x03\x00\x02")
		c.send(0, 4, 0, 2)
	}
	for range 3 * rounds {
		<-s.end
	}
	results := map[boot.Result]int{}
	for _, o := range s.ended {
		results[o.Result]++
	}
	if results[boot.Complete] != 2*rounds || results[boot.Probe] != rounds {
		t.Errorf("ended as %v", results)
	}
}

// TestLongTimeout: whatever time-out a client wants, its silence ends the
// transfer in bounded time.
func TestLongTimeout(t *testing.T) {
	r, err := parseRead(rrq("a", "octet", "timeout", "255", "blksize", "512"))
	if err != nil {
		t.Fatal(err)
	}
	if o := string(r.settle(1468, 16).oack(1)); o != "\x00\x06blksize\x00512\x00" {
		t.Errorf("agreed to %q", o)
	}
	r, _ = parseRead(rrq("a", "octet", "timeout", "10"))
	x := newTransfer(r, 5000)
	x.start()
	waited := time.Duration(0)
	for {
		waited += x.rto
		if s := x.timeout(); s.gaveUp || s.done {
			break
		}
	}
	if waited > 90*time.Second {
		t.Errorf("silence is borne for %s", waited)
	}
}
