// attack_http_test.go: attacks on HTTP and HTTPS.

package test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// dribble sends a request that has no end, a byte now and then.
func dribble(ctx context.Context, c net.Conn) {
	io.WriteString(c, "GET / HTTP/1.1\r\nX: ")
	tick := time.NewTicker(time.Second / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// swallow asks for a file, and takes a byte of it now and then.
func swallow(ctx context.Context, c net.Conn) {
	io.WriteString(c, "GET /ipxe.efi HTTP/1.1\r\nHost: x\r\n\r\n")
	tick := time.NewTicker(time.Second / 2)
	defer tick.Stop()
	for b := make([]byte, 1); ; {
		select {
		case <-tick.C:
			if _, err := c.Read(b); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// TestAttackHTTP: connections that ask for nothing, that never come to the end of their
// request, and that do not take what they asked for. A machine of the roll boots, and
// one that needs long for its request is not pushed out.
func TestAttackHTTP(t *testing.T) {
	s := besiege(t, "", 300)
	s.settle("uefi-x64")
	slow := s.slow()
	for _, c := range []struct {
		name  string
		foes  int
		each  int
		do    func(context.Context, net.Conn)
		count string
	}{
		{"idle connections", 40, 128, idle, "http connections, gave way"},
		{"a byte now and then", 40, 128, dribble, "http connections, gave way"},
		{"files that nobody takes", 300, 16, swallow, "http connections, no slot free"},
	} {
		before := s.dropped(c.count)
		opened, stop := s.cling(s.addrs[:c.foes], "80", c.each, c.do)
		s.met(c.count, before, 1)
		s.stands(c.name)
		begun, err := slow.Dial(s.ctx, "tcp", serverAddr+":80")
		must(t, err)
		io.WriteString(begun, "GET /undionly.kpxe HTT")
		s.passes(opened, 5000)
		begun.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(begun, "P/1.1\r\nHost: x\r\n\r\n")
		if a, err := http.ReadResponse(bufio.NewReader(begun), nil); err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("%s: the slow machine is pushed out: %v", c.name, err)
		}
		begun.Close()
		stop()
	}
}

// TestAttackTLS: connections that begin no handshake, and handshakes that fail in every
// way. What they cause is bounded, and what people decided is still to be found.
func TestAttackTLS(t *testing.T) {
	s := besiege(t, "https=true\n[https]\n", 300)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	s.muster("ca", "export", "--pem", ca)
	began := time.Now()
	s.settle("uefi-http-x64", "--ca", ca)
	slow := s.slow()
	s.decides()

	before := s.dropped("http connections, gave way")
	opened, stop := s.cling(s.addrs[:40], "443", 128, idle)
	s.met("http connections, gave way", before, 1)
	s.stands("connections without a handshake")
	begun, err := slow.Dial(s.ctx, "tcp", serverAddr+":443")
	must(t, err)
	defer begun.Close()
	s.passes(opened, 5000)
	begun.SetDeadline(time.Now().Add(5 * time.Second))
	if err := tls.Client(begun, &tls.Config{InsecureSkipVerify: true}).Handshake(); err != nil {
		t.Errorf("the slow machine is pushed out of its handshake: %v", err)
	}
	stop()

	told := s.dropped("events of causes, too many")
	var turn atomic.Int64
	opened, stop = s.cling(s.addrs, "443", 3, func(_ context.Context, c net.Conn) {
		switch turn.Add(1) % 3 {
		case 0:
			io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
			io.Copy(io.Discard, c)
		case 1:
			tls.Client(c, &tls.Config{ServerName: "nobody"}).Handshake() // it trusts nobody
		default: // it hangs up
		}
	})
	s.stands("handshakes that fail")
	s.passes(opened, 3000)
	s.met("events of causes, too many", told, 1)
	stop()
	failed := 0
	for _, e := range s.events() {
		if e.Kind == "tls.failed" {
			failed++
		}
	}
	// A hundred at once, and one in a second; those that began no handshake count too.
	if most := 100 + int(time.Since(began).Seconds()) + 10; failed == 0 || failed > most {
		t.Errorf("%d events of %d handshakes, want no more than %d", failed, opened.Load(), most)
	}
	s.decided()
	t.Logf("%d connections, %d events", opened.Load(), failed)
}
