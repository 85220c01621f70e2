// tls.go: HTTPS on one listener for two kinds of client. Clients with TLS 1.3
// or ephemeral elliptic curves get Go's own defaults. Most firmware in the
// field has neither and can only do RSA key exchange. It is served if the
// configuration allows that.

package httpboot

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/musterboot/muster/boot"
)

// Secure is how HTTPS is served.
type Secure struct {
	// Certificate is the server's, for one handshake.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Firmware reports whether clients without ephemeral key exchange are
	// served. Whoever gets the key later can read what those clients received.
	Firmware func() bool
}

// shakeTime bounds a handshake: emulated and old machines take seconds for one.
const shakeTime = 20 * time.Second

// firmwareSuites are the ciphers that both UEFI and Go know. Debian's builds,
// 12 and 13, have no elliptic curves, and RSA with GCM is the best that is
// left.
var firmwareSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_RSA_WITH_AES_128_CBC_SHA256, tls.TLS_RSA_WITH_AES_256_CBC_SHA, tls.TLS_RSA_WITH_AES_128_CBC_SHA,
}

// ephemeral reports a client that can do an ephemeral key exchange.
func ephemeral(h *tls.ClientHelloInfo) bool {
	if slices.Contains(h.SupportedVersions, tls.VersionTLS13) {
		return true
	}
	if len(h.SupportedCurves) == 0 {
		return false
	}
	return slices.ContainsFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool {
		return slices.Contains(h.CipherSuites, s.ID)
	})
}

// config answers one ClientHello.
func (s *Secure) config() *tls.Config {
	base := &tls.Config{
		MinVersion: tls.VersionTLS12,
		// HTTP/2 is not offered: firmware speaks only 1.1, and several streams
		// on one connection do not help a client that reads one large file.
		NextProtos:     []string{"http/1.1"},
		GetCertificate: s.Certificate,
	}
	firmware := base.Clone()
	firmware.CipherSuites = firmwareSuites
	firmware.MaxVersion = tls.VersionTLS12
	c := base.Clone()
	c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if x, ok := h.Conn.(*shaking); ok {
			x.hello = h
		}
		if !ephemeral(h) && s.Firmware() {
			return firmware, nil
		}
		return base, nil
	}
	return c
}

// shaking is a connection in its handshake; it keeps what both sides sent.
type shaking struct {
	*conn
	hello *tls.ClientHelloInfo
}

// handshakes yields connections after their handshake. A handshake that fails
// is put on its machine's timeline; net/http would only log a line.
type handshakes struct {
	*limited
	ctx    context.Context
	secure *Secure
	config *tls.Config
	failed func(net.Conn, *boot.TLSFault)
	ready  chan net.Conn
	err    error // of accepting; read after ready is closed
	wg     sync.WaitGroup
}

func (s *handshakes) Accept() (net.Conn, error) {
	if c, ok := <-s.ready; ok {
		return c, nil
	}
	return nil, s.err
}

// run accepts until the listener closes.
func (s *handshakes) run() {
	for {
		c, err := s.limited.Accept()
		if err != nil {
			s.err = err
			break
		}
		s.wg.Go(func() { s.shake(c.(*conn)) })
	}
	s.wg.Wait()
	close(s.ready)
}

func (s *handshakes) shake(c *conn) {
	x := &shaking{conn: c}
	t := tls.Server(x, s.config)
	ctx, cancel := context.WithTimeout(s.ctx, shakeTime)
	err := t.HandshakeContext(ctx)
	cancel()
	if err == nil {
		select {
		case s.ready <- t:
			return
		case <-s.ctx.Done():
			err = s.ctx.Err()
		}
	}
	c.Close()
	s.leave(c)
	if s.ctx.Err() == nil {
		s.failed(c, s.fault(x, err))
	}
}

// Alerts that clients send (RFC 8446 6.2), by the names that Go has for them.
const (
	unknownCA       = "unknown certificate authority"
	badCertificate  = "bad certificate"
	certExpired     = "expired certificate"
	certUnknown     = "unknown certificate"
	handshakeFailed = "handshake failure"
)

