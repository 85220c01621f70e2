// server_test.go: the server on real sockets, with an independent client and
// with hand-made packets.

package tftpd

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pin/tftp/v3"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/nettest"
)

// shelf is a Decider and a Content with files in memory.
type shelf struct {
	gates map[string]chan error // files that are being fetched
	files map[string][]byte
	disk  bool // they may have to be waited for
	mu    sync.Mutex
	ended []boot.Outcome
	end   chan struct{}
	kept  []boot.Packet
	more  chan struct{} // there are more of them
}

// Packet is a boot.Recorder.
func (s *shelf) Packet(p boot.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.Data = bytes.Clone(p.Data)
	s.kept = append(s.kept, p)
	select {
	case s.more <- struct{}{}:
	default:
	}
}

func (s *shelf) Next(ctx context.Context, in boot.Sighting) (boot.Decision, error) {
	d, err := s.next(ctx, in)
	if d.Network = "lab"; in.Want.Path != "anybody" {
		d.ID.MAC = boot.MAC{2, 0, 0, 0, 0, 1}
	}
	return d, err
}

func (s *shelf) next(_ context.Context, in boot.Sighting) (boot.Decision, error) {
	switch {
	case in.Want.Path == "broken":
		return boot.Decision{}, errors.New("store failed")
	case in.Want.Path == "silent":
		return boot.Decision{Reply: boot.Ignore{}}, nil
	case in.Want.Path == "pending":
		return boot.Decision{Reply: boot.Refuse{Reason: "waits for approval"}}, nil
	case s.files[in.Want.Path] == nil:
		return boot.Decision{Reply: boot.Refuse{NotFound: true, Reason: "no such file"}}, nil
	}
	return boot.Decision{Reply: boot.File{Ref: boot.Ref{Name: in.Want.Path}}}, nil
}

func (s *shelf) Begin(boot.Sighting, boot.Decision, int64) boot.Transfer { return unmetered{} }

type unmetered struct{}

func (unmetered) Sent(int64) {}
func (unmetered) End()       {}

func (s *shelf) Done(_ context.Context, _ boot.Sighting, _ boot.Decision, o boot.Outcome) error {
	s.mu.Lock()
	s.ended = append(s.ended, o)
	s.mu.Unlock()
	s.end <- struct{}{}
	return nil
}

type body struct{ *bytes.Reader }

func (body) Close() error { return nil }

