// Package dns asks one name server for the addresses of a name, as a machine does that
// was told of this server and no other. It does not look at this computer's hosts file
// or resolver, caches nothing and follows nothing: whoever asks decides what the answer
// is good for.
package dns

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Port is where name servers listen.
const Port = 53

const (
	tries   = 3
	wait    = time.Second // for each try
	largest = 4096        // octets of an answer that are read
)

// ErrUnknown is the answer of a server that knows no address of the name.
var ErrUnknown = errors.New("it does not know the name")

// Lookup returns all addresses, of both families, that the server gives for a name. A
// server that refuses to say anything of one family, as dnsmasq does where it has a
// record of the other alone, is taken for what it says of the other. Errors are for
// people and leave out the server and the name. Apart from ErrUnknown they say that it
// did not answer, or that it refused.
func Lookup(ctx context.Context, server netip.AddrPort, name string) ([]netip.Addr, error) {
	n, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return nil, fmt.Errorf("%q is no name: %w", name, err)
	}
	var out []netip.Addr
	var failed error
	for _, typ := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		a, err := ask(ctx, server, dnsmessage.Question{Name: n, Type: typ, Class: dnsmessage.ClassINET})
		out, failed = append(out, a...), cmp.Or(failed, err)
		if errors.Is(err, errSilent) {
			break
		}
	}
	if len(out) == 0 {
		return nil, cmp.Or(failed, ErrUnknown)
	}
	return out, nil
}

// ask puts one question, again if nothing comes, and over TCP if the answer was cut.
func ask(ctx context.Context, server netip.AddrPort, q dnsmessage.Question) (out []netip.Addr, err error) {
	for range tries {
		out, cut, e := exchange(ctx, "udp", server, q)
		if cut {
			out, _, e = exchange(ctx, "tcp", server, q)
		}
		if e == nil || !errors.Is(e, errSilent) {
			return out, e
		}
		if err == nil || err == errSilent { // the first cause that is known stays: a kernel says it once a second
			err = e
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

var errSilent = errors.New("it does not answer")

func exchange(ctx context.Context, network string, server netip.AddrPort, q dnsmessage.Question) (out []netip.Addr, cut bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, false, silent(err)
	}
	defer c.Close()
	context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	var id [2]byte
	rand.Read(id[:])
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: binary.BigEndian.Uint16(id[:]), RecursionDesired: true}, Questions: []dnsmessage.Question{q}}
	b, err := m.Pack()
	if err != nil {
		return nil, false, err
	}
	if network == "tcp" {
		b = append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) // RFC 1035 4.2.2
	}
	if _, err := c.Write(b); err != nil {
		return nil, false, silent(err)
	}
	for {
		b, err := receive(c, network == "tcp")
		if err != nil {
			return nil, false, silent(err)
		}
		out, cut, err := read(b, m.ID, q)
		if errors.Is(err, errOther) {
			continue // somebody else's word, or an answer to an earlier try
		}
		return out, cut, err
	}
}

// silent says what is known of the cause, without ports, so that the same cause is the
// same text each time.
func silent(err error) error {
	var no syscall.Errno
	if errors.As(err, &no) {
		return fmt.Errorf("%w: %s", errSilent, no)
	}
	return errSilent
}

func receive(c net.Conn, stream bool) ([]byte, error) {
	b := make([]byte, largest)
	if !stream {
		n, err := c.Read(b)
		return b[:n], err
	}
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > len(b) {
		return nil, fmt.Errorf("an answer of %d octets", n)
	}
	_, err := io.ReadFull(c, b[:n])
	return b[:n], err
}

var errOther = errors.New("no answer to this question")

// read takes the addresses out of an answer. Aliases on the way to them are left aside.
func read(b []byte, id uint16, q dnsmessage.Question) (out []netip.Addr, cut bool, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || h.ID != id || !h.Response {
		return nil, false, errOther
	}
	qs, err := p.AllQuestions()
	if err != nil || len(qs) != 1 || qs[0].Type != q.Type || !strings.EqualFold(qs[0].Name.String(), q.Name.String()) {
		return nil, false, errOther
	}
	switch {
	case h.Truncated:
		return nil, true, nil
	case h.RCode == dnsmessage.RCodeNameError:
		return nil, false, ErrUnknown
	case h.RCode != dnsmessage.RCodeSuccess:
		return nil, false, fmt.Errorf("it answers %s", strings.TrimPrefix(h.RCode.String(), "RCode"))
	}
	for {
		r, err := p.Answer()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return out, false, nil
		}
		if err != nil {
			return nil, false, fmt.Errorf("its answer cannot be read: %w", err)
		}
		switch x := r.Body.(type) {
		case *dnsmessage.AResource:
			out = append(out, netip.AddrFrom4(x.A))
		case *dnsmessage.AAAAResource:
			out = append(out, netip.AddrFrom16(x.AAAA))
		}
	}
}