// fault says why a handshake failed, for the person at the machine: its screen
// says "network error" for every cause.
func (s *handshakes) fault(x *shaking, err error) *boot.TLSFault {
	f := &boot.TLSFault{Detail: err.Error()}
	var noTLS tls.RecordHeaderError
	local := addrOf(x.LocalAddr()).WithZone("")
	h := x.hello
	leaf := s.leaf(h)
	says := func(alert string) bool {
		return strings.Contains(err.Error(), "remote error") && strings.Contains(err.Error(), alert)
	}
	switch {
	case errors.As(err, &noTLS):
		f.Cause, f.Text = boot.NotTLS, "it speaks something else than TLS on the HTTPS port: is its URL http:// with the port of https?"
	case h == nil:
		f.Cause, f.Text = boot.Silent, "it connected and began no handshake"
	case !ephemeral(h) && !s.secure.Firmware():
		f.Cause, f.Text = boot.NoCipher, "its firmware has no ephemeral key exchange, and RSA key exchange is not allowed: set firmware_tls = true in [https], or boot it over http"
	case strings.Contains(err.Error(), "no cipher suite"), strings.Contains(err.Error(), "unsupported version"), says(handshakeFailed):
		f.Cause, f.Text = boot.NoCipher, fmt.Sprintf("no cipher or version that both sides have; it offers %s", offers(h))
	case leaf != nil && time.Now().After(leaf.NotAfter):
		f.Cause, f.Text = boot.Clock, "the server's certificate ended on "+leaf.NotAfter.Format(time.DateOnly)+": renew it"
	case leaf != nil && !covers(leaf, h, local):
		f.Cause, f.Text = boot.BadName, fmt.Sprintf("the server's certificate does not hold %s, which is the address in its URL: sign it for that address (subjectAltName IP:%s), or name one of its names as [https] host", local, local)
		if h.ServerName != "" {
			f.Text = fmt.Sprintf("the server's certificate does not hold %s, which is the name in its URL: sign it for that name (subjectAltName DNS:%[1]s)", boot.CleanText(h.ServerName, 100))
		}
	case says(certExpired):
		f.Cause, f.Text = boot.Clock, "it finds the certificate's dates wrong: compare its clock with this one, and the certificate's dates"
	case says(unknownCA), says(badCertificate), says(certUnknown), cutOff(err):
		// edk2 answers a certificate that it does not trust with one of these
		// alerts, or closes the connection.
		f.Cause, f.Text = boot.UnknownCA, "it does not trust the server's certificate: enrol the CA in its firmware setup (Tls Auth Configuration, Server CA; the file: muster ca export --der)"
		if leaf != nil && leaf.NotBefore.Year() > 2000 {
			f.Text += ", and check its clock: the certificate begins on " + leaf.NotBefore.Format(time.DateOnly)
		}
	default:
		f.Cause, f.Text = boot.OtherFault, "the handshake failed"
	}
	return f
}

// cutOff reports a client that hung up in the middle.
func cutOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "connection reset")
}

// leaf is the certificate that a client was shown, or nil.
func (s *handshakes) leaf(h *tls.ClientHelloInfo) *x509.Certificate {
	if h == nil {
		return nil
	}
	c, err := s.secure.Certificate(h)
	if err != nil || c == nil || len(c.Certificate) == 0 {
		return nil
	}
	if c.Leaf != nil {
		return c.Leaf
	}
	l, _ := x509.ParseCertificate(c.Certificate[0])
	return l
}

// covers reports whether a certificate is for the address that the client
// connected to, or for the name that it asked for.
func covers(leaf *x509.Certificate, h *tls.ClientHelloInfo, local netip.Addr) bool {
	if h.ServerName != "" {
		return leaf.VerifyHostname(h.ServerName) == nil
	}
	return leaf.VerifyHostname(local.String()) == nil
}

// offers lists a ClientHello's ciphers in short.
func offers(h *tls.ClientHelloInfo) string {
	var out []string
	for i, id := range h.CipherSuites {
		if i == 6 {
			out = append(out, fmt.Sprintf("and %d more", len(h.CipherSuites)-i))
			break
		}
		out = append(out, tls.CipherSuiteName(id))
	}
	return strings.Join(out, ", ")
}

// ServeTLS answers on l over TLS until ctx ends.
func ServeTLS(ctx context.Context, l net.Listener, h *Handler, sec *Secure) error {
	return serve(ctx, l, h, func(ll *limited) net.Listener {
		s := &handshakes{limited: ll, ctx: ctx, secure: sec, config: sec.config(), ready: make(chan net.Conn)}
		s.failed = func(c net.Conn, f *boot.TLSFault) { h.fault(ctx, c, f) }
		go s.run()
		return s
	})
}

// fault reports a failed handshake to the engine as a Sighting of its own.
func (h *Handler) fault(ctx context.Context, c net.Conn, f *boot.TLSFault) {
	h.Stats.Handshakes.Add(1)
	in := boot.Sighting{At: time.Now(), Via: boot.HTTP, Step: boot.Handshake, Proof: boot.ProofNone, Firmware: boot.Firmware{Arch: boot.ArchNone}, Fault: f}
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		ends(&in, a.AddrPort(), addrOf(c.LocalAddr()))
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, _ = h.ask.Next(ctx, in) // the engine logs its own errors
}