func (s *shelf) Open(_ context.Context, ref boot.Ref) (*boot.Object, error) {
	b := s.files[ref.Name]
	o := &boot.Object{Body: body{bytes.NewReader(b)}, Size: int64(len(b)), Name: ref.Name, Disk: s.disk}
	if gate := s.gates[ref.Name]; gate != nil {
		o.Whole = func(ctx context.Context) error {
			select {
			case err := <-gate:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return o, nil
}

func newShelf() *shelf {
	big, file := make([]byte, 3<<20+17), make([]byte, 60<<10)
	rand.Read(big)
	rand.Read(file)
	return &shelf{end: make(chan struct{}, 1000), more: make(chan struct{}, 1), files: map[string][]byte{"big": big, "file": file, "empty": {}, "block": make([]byte, 512), "text": []byte("a\nb\rc"), "nine": make([]byte, 9*512+1), "anybody": make([]byte, 512)}}
}

// families runs a test over IPv4 and over IPv6; host is where it listens.
func families(t *testing.T, test func(t *testing.T, host string)) {
	t.Run("IPv4", func(t *testing.T) { test(t, "127.0.0.1") })
	t.Run("IPv6", func(t *testing.T) { nettest.NeedIPv6(t); test(t, "::1") })
}

// start serves a shelf on a host's address, with settings.
func start(t *testing.T, host string, set ...func(*Server)) (*shelf, *Server, *net.UDPAddr) {
	t.Helper()
	s := newShelf()
	srv := NewServer(s, s, slog.New(slog.NewTextHandler(io.Discard, nil)))
	srv.Record = s
	for _, f := range set {
		f(srv)
	}
	return s, srv, serve(t, srv, net.JoinHostPort(host, "0"))[0]
}

// serve listens on an address and serves until the test ends.
func serve(t *testing.T, srv *Server, addr string) (at []*net.UDPAddr) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cs, err := Listen(ctx, addr)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, len(cs))
	for _, c := range cs {
		at = append(at, c.LocalAddr().(*net.UDPAddr))
		go func() { done <- srv.Serve(ctx, c) }()
	}
	t.Cleanup(func() {
		cancel()
		for range cs {
			if err := <-done; err != nil {
				t.Errorf("Serve: %v", err)
			}
		}
	})
	return at
}

func TestIndependentClient(t *testing.T) { families(t, testIndependentClient) }

func testIndependentClient(t *testing.T, host string) {
	for _, disk := range []bool{false, true} {
		independentClient(t, host, disk)
	}
}

func independentClient(t *testing.T, host string, disk bool) {
	s, _, addr := start(t, host, func(srv *Server) { srv.content.(*shelf).disk = disk })
	sizes := []int{0, 512, 1024, 1432}
	if testing.Short() {
		sizes = []int{0, 1432} // the server's own, and one that was asked for
	}
	for _, blk := range sizes {
		for name, want := range s.files {
			if name == "text" {
				continue
			}
			c, err := tftp.NewClient(addr.String())
			if err != nil {
				t.Fatal(err)
			}
			if blk != 0 {
				c.SetBlockSize(blk)
			}
			r, err := c.Receive(name, "octet")
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var b bytes.Buffer
			if _, err := r.WriteTo(&b); err != nil {
				t.Fatalf("%s, block size %d: %v", name, blk, err)
			}
			if !bytes.Equal(b.Bytes(), want) {
				t.Errorf("%s, block size %d: %d bytes arrived, want %d, or they differ", name, blk, b.Len(), len(want))
			}
			<-s.end
		}
	}
	for _, o := range s.ended {
		if o.Result != boot.Complete {
			t.Errorf("a transfer ended as %+v", o)
		}
	}
}

// raw is a client by hand.
type raw struct {
	t    *testing.T
	conn *net.UDPConn
	to   netip.AddrPort
	srv  netip.AddrPort
}

func newRaw(t *testing.T, addr *net.UDPAddr) *raw {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: addr.IP})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ap := addr.AddrPort()
	return &raw{t, c, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), netip.AddrPort{}}
}

func (r *raw) ask(fields ...string) {
	r.t.Helper()
	if _, err := r.conn.WriteToUDPAddrPort(rrq(fields...), r.to); err != nil {
		r.t.Fatal(err)
	}
}

func (r *raw) send(b ...byte) {
	r.t.Helper()
	if _, err := r.conn.WriteToUDPAddrPort(b, r.srv); err != nil {
		r.t.Fatal(err)
	}
}

func (r *raw) recv() []byte {
	r.t.Helper()
	b := make([]byte, 2000)
	r.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, from, err := r.conn.ReadFromUDPAddrPort(b)
	if err != nil {
		r.t.Fatal(err)
	}
	r.srv = from
	return b[:n]
}

func TestProbe(t *testing.T) { families(t, testProbe) }

func testProbe(t *testing.T, host string) {
	blk := map[string]int{"127.0.0.1": 1468, "::1": 1228}[host] // what edk2 asks for
	for _, code := range []byte{0, 8} {
		s, srv, addr := start(t, host)
		c := newRaw(t, addr)
		c.ask("big", "octet", "tsize", "0", "blksize", fmt.Sprint(blk), "windowsize", "4")
		want := fmt.Sprintf("\x00\x06blksize\x00%d\x00tsize\x00%d\x00windowsize\x004\x00", blk, len(s.files["big"]))
		if got := c.recv(); string(got) != want {
			t.Fatalf("OACK %q, want %q", got, want)
		}
		c.send(append([]byte{0, 5, 0, code}, "User aborted the transfer\x00"...)...)
		<-s.end
		if o := s.ended[0]; o.Result != boot.Probe || srv.Stats.Probes.Load() != 1 {
			t.Errorf("error %d after the OACK counts as %s, want a probe", code, o.Result)
		}
	}
}

