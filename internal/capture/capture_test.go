package capture

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

var (
	client = netip.MustParseAddrPort("10.77.0.100:68")
	server = netip.MustParseAddrPort("10.77.0.1:67")
	tid    = netip.MustParseAddrPort("10.77.0.100:2070")
	tftp   = netip.MustParseAddrPort("10.77.0.1:69")
)

var (
	client6 = netip.MustParseAddrPort("[fe80::5054:ff:fe00:1]:546")
	server6 = netip.MustParseAddrPort("[ff02::1:2]:547")
)

func mac(n int) boot.MAC { return boot.MAC{2, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }

func newRing() *Ring {
	at := time.Unix(1000, 0)
	return New(func() time.Time { at = at.Add(time.Millisecond); return at })
}

// pattern is n bytes that tell which packet they are of.
func pattern(seed, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(seed + i*7)
	}
	return b
}

func TestComesBack(t *testing.T) {
	r := newRing()
	sizes := []int{0, 1, chunkSize - head - 1, chunkSize - head, chunkSize - head + 1, 300, 2*chunkSize - head, 1499, maxPacket, maxPacket + 1}
	for i, n := range sizes {
		from, to := client, server
		if i%2 == 1 {
			from, to = tftp, tid // the other queue: the order must hold over both
		}
		r.Packet(boot.Packet{MAC: mac(1), From: from, To: to, Data: pattern(i, n)})
	}
	r.Packet(boot.Packet{MAC: mac(1), From: server, To: client, Data: pattern(9, 4), Full: 516})
	got := r.Of(mac(1))
	if len(got) != len(sizes)+1 {
		t.Fatalf("%d packets, want %d", len(got), len(sizes)+1)
	}
	for i, n := range sizes {
		p := got[i]
		if !bytes.Equal(p.Data, pattern(i, min(n, maxPacket))) || p.Full != n || !p.At.Equal(time.Unix(1000, 0).Add(time.Duration(i+1)*time.Millisecond)) || (i%2 == 0) != (p.From == client) || (i%2 == 0) != (p.To == server) {
			t.Errorf("packet %d of %d bytes came back as %v > %v, %d bytes of %d at %s", i, n, p.From, p.To, len(p.Data), p.Full, p.At)
		}
	}
	r.Packet(boot.Packet{MAC: mac(2), From: netip.MustParseAddrPort("[fe80::5054:ff:fe00:1%eth0]:546"), To: server6})
	r.Packet(boot.Packet{MAC: mac(2), From: netip.MustParseAddrPort("[::ffff:10.77.0.100]:68"), To: server})
	if six := r.Of(mac(2)); len(six) != 2 || six[0].From != client6 || six[0].To != server6 || six[1].From != client {
		t.Errorf("by IPv6 %+v", six)
	}
	if p := got[len(sizes)]; p.Full != 516 || len(p.Data) != 4 {
		t.Errorf("a header came back with %d bytes of %d", len(p.Data), p.Full)
	}
	if s := r.Stats(); s.Added != uint64(len(sizes)+3) || s.Cut != 2 || s.Pushed+s.Evicted+s.Odd != 0 {
		t.Errorf("%+v", s)
	}
}

func TestNotOurs(t *testing.T) {
	r := newRing()
	r.Packet(boot.Packet{From: client, To: server})
	r.Packet(boot.Packet{MAC: mac(1), From: netip.MustParseAddrPort("[fd77::1]:69"), To: tftp})
	r.Packet(boot.Packet{MAC: mac(1), To: tftp})
	if n, s := len(r.Of(mac(1))), r.Stats(); n != 0 || s.Odd != 3 || s.Added != 0 {
		t.Errorf("%d packets, %+v", n, s)
	}
}

