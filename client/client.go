// client.go: one client for the socket of this computer and for an appliance elsewhere.

package client

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/musterboot/muster/boot"
)

// SocketName is the socket's file in the data directory.
const SocketName = "muster.sock"

// Client speaks to one appliance.
type Client struct {
	dir   string // of the daemon on this computer; "" for one elsewhere
	at    string // in front of every path
	token string
	http  *http.Client
	err   error // why nothing can be asked
}

// Failing is a client that answers everything with why there is none.
func Failing(err error) *Client { return &Client{err: err} }

// Local returns a client of the daemon that has a data directory on this computer; nothing
// is opened yet.
func Local(dataDir string) *Client {
	sock := filepath.Join(dataDir, SocketName)
	return &Client{dir: dataDir, at: "http://muster", http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", sock)
		},
	}}}
}

// Remote returns a client of an appliance elsewhere, by its URL and a token. ca is the
// PEM of the authority to trust; nil is those that the system trusts.
func Remote(at, token string, ca []byte) (*Client, error) {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, fmt.Errorf("%q is no address of an appliance: want https://HOST:8067", at)
	}
	if a, err := netip.ParseAddr(u.Hostname()); u.Scheme == "http" && (err != nil || !a.IsLoopback()) {
		return nil, fmt.Errorf("%s: a token is not sent unencrypted: want https://", at)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	if ca != nil {
		t.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("the authority's file holds no certificate: muster ca export --pem FILE, on the appliance")
		}
	}
	return &Client{at: u.Scheme + "://" + u.Host, token: token, http: &http.Client{Transport: t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// Over returns a client that asks by a way of its own: a page of the appliance asks its API
// without leaving the process.
func Over(way http.RoundTripper) *Client {
	return &Client{at: "http://muster", http: &http.Client{Transport: way}}
}

// ErrNoDaemon says that nobody listens on the socket.
var ErrNoDaemon = errors.New("no running muster")

func (c *Client) explain(err error) error {
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: the appliance's own authority is trusted by its fingerprint (muster login --fingerprint, of muster ca show there) or with MUSTER_CA=FILE (muster ca export --pem FILE, there)", err)
	case c.dir == "":
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w with data directory %s: start it (sudo systemctl start muster, or muster serve), or name another with --data-dir or MUSTER_DATA_DIR", ErrNoDaemon, c.dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to use %s: run with sudo, or join the group muster", filepath.Join(c.dir, SocketName))
	}
	return err
}

func (c *Client) send(ctx context.Context, method, path string, body io.Reader, size int64) (*http.Response, error) {
	return c.sendIf(ctx, "", method, path, body, size)
}

// sendIf sends an order that is carried out only if what it is about has the tag.
func (c *Client) sendIf(ctx context.Context, tag, method, path string, body io.Reader, size int64) (*http.Response, error) {
	if c.err != nil {
		return nil, c.err
	}
	r, err := http.NewRequestWithContext(ctx, method, c.at+path, body)
	if err != nil {
		return nil, err
	}
	if size >= 0 {
		r.ContentLength = size
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if tag != "" {
		r.Header.Set("If-Match", tag)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		var p Problem
		if json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&p) == nil && p.Detail != "" {
			return nil, &boot.Fault{Code: p.Code, Text: p.Detail, Hint: p.Hint}
		}
		return nil, fmt.Errorf("the daemon says %s", resp.Status)
	}
	return resp, nil
}

// URL is where the appliance is that it speaks to; "" for the one on this computer.
func (c *Client) URL() string {
	if c.dir != "" || c.err != nil {
		return ""
	}
	return c.at
}

// Call sends in as JSON, if not nil, and reads out, if not nil.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	return c.CallIf(ctx, "", method, path, in, out)
}

// CallIf is Call for an order that is carried out only if the host still has the tag that
// the caller read (Tag); else the error has the code boot.Changed.
func (c *Client) CallIf(ctx context.Context, tag, method, path string, in, out any) error {
	var body io.Reader
	size := int64(-1)
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body, size = bytes.NewReader(b), int64(len(b))
	}
	resp, err := c.sendIf(ctx, tag, method, path, body, size)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// ReadAll reads a list to its end; path may have a query of its own.
func ReadAll[T any](ctx context.Context, c *Client, path string, into *[]T) error {
	at, err := url.Parse(path)
	if err != nil {
		return err
	}
	*into = []T{}
	for q := at.Query(); ; {
		var l List[T]
		if err := c.Call(ctx, http.MethodGet, at.String(), nil, &l); err != nil {
			return err
		}
		if *into = append(*into, l.Items...); l.Next == "" {
			return nil
		}
		if l.Next == q.Get("cursor") {
			return errors.New("the list does not go on after " + l.Next)
		}
		q.Set("cursor", l.Next)
		at.RawQuery = q.Encode()
	}
}

// Tag is a host as it was read, for CallIf.
func Tag(h *boot.Host) string { return fmt.Sprintf(`"%d.%d"`, h.ID, h.Revision) }

// ImportHosts adds many hosts, or says what that would do.
func (c *Client) ImportHosts(ctx context.Context, in HostImport) (out HostImported, err error) {
	err = c.Call(ctx, http.MethodPost, "/api/v1/hosts/import", in, &out)
	if err == nil && len(out.Results) != len(in.Hosts) {
		err = fmt.Errorf("the daemon answered for %d of %d hosts", len(out.Results), len(in.Hosts))
	}
	return out, err
}