func TestErrors(t *testing.T) { families(t, testErrors) }

func testErrors(t *testing.T, host string) {
	_, _, addr := start(t, host)
	for _, c := range []struct {
		packet []byte
		want   string
	}{
		{rrq("nothing", "octet"), "\x00\x05\x00\x01no such file\x00"},
		{rrq("pending", "octet"), "\x00\x05\x00\x02waits for approval\x00"},
		{rrq("../../etc/passwd", "octet"), "\x00\x05\x00\x02bad file name\x00"},
		{rrq(`..\..\etc\passwd`, "octet"), "\x00\x05\x00\x02bad file name\x00"},
		{rrq("broken", "octet"), "\x00\x05\x00\x00server is in trouble, try again\x00"},
		{rrq("big", "mail"), "\x00\x05\x00\x04mode is neither octet nor netascii\x00"},
		{append([]byte{0, 2}, "up\x00octet\x00"...), "\x00\x05\x00\x02this server is read-only\x00"},
	} {
		r := newRaw(t, addr)
		if _, err := r.conn.WriteToUDPAddrPort(c.packet, r.to); err != nil {
			t.Fatal(err)
		}
		if got := r.recv(); string(got) != c.want {
			t.Errorf("%q: %q, want %q", c.packet, got, c.want)
		}
	}
}

func TestNetascii(t *testing.T) { families(t, testNetascii) }

func testNetascii(t *testing.T, host string) {
	s, _, addr := start(t, host)
	c := newRaw(t, addr)
	c.ask("text", "netascii", "tsize", "0")
	if got := c.recv(); string(got) != "\x00\x03\x00\x01a\r\nb\r\x00c" {
		t.Errorf("%q", got)
	}
	c.send(0, 4, 0, 1)
	<-s.end
}

// TestRepeatedRequest: a doubled request is one transfer.
func TestRepeatedRequest(t *testing.T) { families(t, testRepeatedRequest) }

func testRepeatedRequest(t *testing.T, host string) {
	s, srv, addr := start(t, host)
	c := newRaw(t, addr)
	for range 50 {
		c.ask("block", "octet")
	}
	if got := c.recv(); got[1] != opDATA || len(got) != 516 {
		t.Fatalf("%q", got[:4])
	}
	first := c.srv
	c.send(0, 4, 0, 1)
	if got := c.recv(); len(got) != 4 || c.srv != first {
		// A repetition of block 1 from the same session is fine, a second
		// session is not.
		if c.srv != first {
			t.Fatal("a second session answers")
		}
		c.recv()
	}
	c.send(0, 4, 0, 2)
	<-s.end
	if n := len(s.ended); n != 1 {
		t.Errorf("%d transfers for one request that came 50 times", n)
	}
	if srv.Stats.Repeated.Load() == 0 {
		t.Error("repetitions were not counted")
	}
}

// TestLimits: one address cannot have all the transfers.
func TestLimits(t *testing.T) { families(t, testLimits) }

func testLimits(t *testing.T, host string) {
	_, srv, addr := start(t, host)
	for range perClient + 20 {
		newRaw(t, addr).ask("big", "octet", "tsize", "0")
	}
	deadline := time.Now().Add(5 * time.Second)
	for srv.Stats.Dropped.Load() != 20 {
		if time.Now().After(deadline) {
			t.Fatalf("%d requests over the limit were dropped, want 20", srv.Stats.Dropped.Load())
		}
		time.Sleep(time.Millisecond) // polls a counter, for lack of an event
	}
}

