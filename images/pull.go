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
	maxPulls   = 8                // files at once; others wait
	maxQueue   = 256              // files that wait
	pullStall  = time.Minute      // without a byte: the transfer is begun again where it stopped
	pullTries  = 3                // of one transfer without a byte between them
	slowAfter  = 5 * time.Minute  // from then on a transfer that is slower than slowest is no use
	slowest    = 1 << 10          // bytes a second
	reserve    = 1 << 30          // bytes that stay free on the disk: the store writes there too
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

	// Free is how many bytes may still be written; nil asks nobody.
	Free func() (free uint64, ok bool)

	Fetched, Failed, Refused atomic.Uint64 // files

	mu      sync.Mutex
	pulls   map[string]*pull // by digest
	failed  map[string]failure
	slots   chan struct{}
	ctx     context.Context // of all transfers
	cancel  context.CancelFunc
	running sync.WaitGroup
	closed  bool
}

// Close ends all transfers and waits for them. What had come of them is dropped.
func (p *Puller) Close() {
	p.mu.Lock()
	p.closed = true
	if p.cancel != nil {
		p.cancel()
	}
	p.mu.Unlock()
	p.running.Wait()
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
	done    bool
	err     error
	readers int
}

// Open opens a file that is stored, or fetches it from where url says at that moment. It
// returns when the first byte is there, or with why none comes. The end of ctx ends the
// reader's waiting for what has not come yet.
func (p *Puller) Open(ctx context.Context, b boot.Blob, url func(context.Context) (string, error)) (*boot.Object, error) {
	tag := `"` + b.Digest + `"`
	f, err := p.Store.Open(b.Digest)
	if err == nil {
		return &boot.Object{Body: f, Size: b.Size, ETag: tag}, nil
	}
	if !errors.Is(err, boot.ErrNoFile) {
		return nil, err
	}
	x, err := p.join(b, url)
	if err != nil {
		return nil, err
	}
	if x == nil { // it came between the two looks
		return p.Open(ctx, b, url)
	}
	r := &pullReader{SectionReader: nil, x: x, ctx: ctx}
	r.SectionReader = io.NewSectionReader(r, 0, b.Size)
	r.stop = context.AfterFunc(ctx, x.wake)
	if err := x.wait(ctx, func() bool { return x.got > 0 }); err != nil {
		r.Close()
		return nil, err
	}
	return &boot.Object{Body: r, Disk: true, Size: b.Size, ETag: tag, Whole: func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, x.wake)
		defer stop()
		return x.wait(ctx, func() bool { return false })
	}}, nil
}

// pullReader is one reader of a file on its way.
type pullReader struct {
	*io.SectionReader
	x    *pull
	ctx  context.Context
	stop func() bool
	once sync.Once
}

// ReadAt implements io.ReaderAt. It waits for what has not come yet.
func (r *pullReader) ReadAt(b []byte, off int64) (int, error) {
	x := r.x
	want := min(off+int64(len(b)), x.blob.Size)
	if off >= want {
		return 0, io.EOF
	}
	// Whoever has all of it may run it: the last byte waits for the digest.
	if err := x.wait(r.ctx, func() bool { return min(x.got, x.blob.Size-1) >= want }); err != nil {
		return 0, err
	}
	n, err := x.file.ReadAt(b[:want-off], off)
	if err == nil && n < len(b) {
		err = io.EOF
	}
	return n, err
}

// Close implements io.Closer.
func (r *pullReader) Close() error {
	r.once.Do(func() {
		r.stop()
		r.x.leave()
	})
	return nil
}

// join finds the transfer of a file, or begins it. Nil is a file that is stored by now.
func (p *Puller) join(b boot.Blob, url func(context.Context) (string, error)) (*pull, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, boot.ErrClosed
	}
	if x := p.pulls[b.Digest]; x != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.err == nil {
			x.readers++
			return x, nil
		}
	}
	if _, here := p.Store.Has(b.Digest); here {
		return nil, nil
	}
	again := p.Again
	if again == 0 {
		again = pullAgain
	}
	if f, is := p.failed[b.Digest]; is && time.Since(f.at) < again {
		return nil, f.err
	}
	if len(p.pulls) >= maxPulls+maxQueue {
		p.Refused.Add(1)
		return nil, fmt.Errorf("%w: %d files are being fetched or wait for it", boot.ErrLater, len(p.pulls))
	}
	if err := p.fits(b.Size); err != nil {
		p.Refused.Add(1)
		return nil, err
	}
	name := path.Join(tmpDir, rand.Text())
	f, err := p.Store.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("fetch a file: %w", err)
	}
	x := &pull{blob: b, file: f, readers: 2} // who asks, and the transfer itself
	x.more = sync.NewCond(&x.mu)
	if p.pulls == nil {
		p.pulls, p.failed, p.slots = map[string]*pull{}, map[string]failure{}, make(chan struct{}, maxPulls)
		p.ctx, p.cancel = context.WithCancel(context.Background())
	}
	p.pulls[b.Digest] = x
	p.running.Go(func() { p.run(x, name, url) })
	return x, nil
}

