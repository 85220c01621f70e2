package mirror

// This file reads archives from web servers and folders.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	stall        = time.Minute // without a byte
	maxRedirects = 5
)

// HTTP is an archive on a web server.
type HTTP struct {
	Root   string // "http://deb.debian.org/debian"
	Client *http.Client
	Stall  time.Duration // for which a server may say nothing; 0 is a minute
}

// NewClient makes the client that archives are read with. Files come as they lie there: a
// .gz that a server calls an encoding of something must not be unpacked on the way.
func NewClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 8, DisableCompression: true},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if via[len(via)-1].URL.Scheme == "https" && r.URL.Scheme != "https" {
				return fmt.Errorf("the server sends on to %s, which is not encrypted: name that one by --from, if it is meant", r.URL.Redacted())
			}
			if len(via) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			return nil
		},
	}
}

// Open implements Source.
func (h HTTP) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	limit := h.Stall
	if limit == 0 {
		limit = stall
	}
	stalled := fmt.Errorf("the server sent nothing for %s", limit)
	ctx, cancel := context.WithCancelCause(ctx)
	b := &body{ctx: ctx, cancel: cancel, stalled: stalled, limit: limit, timer: time.AfterFunc(limit, func() { cancel(stalled) })}
	// The daemon asks for the files of a lazy image under this same name.
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(h.Root, "/")+"/"+(&url.URL{Path: name}).EscapedPath(), nil)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	resp, err := h.Client.Do(r)
	b.timer.Stop()
	if err != nil {
		err = b.why(err)
		return nil, errors.Join(err, b.Close())
	}
	b.ReadCloser = resp.Body
	switch resp.StatusCode {
	case http.StatusOK:
		return b, nil
	case http.StatusNotFound, http.StatusGone, http.StatusForbidden:
		err = fmt.Errorf("%s: %w", resp.Status, fs.ErrNotExist)
	default:
		err = errors.New(resp.Status)
	}
	b.Close()
	return nil, err
}

// body is one that a server has to go on with.
type body struct {
	io.ReadCloser
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	limit   time.Duration
	stalled error
}

// Read implements io.Reader. The time counts while a byte is waited for, and not while the
// last ones are written.
func (b *body) Read(p []byte) (int, error) {
	b.timer.Reset(b.limit)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	return n, b.why(err)
}

// why says that a transfer was ended here.
func (b *body) why(err error) error {
	if err != nil && context.Cause(b.ctx) == b.stalled {
		return b.stalled
	}
	return err
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.timer.Stop()
	defer b.cancel(nil)
	if b.ReadCloser == nil {
		return nil
	}
	return b.ReadCloser.Close()
}

// Folder is an archive that is mounted or copied, or the tree of a disc.
type Folder struct{ FS fs.FS }

// Open implements Source.
func (f Folder) Open(_ context.Context, name string) (io.ReadCloser, error) { return f.FS.Open(name) }