// Has reports whether the daemon holds a file.
func (c *Client) Has(ctx context.Context, digest string) bool {
	return c.Call(ctx, http.MethodGet, "/api/v1/files/"+digest, nil, nil) == nil
}

// Upload stores a file of known digest and size.
func (c *Client) Upload(ctx context.Context, digest string, r io.Reader, size int64) error {
	resp, err := c.send(ctx, http.MethodPut, "/api/v1/files/"+digest, r, size)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Events calls fn for each entry until the stream ends or ctx does. With follow=1
// it returns ErrCutShort if the daemon ended the stream, because it stops or restarts.
func (c *Client) Events(ctx context.Context, q url.Values, fn func(Entry, json.RawMessage) error) error {
	resp, err := c.send(ctx, http.MethodGet, "/api/v1/events?"+q.Encode(), nil, -1)
	if q.Get("follow") == "1" && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
		return ErrCutShort
	} else if err != nil {
		return err
	}
	defer resp.Body.Close()
	return stream(ctx, resp.Body, q.Get("follow") == "1", fn)
}

// HostLog calls fn for each line that a machine logged, until the stream ends or
// ctx does.
func (c *Client) HostLog(ctx context.Context, name string, follow bool, fn func(boot.Request, json.RawMessage) error) error {
	q := url.Values{}
	if follow {
		q.Set("follow", "1")
	}
	resp, err := c.send(ctx, http.MethodGet, "/api/v1/hosts/"+url.PathEscape(name)+"/log?"+q.Encode(), nil, -1)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return stream(ctx, resp.Body, false, fn)
}

// copy writes what is answered to w as it is.
func (c *Client) copy(ctx context.Context, method, path string, w io.Writer) error {
	resp, err := c.send(ctx, method, path, nil, -1)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w, resp.Body)
	return err
}

// Backup writes a backup of the running appliance.
func (c *Client) Backup(ctx context.Context, q url.Values, w io.Writer) error {
	return c.copy(ctx, http.MethodPost, "/api/v1/backup?"+q.Encode(), w)
}

// TemplateFile writes a file of a template, of the version in force.
func (c *Client) TemplateFile(ctx context.Context, name, file string, w io.Writer) error {
	at := (&url.URL{Path: "/api/v1/templates/" + name + "/files/" + file}).EscapedPath()
	return c.copy(ctx, http.MethodGet, at, w)
}

// HostCapture writes a machine's packets to w as a pcap file.
func (c *Client) HostCapture(ctx context.Context, name string, w io.Writer) error {
	return c.copy(ctx, http.MethodGet, "/api/v1/hosts/"+url.PathEscape(name)+"/capture", w)
}

// stream reads JSON values to the end of the stream. If a stream ends that should not,
// it returns ErrCutShort.
func stream[T any](ctx context.Context, r io.Reader, endless bool, fn func(T, json.RawMessage) error) error {
	d := json.NewDecoder(r)
	for {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			switch {
			case ctx.Err() != nil:
				return nil
			case endless:
				return ErrCutShort
			case errors.Is(err, io.EOF), strings.Contains(err.Error(), "closed"):
				return nil
			}
			return err
		}
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return err
		}
		if err := fn(v, raw); err != nil {
			return err
		}
	}
}

// ErrCutShort says that a stream ended which should not have.
var ErrCutShort = errors.New("the daemon ended the stream")

// ImageHead is the first entry of an import's stream: the image without its files, as
// JSON of NewImage.
const ImageHead = ".image.json"

// ImportImage sends an image with its files as one stream: a tar archive of ImageHead and
// then what files writes. A file that is the same as an earlier one is a hard link to it.
func (c *Client) ImportImage(ctx context.Context, img *boot.Image, files func(*tar.Writer) error) (*boot.Image, error) {
	head, err := json.Marshal(DescribeImage(img))
	if err != nil {
		return nil, err
	}
	pr, pw := io.Pipe()
	go func() {
		t := tar.NewWriter(pw)
		err := t.WriteHeader(&tar.Header{Name: ImageHead, Mode: 0o644, Size: int64(len(head))})
		if err == nil {
			_, err = t.Write(head)
		}
		if err == nil {
			err = files(t)
		}
		pw.CloseWithError(cmp.Or(err, t.Close()))
	}()
	resp, err := c.send(ctx, http.MethodPost, "/api/v1/images/import", pr, -1)
	pr.CloseWithError(io.ErrClosedPipe)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var out boot.Image
	return &out, json.NewDecoder(resp.Body).Decode(&out)
}

// VerifyImage has the daemon read an image again; fn is called for each line.
func (c *Client) VerifyImage(ctx context.Context, name string, fn func(Verified)) error {
	resp, err := c.send(ctx, http.MethodPost, "/api/v1/images/"+url.PathEscape(name)+"/verify", nil, -1)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	for {
		var v Verified
		if err := d.Decode(&v); err != nil {
			return fmt.Errorf("verification broke off: %w", err)
		}
		fn(v)
		if v.Done {
			return nil
		}
	}
}