// fits judges whether a file, and the rest of those that are on their way, leave enough of
// the disk: what strangers ask for must not keep a lease from being written. The lock is
// held.
func (p *Puller) fits(size int64) error {
	if p.Free == nil {
		return nil
	}
	free, ok := p.Free()
	if !ok {
		return nil
	}
	rest := size
	for _, x := range p.pulls {
		x.mu.Lock()
		rest += x.blob.Size - x.got
		x.mu.Unlock()
	}
	if uint64(rest)+reserve > free {
		return fmt.Errorf("%w: the disk has %d MiB free, and with this file less than %d MiB would be: make room (muster image list)", boot.ErrLater, free>>20, int64(reserve)>>20)
	}
	return nil
}

// run fetches a file to its end.
func (p *Puller) run(x *pull, name string, url func(context.Context) (string, error)) {
	ctx, cancel := context.WithTimeout(p.ctx, pullLife)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
	}
	h := sha256.New()
	from := ""
	var err error
	pause := p.Pause
	if pause == 0 {
		pause = pullPause
	}
	for n := 0; n < pullTries; n++ {
		if n > 0 {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
		if err = ctx.Err(); err != nil {
			break
		}
		at, had := "", x.got
		if at, err = url(ctx); err == nil {
			from = at
			err = p.once(ctx, x, h, at)
		}
		if err == nil || errors.Is(err, errGone) {
			break
		}
		if x.got > had {
			n = 0 // a line that breaks and goes on is not one that is dead
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
		again := boot.ErrLater
		if errors.Is(err, errNotThere) {
			again = boot.ErrNoFile
		}
		err = fmt.Errorf("%w: %s cannot be fetched: %w", again, shown(from), err)
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
	x.wake()
	x.leave()
}

// shown is a URL without what may be secret in it.
func shown(url string) string {
	url, _, _ = strings.Cut(url, "?")
	return boot.CleanText(url, 200)
}

// errGone says that asking again is of no use; errNotThere, that there is no such file: the
// archive has gone on, and muster image mirror declares what it has now.
var (
	errGone     = errors.New("asking again is of no use")
	errNotThere = fmt.Errorf("%w: it is not there any more (muster image mirror again)", errGone)
)

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
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusGone:
		return fmt.Errorf("%w: %s", errNotThere, resp.Status)
	case resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%w: %s", errGone, resp.Status)
	default:
		return errors.New(resp.Status)
	}
	if n := resp.ContentLength; n >= 0 && n != x.blob.Size-x.got+skip {
		return fmt.Errorf("%w: it has %d bytes, and %d were declared", errGone, n+x.got-skip, x.blob.Size)
	}
	buf := make([]byte, 256<<10)
	began, had := time.Now(), x.got
	for x.got < x.blob.Size {
		stalled.Reset(pullStall)
		if d := time.Since(began); d > slowAfter && x.got-had < int64(d/time.Second)*slowest {
			return fmt.Errorf("%w: %d bytes came in %s", errGone, x.got-had, d.Round(time.Second))
		}
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
			x.got += int64(len(b))
			x.mu.Unlock()
			x.wake()
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

// wait returns when enough has come, which is asked with the lock held, or all of it, or
// with why it does not come. Who waits has the end of ctx wake everybody.
func (x *pull) wait(ctx context.Context, enough func() bool) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for x.err == nil && !x.done && !enough() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		x.more.Wait()
	}
	return x.err
}

// wake has everybody look again. With the lock, nobody is between looking and waiting.
func (x *pull) wake() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.more.Broadcast()
}

// leave closes the file behind the last reader.
func (x *pull) leave() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.readers--; x.readers == 0 {
		x.file.Close()
	}
}