// TestBounds: each machine has its share of each kind, the oldest machine goes
// first, and every chunk is either in a packet or free.
func TestBounds(t *testing.T) {
	r := newRing()
	for i := range 200 {
		r.Packet(boot.Packet{MAC: mac(1), From: tid, To: tftp, Data: pattern(i, 4)})
	}
	r.Packet(boot.Packet{MAC: mac(1), From: client, To: server, Data: pattern(0, 300)})
	got := r.Of(mac(1))
	if len(got) != perQueue+1 || got[0].Data[0] != 200-perQueue || got[perQueue].From != client {
		t.Errorf("%d packets, the first is number %d", len(got), got[0].Data[0])
	}
	for i := range 200 {
		r.Packet(boot.Packet{MAC: mac(2), From: client, To: server, Data: pattern(i, maxPacket)})
	}
	if n := len(r.Of(mac(2))); n != queueBytes/maxPacket {
		t.Errorf("%d large packets, want %d", n, queueBytes/maxPacket)
	}
	if p := r.Stats().Pushed; p != 200-perQueue+200-queueBytes/maxPacket {
		t.Errorf("%d pushed out", p)
	}
	// More machines than there is room for, in both ways.
	for i := range maxMachines - 2 {
		r.Packet(boot.Packet{MAC: mac(10 + i), From: client, To: server, Data: pattern(i, 300)})
	}
	r.Packet(boot.Packet{MAC: mac(1), From: client, To: server, Data: pattern(0, 300)}) // heard of again
	r.Packet(boot.Packet{MAC: mac(3), From: client, To: server, Data: pattern(0, 300)})
	if len(r.Of(mac(2))) != 0 || len(r.Of(mac(1))) == 0 || len(r.Of(mac(3))) != 1 || len(r.machines) != maxMachines {
		t.Errorf("one too many: %d, %d and %d packets of %d machines", len(r.Of(mac(2))), len(r.Of(mac(1))), len(r.Of(mac(3))), len(r.machines))
	}
	for i := range 1000 {
		for j := range 40 {
			r.Packet(boot.Packet{MAC: mac(100000 + i), From: client, To: server, Data: pattern(j, 1000)})
		}
	}
	if len(r.slabs) != maxSlabs || r.Stats().Evicted == 0 {
		t.Errorf("%d slabs, %+v", len(r.slabs), r.Stats())
	}
	if last := r.Of(mac(100999)); len(last) != queueBytes/1000 || !bytes.Equal(last[31].Data, pattern(39, 1000)) {
		t.Errorf("the newest machine has %d packets", len(last))
	}
	whole(t, r)
}

// whole checks that no chunk is lost and none is used twice.
func whole(t *testing.T, r *Ring) {
	t.Helper()
	used := map[uint32]string{}
	claim := func(c uint32, by string) {
		if other, twice := used[c]; twice {
			t.Fatalf("chunk %d belongs to %s and to %s", c, other, by)
		}
		used[c] = by
	}
	for c, n := r.free, r.left; n > 0; n-- {
		claim(c, "nobody")
		c = r.next[c]
	}
	listed := 0
	for m := r.oldest; m != nil; m = m.newer {
		listed++
		for i := range m.queues {
			q, sum := &m.queues[i], 0
			for j := range q.n {
				c := q.first[(q.head+j)%perQueue]
				_, kept, _ := r.header(c)
				sum += kept
				for n := chunks(kept); n > 0; n-- {
					claim(c, m.mac.String())
					c = r.next[c]
				}
			}
			if sum != q.bytes {
				t.Fatalf("%s has %d bytes and counts %d", m.mac, sum, q.bytes)
			}
		}
	}
	if len(used) != len(r.slabs)*slabChunks || listed != len(r.machines) {
		t.Fatalf("%d chunks of %d are accounted for, %d machines of %d", len(used), len(r.slabs)*slabChunks, listed, len(r.machines))
	}
}

// TestRandom: nothing is mixed up, whatever the order and the sizes.
func TestRandom(t *testing.T) {
	r := newRing()
	rnd := rand.New(rand.NewPCG(1, 2))
	want := map[boot.MAC][][]byte{}
	for i := range 50000 {
		m := mac(rnd.IntN(60))
		b := pattern(i, rnd.IntN(1600))
		r.Packet(boot.Packet{MAC: m, From: client, To: server, Data: b})
		want[m] = append(want[m], b[:min(len(b), maxPacket)])
	}
	whole(t, r)
	for m, all := range want {
		got := r.Of(m)
		if len(got) == 0 {
			t.Fatalf("%s is gone", m)
		}
		for i, p := range got {
			if !bytes.Equal(p.Data, all[len(all)-len(got)+i]) {
				t.Fatalf("%s: packet %d of %d is another", m, i, len(got))
			}
		}
	}
}

