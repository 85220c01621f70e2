// client.go: the commands' way to the daemon.

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
)

// Client speaks to the daemon of one data directory.
type Client struct {
	dir  string
	http *http.Client
}

// NewClient returns a client; nothing is opened yet.
func NewClient(dataDir string) *Client {
	sock := filepath.Join(dataDir, SocketName)
	return &Client{dataDir, &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", sock)
		},
	}}}
}

// ErrNoDaemon says that nobody listens on the socket.
var ErrNoDaemon = errors.New("no running muster")

func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w with data directory %s: start it (sudo systemctl start muster, or muster serve), or name another with --data-dir or MUSTER_DATA_DIR", ErrNoDaemon, c.dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to use %s: run with sudo, or join the group muster", filepath.Join(c.dir, SocketName))
	}
	return err
}

func (c *Client) send(ctx context.Context, method, path string, body io.Reader, size int64) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://muster"+path, body)
	if err != nil {
		return nil, err
	}
	if size >= 0 {
		r.ContentLength = size
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		var f Failure
		if json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&f) == nil && f.Error != "" {
			return nil, errors.New(f.Error)
		}
		return nil, fmt.Errorf("the daemon says %s", resp.Status)
	}
	return resp, nil
}

// Call sends in as JSON, if not nil, and reads out, if not nil.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	size := int64(-1)
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body, size = bytes.NewReader(b), int64(len(b))
	}
	resp, err := c.send(ctx, method, path, body, size)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

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

// Events calls fn for each entry until the stream ends or ctx does.
func (c *Client) Events(ctx context.Context, q url.Values, fn func(Entry, json.RawMessage) error) error {
	resp, err := c.send(ctx, http.MethodGet, "/api/v1/events?"+q.Encode(), nil, -1)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	for {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			if errors.Is(err, io.EOF) || ctx.Err() != nil || strings.Contains(err.Error(), "closed") {
				return nil
			}
			return err
		}
		var e Entry
		if err := json.Unmarshal(raw, &e); err != nil {
			return err
		}
		if err := fn(e, raw); err != nil {
			return err
		}
	}
}
