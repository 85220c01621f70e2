package tftpd

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// told lists the recorded packets in words, by the port that sent or received
// them.
func (s *shelf) told(r *raw, listener uint16) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	me := r.conn.LocalAddr().(interface{ AddrPort() netip.AddrPort }).AddrPort()
	for _, p := range s.kept {
		way, ours := "<", p.To
		if p.To == me {
			way, ours = ">", p.From
		}
		port := "tid"
		if ours.Port() == listener {
			port = "69"
		} else if ours != r.srv && r.srv.IsValid() {
			port = ours.String()
		}
		op := []string{"?", "RRQ", "WRQ", "DATA", "ACK", "ERROR", "OACK"}[p.Data[1]]
		if op != "RRQ" && op != "OACK" {
			op += fmt.Sprint(" ", int(p.Data[2])<<8|int(p.Data[3]))
		}
		if p.Full != 0 && p.Full != len(p.Data) {
			op += fmt.Sprintf(" (%d of %d)", len(p.Data), p.Full)
		}
		if p.MAC != (boot.MAC{2, 0, 0, 0, 0, 1}) {
			op += " of " + p.MAC.String()
		}
		out = append(out, way+" "+port+" "+op)
	}
	return out
}

// keeps waits until these packets are recorded: one is recorded after it was sent.
func (s *shelf) keeps(t *testing.T, r *raw, listener uint16, want ...string) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		got := s.told(r, listener)
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-s.more:
		case <-late:
			t.Fatalf("kept\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestRecorded: what tells how a transfer went is kept, and not the file.
func TestRecorded(t *testing.T) { families(t, testRecorded) }

func testRecorded(t *testing.T, host string) {
	s, _, addr := start(t, host)
	r := newRaw(t, addr)
	r.ask("nine", "octet", "tsize", "0")
	for i := range 11 {
		r.recv() // OACK, ten blocks
		if i == 5 {
			r.send(0, opACK, 0, 3) // an old one: nothing happens, nothing is kept
		}
		r.send(0, opACK, 0, byte(i))
	}
	<-s.end
	want := []string{"< 69 RRQ", "> tid OACK", "< tid ACK 0", "> tid DATA 1 (4 of 516)", "< tid ACK 1", "> tid DATA 10 (4 of 5)", "< tid ACK 10"}
	if got := s.told(r, uint16(addr.Port)); !slices.Equal(got, want) {
		t.Errorf("kept\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestRecordedFailures: refusals, and error packets of the client.
func TestRecordedFailures(t *testing.T) { families(t, testRecordedFailures) }

func testRecordedFailures(t *testing.T, host string) {
	s, _, addr := start(t, host)
	r := newRaw(t, addr)
	r.ask("missing", "octet")
	r.recv()
	s.keeps(t, r, uint16(addr.Port), "< 69 RRQ", "> tid ERROR 1")
	s.mu.Lock()
	s.kept = nil
	s.mu.Unlock()
	r = newRaw(t, addr)
	r.ask("big", "octet", "tsize", "0")
	r.recv()
	r.send(0, opERROR, 0, 8, 'n', 'o', 0)
	<-s.end
	s.keeps(t, r, uint16(addr.Port), "< 69 RRQ", "> tid OACK", "< tid ERROR 8")
}

// TestRecordedIsBounded: on a line that loses everything one transfer records
// no more than its share. A stranger's transfer is not recorded.
func TestRecordedIsBounded(t *testing.T) { families(t, testRecordedIsBounded) }

func testRecordedIsBounded(t *testing.T, host string) {
	s, _, addr := start(t, host)
	r := newRaw(t, addr)
	r.ask("anybody", "octet")
	r.recv()
	r.send(0, opACK, 0, 1)
	r.recv()
	r.send(0, opACK, 0, 2)
	<-s.end
	if got := s.told(r, uint16(addr.Port)); len(got) != 0 {
		t.Errorf("of a stranger is kept: %q", got)
	}
	f := &flow{t: newTransfer(read{}, 1<<20)}
	n := 0
	f.seen = func(bool, []byte, int) { n++ }
	f.t.backoff = true
	for i := range 1000 {
		f.recordData(step{from: int64(i%3 + 2), to: int64(i%3 + 2)})
	}
	if n != maxRecorded/2 {
		t.Errorf("%d repetitions are kept, want %d", n, maxRecorded/2)
	}
	for range 1000 {
		f.record(false, nil, 0)
	}
	if n != maxRecorded {
		t.Errorf("%d packets are kept, want %d", n, maxRecorded)
	}
}