// TestPcap: every length and checksum is right, by a reader that knows none of
// our code: RFC 1071 sums to all ones over what is whole.
func TestPcap(t *testing.T) {
	r := newRing()
	for i, n := range []int{0, 1, 2, 301, 548} {
		r.Packet(boot.Packet{MAC: mac(1), From: client, To: server, Data: pattern(i, n)})
	}
	// Data whose sum comes out as zero must not say "no checksum".
	zero := Packet{From: client, To: server, Data: []byte{0, 0}, Full: 2}
	d := datagram(zero)
	binary.BigEndian.PutUint16(zero.Data, binary.BigEndian.Uint16(d[ip4Len+6:]))
	r.Packet(boot.Packet{MAC: mac(1), From: client, To: server, Data: zero.Data})
	r.Packet(boot.Packet{MAC: mac(1), From: tftp, To: tid, Data: []byte{0, 3, 0, 1}, Full: 516})
	for i, n := range []int{0, 1, 301} {
		r.Packet(boot.Packet{MAC: mac(1), From: client6, To: server6, Data: pattern(i, n)})
	}
	r.Packet(boot.Packet{MAC: mac(1), From: client6, To: server6, Data: []byte{0, 3, 0, 1}, Full: 516})
	ps := r.Of(mac(1))
	var f bytes.Buffer
	if err := Write(&f, ps); err != nil {
		t.Fatal(err)
	}
	if n := Count(f.Bytes()); n != len(ps) {
		t.Errorf("%d packets are counted, want %d", n, len(ps))
	}
	b := f.Bytes()
	if got := fmt.Sprintf("%x", b[:24]); got != "a1b23c4d00020004"+"0000000000000000"+"0000ffff"+"00000065" {
		t.Errorf("file header %s", got)
	}
	sum := func(b []byte) uint16 {
		var s uint32
		for i, x := range b {
			s += uint32(x) << (8 * (1 - i%2))
		}
		for s>>16 != 0 {
			s = s>>16 + s&0xffff
		}
		return uint16(s)
	}
	b = b[24:]
	for i, p := range ps {
		sec, frac, kept, full := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), int(binary.BigEndian.Uint32(b[8:])), int(binary.BigEndian.Uint32(b[12:]))
		ip := b[16 : 16+kept]
		b = b[16+kept:]
		headers, addrs, length := 28, ip[12:20], int(binary.BigEndian.Uint16(ip[2:]))
		if p.From.Addr().Is6() {
			headers, addrs, length = 48, ip[8:40], 40+int(binary.BigEndian.Uint16(ip[4:]))
			if got := fmt.Sprintf("%x", ip[:4]); got != "60000000" || ip[6] != 17 || ip[7] == 0 {
				t.Errorf("packet %d: IPv6 header %x", i, ip[:8])
			}
		} else if sum(ip[:20]) != 0xffff || ip[0] != 0x45 || ip[9] != 17 {
			t.Errorf("packet %d: IPv4 header %x", i, ip[:20])
		}
		udp := ip[headers-8:]
		if int64(sec) != p.At.Unix() || int(frac) != p.At.Nanosecond() || kept != headers+len(p.Data) || full != headers+p.Full || length != full || int(binary.BigEndian.Uint16(udp[4:])) != 8+p.Full {
			t.Errorf("packet %d: %d.%09d, %d of %d bytes; %x", i, sec, frac, kept, full, ip[:headers])
		}
		pseudo := slices.Concat(addrs, []byte{0, 17}, udp[4:6], udp)
		check := binary.BigEndian.Uint16(udp[6:])
		if whole := kept == full; whole && (check == 0 || sum(pseudo) != 0xffff) || !whole && check != 0 {
			t.Errorf("packet %d: UDP checksum %#x", i, check)
		}
	}
	if len(b) != 0 {
		t.Errorf("%d bytes are left", len(b))
	}
	if Count(nil) != 0 || Count([]byte{1, 2, 3}) != 0 {
		t.Error("packets are counted where there are none")
	}
}

// BenchmarkPacket is what each DHCP packet pays.
func BenchmarkPacket(b *testing.B) {
	for _, machines := range []int{1, 1000, 100000} {
		b.Run(fmt.Sprint(machines), func(b *testing.B) {
			r := New(time.Now)
			data := pattern(0, 320)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				i++
				r.Packet(boot.Packet{MAC: mac(i % machines), From: client, To: server, Data: data})
			}
		})
	}
}
