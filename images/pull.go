// pull.go: files that are declared and not here: fetched when the first machine asks,
// once for all that ask, kept by their digest, and served from then on also while the
// place that they came from is away.

package images

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net/http"
	neturl "net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterboot/muster/boot"
)

// Bounds of fetching.
const (
	maxPulls   = 8                // files at once
	pullStall  = time.Minute      // without a byte: the transfer is begun again where it stopped
	pullTries  = 3                // of one transfer
	pullLife   = 6 * time.Hour    // of all tries of one file
	pullAgain  = 15 * time.Second // a file that failed is not tried again before
	pullPause  = 2 * time.Second  // between two tries
	pullNotes  = 1024             // failures that are remembered
	pullHeader = 30 * time.Second // until the answer begins
)

// Puller fetches declared files into a store. What is fetched, its size and digest are
// somebody's who may declare it, never who asks for it.
type Puller struct {
	Store  *Store
	Client *http.Client
	Log    *slog.Logger

	// Pause is between two tries, and Again the time for which a failure counts; 0 is the
	// default.
	Pause, Again time.Duration

	Fetched, Failed, Refused atomic.Uint64 // files

	mu     sync.Mutex
	pulls  map[string]*pull // by digest
	failed map[string]failure
}

type failure struct {
	err error
	at  time.Time
}

// pull is one file on its way. Readers read what has come; its last byte is given out
// when its digest is known to be right.
type pull struct {
	blob boot.Blob
	file *os.File

	mu      sync.Mutex
	more    *sync.Cond
	got     int64
	begun   bool
	done    bool
	err     error
	readers int
}

// Open opens a file that is stored, or fetches it from where url says at that moment. It
// returns when the first byte is there, or with why none comes.
func (p *Puller) Open(ctx context.Context, b boot.Blob, url func(context.Context) (string, error)) (*boot.Object, error) {
	object := func(body interface {
		io.ReadSeeker
		io.ReaderAt
		io.Closer
	}, disk bool) *boot.Object {
		return &boot.Object{Body: body, Disk: disk, Size: b.Size, ETag: `"` + b.Digest + `"`}
	}
	f, err := p.Store.Open(b.Digest)
	if err == nil {
		return object(f, false), nil
	}
	if !errors.Is(err, boot.ErrNoFile) {
		return nil, err
	}
	x, err := p.join(b, url)
	if err != nil {
		return nil, err
	}
	if err := x.wait(ctx); err != nil {
		x.leave()
		return nil, err
	}
	return object(struct {
		*io.SectionReader
		io.Closer
	}{io.NewSectionReader(x, 0, b.Size), closer(sync.OnceFunc(x.leave))}, true), nil
}

type closer func()

func (c closer) Close() error { c(); return nil }

// join finds the transfer of a file, or begins it.
func (p *Puller) join(b boot.Blob, url func(context.Context) (string, error)) (*pull, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.pulls[b.Digest]
	if x != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.err == nil {
			x.readers++
			return x, nil
		}
	}
	again := p.Again
	if again == 0 {
		again = pullAgain
	}
	if f, is := p.failed[b.Digest]; is && time.Since(f.at) < again {
		return nil, f.err
	}
	if len(p.pulls) >= maxPulls {
		p.Refused.Add(1)
		return nil, fmt.Errorf("%d files are being fetched, and this one waits for none of them: ask again", len(p.pulls))
	}
	name := path.Join(tmpDir, rand.Text())
	f, err := p.Store.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("fetch a file: %w", err)
	}
	x = &pull{blob: b, file: f, readers: 2} // who asks, and the transfer itself
	x.more = sync.NewCond(&x.mu)
	if p.pulls == nil {
		p.pulls, p.failed = map[string]*pull{}, map[string]failure{}
	}
	p.pulls[b.Digest] = x
	go p.run(x, name, url)
	return x, nil
}