// TestCrowd: the more transfers run, the fewer one address may have. There is a
// limit for all. A transfer that ended leaves nothing behind.
func TestCrowd(t *testing.T) {
	s, srv, addr := start(t, "127.0.0.1")
	local := netip.MustParseAddr("127.0.0.1")
	// others registers so many transfers of other clients, and so many of ours.
	others := func(n, ours int) {
		srv.mu.Lock()
		defer srv.mu.Unlock()
		clear(srv.sessions)
		clear(srv.byClient)
		for i := range n {
			ses := new(session)
			ses.heard.Store(true)
			srv.sessions[netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)] = ses
		}
		if ours > 0 {
			srv.byClient[local] = ours
		}
	}
	for _, c := range []struct {
		all, ours int
		want      bool
	}{
		{0, 63, true}, {0, 64, false},
		{1024, 63, true}, {1025, 7, true}, {1025, 8, false},
		{2047, 0, true}, {2048, 0, false},
	} {
		others(c.all, c.ours)
		before := srv.Stats.Dropped.Load()
		r := newRaw(t, addr)
		r.ask("block", "octet")
		if c.want {
			if got := r.recv(); got[1] != opDATA {
				t.Fatalf("%+v: %q", c, got[:4])
			}
			r.send(0, 4, 0, 1)
			r.recv()
			r.send(0, 4, 0, 2)
			<-s.end
		}
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) { // polls, for lack of an event
			srv.mu.Lock()
			all, ours, listed := len(srv.sessions), srv.byClient[local], len(srv.byClient)
			srv.mu.Unlock()
			dropped := srv.Stats.Dropped.Load() > before
			if all == c.all && ours == c.ours && listed == min(1, c.ours) && dropped != c.want {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%+v: %d transfers, %d of ours, %d addresses, dropped %v", c, all, ours, listed, dropped)
			}
		}
	}
}

// TestFullIsNotShut: when every slot is taken, the oldest transfer that nobody has
// acknowledged gives way. One that a machine has acknowledged does not.
func TestFullIsNotShut(t *testing.T) {
	s, srv, addr := start(t, "127.0.0.1")
	var gone []int
	srv.mu.Lock()
	for i := range MaxTransfers {
		ses := &session{from: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)}
		ses.heard.Store(i < 3)
		ses.cancel = func() { gone = append(gone, i) }
		srv.sessions[ses.from], srv.byClient[ses.from.Addr()] = ses, 1
		ses.place = srv.byAge.PushBack(ses)
	}
	srv.mu.Unlock()
	for range 2 {
		r := newRaw(t, addr)
		r.ask("block", "octet")
		if got := r.recv(); got[1] != opDATA {
			t.Fatalf("%q", got[:4])
		}
		r.send(0, 4, 0, 1)
		r.recv()
		r.send(0, 4, 0, 2)
		<-s.end
		srv.mu.Lock()
		again := &session{from: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(len(gone))}), 1), cancel: func() {}}
		srv.sessions[again.from], srv.byClient[again.from.Addr()] = again, 1
		again.place = srv.byAge.PushBack(again)
		srv.mu.Unlock()
	}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if !slices.Equal(gone, []int{3, 4}) || srv.Stats.GaveWay.Load() != 2 || srv.Stats.Dropped.Load() != 0 {
		t.Errorf("%v gave way (%d), %d were dropped", gone, srv.Stats.GaveWay.Load(), srv.Stats.Dropped.Load())
	}
	clear(srv.sessions)
	clear(srv.byClient)
}

