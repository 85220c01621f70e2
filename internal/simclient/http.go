package simclient

// This file loads by HTTP and HTTPS, as strictly as the program that it
// simulates: firmware follows no redirect and requires a length, iPXE follows
// ten redirects.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// web is one machine's HTTP client.
type web struct {
	client *http.Client
	t      *http.Transport
}

const (
	maxRedirects = 10
	headerWait   = 30 * sec
	maxHeader    = 64 << 10
	// window is the receive window of iPXE. With windows that grow, a thousand
	// machines in one process would need more memory than the kernel has for
	// TCP.
	window = 256 << 10
)

var errRedirect = errors.New("redirect")

// newWeb makes a client that sends from src. device, if any, binds it to the
// interface, whatever routes the host has.
func newWeb(src netip.Addr, device string, dns []netip.Addr, roots *x509.CertPool, follow bool) *web {
	d := &net.Dialer{Timeout: 10 * sec, KeepAlive: -1}
	if src.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: src.AsSlice()}
	}
	d.Control = func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { err = dialFrom(fd, device) }); e != nil {
			return e
		}
		return err
	}
	d.Resolver = resolver(src, dns)
	t := &http.Transport{
		Proxy: nil, DialContext: d.DialContext, DisableCompression: true, ForceAttemptHTTP2: false, MaxIdleConnsPerHost: 1, MaxConnsPerHost: 4,
		ResponseHeaderTimeout: headerWait, MaxResponseHeaderBytes: maxHeader, TLSHandshakeTimeout: 20 * sec, WriteBufferSize: 2 << 10, ReadBufferSize: 32 << 10,
		TLSClientConfig: &tls.Config{RootCAs: roots, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12},
		TLSNextProto:    map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	w := &web{t: t, client: &http.Client{Transport: t}}
	w.client.CheckRedirect = func(_ *http.Request, via []*http.Request) error {
		if !follow {
			return http.ErrUseLastResponse
		}
		if len(via) > maxRedirects {
			return errRedirect
		}
		return nil
	}
	return w
}

// resolver asks the name servers of the lease; firmware has no others.
func resolver(src netip.Addr, dns []netip.Addr) *net.Resolver {
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		if len(dns) == 0 {
			return nil, errors.New("the lease names no name server (option 6)")
		}
		d := net.Dialer{Timeout: 5 * sec}
		if src.IsValid() && network == "udp" {
			d.LocalAddr = &net.UDPAddr{IP: src.AsSlice()}
		}
		return d.DialContext(ctx, network, netip.AddrPortFrom(dns[0], 53).String())
	}}
}

func (w *web) close() { w.t.CloseIdleConnections() }

// httpError is an answer with a status other than success.
type httpError struct {
	code int
	text string
	to   string // of a redirect
	said string // first line of a plain body
}

func (e *httpError) Status() int { return e.code }

func (e *httpError) Error() string {
	if e.to != "" {
		return fmt.Sprintf("the server answers %s to %s, and firmware follows no redirect", e.text, shown(e.to))
	}
	if e.said != "" {
		return "the server answers " + shown(e.text) + ": " + shown(e.said)
	}
	return "the server answers " + shown(e.text)
}

// ask sends a request and judges the head of the answer.
func (w *web) ask(ctx context.Context, method, target, agent string, header http.Header, body io.Reader) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("%s is no URL: %w", shown(target), err)
	}
	if q.URL.Scheme != "http" && q.URL.Scheme != "https" || q.URL.Host == "" {
		return nil, fmt.Errorf("%s is no URL of HTTP", shown(target))
	}
	for k, v := range header {
		q.Header[k] = v
	}
	q.Header.Set("User-Agent", agent)
	q.Header.Set("Accept", "*/*")
	a, err := w.client.Do(q)
	if err != nil {
		return nil, dialError(err)
	}
	if a.StatusCode >= 300 || a.StatusCode < 200 {
		e := &httpError{code: a.StatusCode, text: a.Status}
		if a.StatusCode < 400 {
			e.to = a.Header.Get("Location")
		}
		said, _ := io.ReadAll(io.LimitReader(a.Body, 4<<10))
		a.Body.Close()
		if line, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n"); strings.HasPrefix(a.Header.Get("Content-Type"), "text/plain") && len(line) < 200 && !strings.EqualFold(line, http.StatusText(a.StatusCode)) && line != a.Status {
			e.said = line
		}
		return nil, e
	}
	return a, nil
}

// dialError explains a failure to connect.
func dialError(err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.As(err, &verify) {
		err = verify.Err
	}
	switch {
	case errors.As(err, &unknown):
		who := ""
		if c := unknown.Cert; c != nil {
			who = fmt.Sprintf(" %q by %q", shown(c.Subject.CommonName), shown(c.Issuer.CommonName))
		}
		return fault("enrol the server's CA in the firmware, and name it here with --ca FILE", "the certificate%s is signed by nobody whom this machine trusts", who)
	case errors.As(err, &name):
		return fault("a URL with an IP address wants that address in the certificate (iPAddress), one with a name the name", "the certificate is for another name than %s: %v", shown(name.Host), err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fault("is the machine's clock right? firmware checks the dates too", "the certificate is not valid today: %v", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fault("is the HTTP server running, on that address and port?", "the connection is refused: %v", err)
	case errors.Is(err, errRedirect):
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	return err
}

// sized sends HEAD as firmware does; without a length firmware stops.
func (w *web) sized(ctx context.Context, target string) (int64, error) {
	a, err := w.ask(ctx, http.MethodHead, target, agentFirmware, nil, nil)
	if err != nil {
		return 0, err
	}
	a.Body.Close()
	if a.ContentLength < 0 {
		return 0, fault("the server must send Content-Length to HEAD", "the answer to HEAD has no length")
	}
	return a.ContentLength, nil
}

const (
	agentFirmware = "UefiHttpBoot/1.0"
	agentIPXE     = "iPXE/1.21.1"
	agentONIE     = "Wget"
)

// read fetches a file into dst, at most limit bytes. It gives up after stall
// without a byte.
func (w *web) read(ctx context.Context, target, agent string, header http.Header, dst io.Writer, limit int64) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a, err := w.ask(ctx, http.MethodGet, target, agent, header, nil)
	if err != nil {
		return 0, err
	}
	defer a.Body.Close()
	if a.ContentLength > limit {
		return 0, fmt.Errorf("it is %d bytes long, more than this machine takes (%d)", a.ContentLength, limit)
	}
	stalled := time.AfterFunc(headerWait, cancel)
	defer stalled.Stop()
	n, err := io.Copy(alive{dst, stalled}, io.LimitReader(a.Body, limit+1))
	switch {
	case n > limit:
		return n, fmt.Errorf("it is longer than this machine takes (%d bytes)", limit)
	case err != nil && ctx.Err() != nil:
		return n, fmt.Errorf("after %d bytes nothing came for %s", n, headerWait)
	case err != nil:
		return n, fmt.Errorf("after %d bytes: %w", n, err)
	}
	return n, nil
}

// alive extends the deadline of a transfer that makes progress.
type alive struct {
	w io.Writer
	t *time.Timer
}

func (a alive) Write(b []byte) (int, error) {
	a.t.Reset(headerWait)
	return a.w.Write(b)
}