// run fetches a file to its end.
func (p *Puller) run(x *pull, name string, url func(context.Context) (string, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), pullLife)
	defer cancel()
	h := sha256.New()
	from := ""
	var err error
	pause := p.Pause
	if pause == 0 {
		pause = pullPause
	}
	for n := range pullTries {
		if n > 0 {
			time.Sleep(pause)
		}
		at := ""
		if at, err = url(ctx); err == nil {
			from = at
			err = p.once(ctx, x, h, at)
		}
		if err == nil || ctx.Err() != nil || errors.Is(err, errGone) {
			break
		}
	}
	if err == nil {
		if d := sum(h); d != x.blob.Digest {
			err = fmt.Errorf("%w: want %s, got %s", ErrDigest, x.blob.Digest, d)
		} else if err = x.file.Sync(); err == nil {
			err = p.Store.settle(name, x.blob.Digest)
		}
	}
	if err != nil {
		_ = p.Store.root.Remove(name)
		err = fmt.Errorf("%s cannot be fetched: %w", shown(from), err)
		p.Failed.Add(1)
		p.Log.Warn("a declared file was not fetched", "digest", x.blob.Digest, "err", err)
	} else {
		p.Fetched.Add(1)
		p.Log.Info("a declared file was fetched", "from", shown(from), "bytes", x.blob.Size)
	}
	p.mu.Lock()
	delete(p.pulls, x.blob.Digest)
	if delete(p.failed, x.blob.Digest); err != nil {
		if len(p.failed) >= pullNotes {
			clear(p.failed)
		}
		p.failed[x.blob.Digest] = failure{err, time.Now()}
	}
	p.mu.Unlock()
	x.mu.Lock()
	x.done, x.err = true, err
	x.mu.Unlock()
	x.more.Broadcast()
	x.leave()
}

// shown is a URL without what may be secret in it.
func shown(url string) string {
	url, _, _ = strings.Cut(url, "?")
	return boot.CleanText(url, 200)
}

// errGone says that asking again is of no use.
var errGone = errors.New("it is not there")

// once is one transfer, which goes on where the last one stopped.
func (p *Puller) once(ctx context.Context, x *pull, h hash.Hash, url string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stalled := time.AfterFunc(pullHeader, cancel)
	defer stalled.Stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	if x.got > 0 {
		r.Header.Set("Range", "bytes="+strconv.FormatInt(x.got, 10)+"-")
	}
	resp, err := p.Client.Do(r)
	if e := new(neturl.Error); errors.As(err, &e) {
		err = e.Err // the rest is the URL, which may hold a token
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, skip := resp.Body, int64(0)
	switch {
	case resp.StatusCode == http.StatusPartialContent && x.got > 0 && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", x.got)):
	case resp.StatusCode == http.StatusOK:
		skip = x.got
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusGone, resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%w: %s", errGone, resp.Status)
	default:
		return errors.New(resp.Status)
	}
	if n := resp.ContentLength; n >= 0 && n != x.blob.Size-x.got+skip {
		return fmt.Errorf("%w: it has %d bytes, and %d were declared", errGone, n+x.got-skip, x.blob.Size)
	}
	buf := make([]byte, 256<<10)
	for x.got < x.blob.Size {
		stalled.Reset(pullStall)
		n, err := body.Read(buf[:min(int64(len(buf)), skip+x.blob.Size-x.got)])
		b := buf[:n]
		if d := min(skip, int64(n)); d > 0 {
			b, skip = b[d:], skip-d
		}
		if len(b) > 0 {
			if _, werr := x.file.WriteAt(b, x.got); werr != nil {
				return fmt.Errorf("%w: %w", errGone, werr) // the disk is full
			}
			h.Write(b)
			x.mu.Lock()
			x.got, x.begun = x.got+int64(len(b)), true
			x.mu.Unlock()
			x.more.Broadcast()
		}
		if errors.Is(err, io.EOF) && x.got < x.blob.Size {
			return io.ErrUnexpectedEOF
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

// wait returns when the first byte is there.
func (x *pull) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, x.more.Broadcast)
	defer stop()
	x.mu.Lock()
	defer x.mu.Unlock()
	for !x.begun && !x.done && ctx.Err() == nil {
		x.more.Wait()
	}
	if x.err != nil {
		return x.err
	}
	if x.begun || x.done {
		return nil
	}
	return ctx.Err()
}

// ReadAt implements io.ReaderAt. It waits for what has not come yet.
func (x *pull) ReadAt(b []byte, off int64) (int, error) {
	want := min(off+int64(len(b)), x.blob.Size)
	if off >= want {
		return 0, io.EOF
	}
	x.mu.Lock()
	for x.err == nil {
		have := x.got
		if !x.done {
			have = min(have, x.blob.Size-1) // whoever has all of it may run it
		}
		if have >= want {
			break
		}
		x.more.Wait()
	}
	err := x.err
	x.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := x.file.ReadAt(b[:want-off], off)
	if err == nil && n < len(b) {
		err = io.EOF
	}
	return n, err
}

// leave closes the file behind the last reader.
func (x *pull) leave() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.readers--; x.readers == 0 {
		x.file.Close()
	}
}
