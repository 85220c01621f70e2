package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// reply is what a made-up server does with a question.
type reply struct {
	addrs  []string
	rcode  dnsmessage.RCode
	alias  bool            // a CNAME before the addresses
	cut    bool            // over UDP
	only   dnsmessage.Type // refuses all others
	before func(answer []byte) [][]byte
}

func (r reply) pack(t *testing.T, q dnsmessage.Message, cut bool) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RCode: r.rcode, Truncated: cut}, Questions: q.Questions}
	if r.only != 0 && r.only != q.Questions[0].Type {
		m.RCode = dnsmessage.RCodeRefused
	}
	h := dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Class: dnsmessage.ClassINET}
	if r.alias {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("other.example.")}})
	}
	for _, s := range r.addrs {
		a := netip.MustParseAddr(s)
		switch typ := q.Questions[0].Type; {
		case cut:
		case a.Is4() && typ == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && typ == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	b, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return b
}

// server answers on one port of UDP and TCP until the test ends.
func server(t *testing.T, r reply) netip.AddrPort {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		l.Close()
		t.Skipf("the port of TCP is taken in UDP: %v", err)
	}
	t.Cleanup(func() { l.Close(); u.Close() })
	parse := func(b []byte) (m dnsmessage.Message) {
		if err := m.Unpack(b); err != nil {
			t.Errorf("a question that cannot be read: %v", err)
		}
		return m
	}
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			answer := r.pack(t, parse(b[:n]), r.cut)
			if r.before != nil {
				for _, x := range r.before(answer) {
					u.WriteToUDPAddrPort(x, from)
				}
			}
			u.WriteToUDPAddrPort(answer, from)
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 512)
			n, _ := c.Read(b)
			answer := r.pack(t, parse(b[2:n]), false)
			c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
			c.Close()
		}
	}()
	return at
}

func TestLookup(t *testing.T) {
	for _, c := range []struct {
		name string
		reply
		want string // addresses, or what the error says
	}{
		{"both families", reply{addrs: []string{"10.77.0.1", "fd77::1"}}, "10.77.0.1 fd77::1"},
		{"an alias", reply{addrs: []string{"10.77.0.1"}, alias: true}, "10.77.0.1"},
		{"cut", reply{addrs: []string{"10.77.0.1", "10.77.0.2"}, cut: true}, "10.77.0.1 10.77.0.2"},
		{"unknown", reply{rcode: dnsmessage.RCodeNameError}, "it does not know the name"},
		{"no address", reply{alias: true}, "it does not know the name"},
		{"no word of IPv6", reply{addrs: []string{"10.77.0.1"}, only: dnsmessage.TypeA}, "10.77.0.1"},
		{"no word of IPv4", reply{addrs: []string{"fd77::1"}, only: dnsmessage.TypeAAAA}, "fd77::1"},
		{"refused", reply{rcode: dnsmessage.RCodeRefused}, "it answers Refused"},
		{"another's answers first", reply{addrs: []string{"10.77.0.1"}, before: func(b []byte) [][]byte {
			id := slices.Clone(b)
			id[0], id[len(id)-1] = id[0]^1, 99
			lie := slices.Clone(b)
			lie[len(lie)-1] ^= 1
			copy(lie[13:], "muffin") // another question
			return [][]byte{{}, {1, 2, 3}, id, lie}
		}}, "10.77.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Lookup(context.Background(), server(t, c.reply), "muster.example")
			var words []string
			for _, a := range got {
				words = append(words, a.String())
			}
			said := strings.Join(words, " ")
			if err != nil {
				said = err.Error()
			}
			if said != c.want {
				t.Errorf("got %q, want %q", said, c.want)
			}
		})
	}
}

// TestSilence: nothing listens there, which is told without a port that changes, and a
// caller who has no time does not wait.
func TestSilence(t *testing.T) {
	// A socket that hears its peer alone holds its port: nobody else gets it.
	u, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	at := u.LocalAddr().(*net.UDPAddr).AddrPort()
	if _, err := Lookup(context.Background(), at, "muster.example"); err == nil || err.Error() != "it does not answer: connection refused" {
		t.Errorf("got %v", err)
	}
	mute, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := Lookup(ctx, mute.LocalAddr().(*net.UDPAddr).AddrPort(), "muster.example"); !errors.Is(err, errSilent) {
		t.Errorf("got %v", err)
	}
	if _, err := Lookup(context.Background(), at, strings.Repeat("x", 300)); err == nil || !strings.Contains(err.Error(), "is no name") {
		t.Errorf("got %v", err)
	}
}

func FuzzRead(f *testing.F) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("muster.example."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, Response: true}, Questions: []dnsmessage.Question{q},
		Answers: []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, Body: &dnsmessage.AResource{A: [4]byte{10, 77, 0, 1}}}}}
	b, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		out, cut, err := read(b, 7, q)
		if len(out)*4 > len(b) || cut && err != nil || err != nil && out != nil {
			t.Errorf("%v %v %v of %d octets", out, cut, err, len(b))
		}
	})
}