// TestStrangersGiveWay: a machine that may boot finds a slot in the place of a stranger's
// transfer, and of one in its own name that nobody acknowledges; a stranger does not find
// any in the place of such a machine's.
func TestStrangersGiveWay(t *testing.T) {
	us := netip.MustParseAddr("127.0.0.1")
	var weAre atomic.Bool
	s, srv, addr := start(t, "127.0.0.1", func(s *Server) {
		s.Admitted = func(a netip.Addr) bool { return a == us && weAre.Load() }
	})
	for _, c := range []struct {
		name   string
		inside string // the oldest first, and the last again and again: stranger, machine, one in our name; capitals were acknowledged
		many   int
		weAre  bool
		leaves int // -1: we find no slot
	}{
		{"a machine, by a stranger that nobody has heard", "MmSs", MaxTransfers, true, 3},
		{"a machine, by a stranger that was heard", "mMSS", MaxTransfers, true, 2},
		{"a machine, by one that nobody has heard", "Mmmm", MaxTransfers, true, 1},
		{"a machine, by none", "MMM", MaxTransfers, true, -1},
		{"a stranger, by a stranger that nobody has heard", "mSs", MaxTransfers, false, 2},
		{"a stranger, by none", "mSMS", MaxTransfers, false, -1},
		{"a machine, by one in its name", "sMOoo", perClient + 2, true, 3},
		{"a machine that has its share", "sMO", perClient + 2, true, -1},
		{"a stranger that has its share", "sMOoo", perClient + 2, false, -1},
	} {
		var gone []int
		var inside []*session
		weAre.Store(c.weAre)
		srv.mu.Lock()
		for i := range c.many {
			kind := c.inside[min(i, len(c.inside)-1)]
			ses := &session{from: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1), cancel: func() { gone = append(gone, i) }}
			if kind|' ' == 'o' {
				ses.from = netip.AddrPortFrom(us, uint16(1+i))
			}
			ses.admitted = kind|' ' == 'm' || kind|' ' == 'o' && c.weAre
			ses.heard.Store(kind < 'a')
			srv.sessions[ses.from] = ses
			srv.byClient[ses.from.Addr()]++
			ses.place = srv.byAge.PushBack(ses)
			inside = append(inside, ses)
		}
		srv.mu.Unlock()
		dropped := srv.Stats.Dropped.Load()
		r := newRaw(t, addr)
		r.ask("block", "octet")
		if c.leaves >= 0 {
			if got := r.recv(); got[1] != opDATA {
				t.Fatalf("%s: %q", c.name, got[:4])
			}
			r.send(0, 4, 0, 1)
			r.recv()
			r.send(0, 4, 0, 2)
			<-s.end
		} else {
			for deadline := time.Now().Add(5 * time.Second); srv.Stats.Dropped.Load() == dropped; time.Sleep(time.Millisecond) { // polls a counter, for lack of an event
				if time.Now().After(deadline) {
					t.Fatalf("%s: it was not dropped", c.name)
				}
			}
		}
		srv.mu.Lock()
		if want := c.leaves; want >= 0 && !slices.Equal(gone, []int{want}) || want < 0 && len(gone) > 0 {
			t.Errorf("%s: %v gave way, want %d", c.name, gone, want)
		}
		for _, ses := range inside {
			srv.byAge.Remove(ses.place)
			srv.drop(ses)
		}
		srv.mu.Unlock()
	}
}

// TestMidTransferError: a client that gives up in the middle is no success.
func TestMidTransferError(t *testing.T) { families(t, testMidTransferError) }

func testMidTransferError(t *testing.T, host string) {
	s, _, addr := start(t, host)
	c := newRaw(t, addr)
	c.ask("big", "octet")
	c.recv()
	c.send(0, 4, 0, 1)
	c.recv()
	c.send(append([]byte{0, 5, 0, 3}, "disk full\x00"...)...)
	<-s.end
	if o := s.ended[0]; o.Result != boot.CutShort || o.Bytes != 512 || o.Err != "client says error 3: disk full" {
		t.Errorf("ended as %+v", o)
	}
}

// TestFetched: who asks for a file that is being fetched waits for all of it, and nobody
// else does; one that cannot be had is told so, and the end of the server ends the waiting.
func TestFetched(t *testing.T) {
	gate := make(chan error)
	sh := newShelf()
	sh.gates = map[string]chan error{"big": gate}
	srv := NewServer(sh, sh, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	cs, err := Listen(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, cs[0]) }()
	at := cs[0].LocalAddr().(*net.UDPAddr)
	a, b, c := newRaw(t, at), newRaw(t, at), newRaw(t, at)
	a.ask("big", "octet")
	c.ask("block", "octet")
	if got := c.recv(); len(got) != 516 {
		t.Errorf("another file: %q", got)
	}
	gate <- nil
	if got := a.recv(); len(got) != 516 {
		t.Errorf("the file that came: %q", got)
	}
	b.ask("big", "octet")
	gate <- boot.ErrLater
	if got := b.recv(); !bytes.HasPrefix(got, []byte{0, 5}) || !bytes.Contains(got, []byte("ask again")) {
		t.Errorf("one that cannot be had: %q", got)
	}
	b.ask("big", "octet")
	b.ask("block", "octet") // read behind the one before: that waits by now
	cancel()
	if err := <-done; err != nil {
		t.Errorf("%v", err)
	}
}
