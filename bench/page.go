// page.go: what leases cost while people look at the page and a collector scrapes.

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	api "github.com/musterboot/muster/client"
)

const (
	readers   = 100
	pagePort  = "8067"
	pageRate  = 100                    // leases a second beside them
	soon      = 100 * time.Millisecond // the page's script asks this long after an event,
	scatter   = 300 * time.Millisecond // up to this much later,
	rest      = 700 * time.Millisecond // so long after it asked before,
	tick      = 5 * time.Second        // and this often without an event
	pageHosts = 500                    // machines on the roll
)

func (b *bench) page(ctx context.Context) (*table, error) {
	restore, err := roomForClients()
	if err != nil {
		return nil, err
	}
	defer restore()
	lines := b.noLimits + "[admin]\nlisten = \":" + pagePort + "\"\n"
	read := b.musterServer(fmt.Sprintf("%d readers", readers), "udp/67", pool{size: 65000}, lines, nil)
	alone := b.musterServer("Nobody looks", "udp/67", pool{size: 65000}, lines, nil)
	t := newTable("Leases while people look at the page", []program{read, alone})
	length := 20 * time.Second
	if b.short {
		length = 3 * time.Second
	}
	t.note("perfdhcp, one thread, %d full exchanges a second for %v, one per new client; %d machines on the roll.%s", pageRate, length, pageHosts, b.limitsNote())
	t.note("%d readers have the first page open as a browser has it: a stream of events, and the page again %v to %v after an event, %v after the last time at the earliest, and every %v without one. Beside them /metrics is read once a second. All of it over TLS, each reader on connections of its own. In both columns one machine a second is approved.", readers, soon, soon+scatter, rest, tick)
	t.note("The readers are a process of the lowest priority, because in life they have processors of their own; perfdhcp and server share these.")
	return t, b.each(ctx, []program{read, alone}, func(_ int, p program) error {
		s, err := b.start(ctx, p)
		if err != nil {
			return err
		}
		defer s.stop()
		data := filepath.Join(s.dir, "data")
		if err := b.roll(ctx, data, pageHosts); err != nil {
			return err
		}
		w, err := b.wire(warmers)
		if err != nil {
			return err
		}
		defer w.close()
		if _, err := w.next(warmUp); err != nil {
			return fmt.Errorf("before the run: %w", err)
		}
		var a *audience
		if p.name == read.name {
			token, err := b.token(ctx, data)
			if err != nil {
				return err
			}
			if a, err = b.watchers(ctx, token); err != nil {
				return err
			}
		}
		began := time.Now()
		pause(ctx, 2*tick) // until all are there
		ordering, stop := context.WithCancel(ctx)
		defer stop()
		var ordered errgroup.Group
		ordered.Go(func() error { return b.orders(ordering, data) })
		before := s.cpu()
		l, err := b.offer(ctx, dhcp4, pageRate, length, "-W", longDelay, "-x", "t")
		if err != nil {
			return err
		}
		if !l.served() {
			return fmt.Errorf("%.0f of %.0f exchanges", l.acked, l.wanted)
		}
		t.delays("DISCOVER to OFFER", p, l.offer)
		t.delays("REQUEST to ACK", p, l.ack)
		t.add("server CPU", "cores", p, (s.cpu()-before).Seconds()/length.Seconds())
		t.add("memory", "MB", p, s.memory())
		stop()
		if err := ordered.Wait(); err != nil || a == nil {
			return err
		}
		pages, err := a.end()
		t.add("pages read", "/s", p, pages/time.Since(began).Seconds())
		return err
	})
}

// roll puts machines on the roll.
func (b *bench) roll(ctx context.Context, data string, n int) error {
	var csv strings.Builder
	csv.WriteString("mac,name\n")
	for i := range n {
		fmt.Fprintf(&csv, "%s,host-%d\n", present.number(i+1), i+1)
	}
	file := filepath.Join(data, "roll.csv")
	if err := os.WriteFile(file, []byte(csv.String()), 0o644); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, b.muster, "host", "import", file, "--data-dir", data).CombinedOutput(); err != nil {
		return fmt.Errorf("muster host import: %w: %s", err, out)
	}
	return nil
}

func (b *bench) token(ctx context.Context, data string) (string, error) {
	out, err := exec.CommandContext(ctx, b.muster, "token", "create", "bench", "--role", "admin", "--json", "--data-dir", data).Output()
	if err != nil {
		return "", fmt.Errorf("muster token create: %w", err)
	}
	var made api.TokenMade
	return made.Token, json.Unmarshal(out, &made)
}

// audience is the process of all who look, in the client's namespace.
type audience struct {
	cmd  *exec.Cmd
	said bytes.Buffer
}

// watchers starts the audience. In life it has processors of its own, so it gets of these what
// the others leave.
func (b *bench) watchers(ctx context.Context, token string) (*audience, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	a := &audience{cmd: b.client.Command(ctx, "nice", "-n", "19", self, "-look", token)}
	a.cmd.Stdout, a.cmd.Stderr = &a.said, &a.said
	return a, a.cmd.Start()
}

// end tells how many pages were read.
func (a *audience) end() (pages float64, err error) {
	_ = a.cmd.Process.Signal(syscall.SIGTERM)
	err = a.cmd.Wait()
	if n, e := strconv.ParseFloat(strings.TrimSpace(a.said.String()), 64); err == nil && e == nil {
		return n, nil
	}
	return 0, fmt.Errorf("readers: %w: %s", err, &a.said)
}

// reader is one of the audience, in its process.
type reader struct {
	token string
	http.Client
}

// look is that process. It ends with ctx, prints how many pages were read, and fails if one
// was not.
func look(ctx context.Context, token string) error {
	var pages atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for i := range readers + 1 {
		r := reader{token, http.Client{
			Transport:     &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
		g.Go(func() error {
			pause(ctx, rand.N(tick)) // nobody comes at the same moment
			work := r.scrape
			if i < readers {
				work = func(ctx context.Context) error { return r.look(ctx, &pages) }
			}
			if err := work(ctx); ctx.Err() == nil {
				return err
			}
			return nil
		})
	}
	err := g.Wait()
	fmt.Println(pages.Load())
	return err
}

func (c *reader) get(ctx context.Context, path, accept string) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+serverAddr+":"+pagePort+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Accept", accept)
	q, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	if q.StatusCode != http.StatusOK {
		q.Body.Close()
		return nil, fmt.Errorf("%s: %s", path, q.Status)
	}
	return q.Body, nil
}

// whole reads an answer and discards it.
func (c *reader) whole(ctx context.Context, path string) error {
	body, err := c.get(ctx, path, "text/html")
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(io.Discard, body)
	return err
}

// look is what the page's script does.
func (c *reader) look(ctx context.Context, pages *atomic.Int64) error {
	stream, err := c.get(ctx, "/api/v1/events?all=1&brief=1&back=1&since="+url.QueryEscape(time.Now().UTC().Format(time.RFC3339)), "text/event-stream")
	if err != nil {
		return err
	}
	defer stream.Close()
	happened := make(chan struct{}, 1)
	go func() {
		for lines := bufio.NewScanner(stream); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "data:") {
				select {
				case happened <- struct{}{}:
				default:
				}
			}
		}
	}()
	beat := time.NewTicker(tick)
	defer beat.Stop()
	for {
		asked := time.Now()
		if err := c.whole(ctx, "/"); err != nil {
			return err
		}
		pages.Add(1)
		select {
		case <-ctx.Done():
			return nil
		case <-happened:
		case <-beat.C:
		}
		pause(ctx, max(soon+rand.N(scatter), time.Until(asked.Add(rest))))
		select { // what happened meanwhile is on the page
		case <-happened:
		default:
		}
	}
}

func (c *reader) scrape(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := c.whole(ctx, "/metrics"); err != nil {
			return err
		}
		pause(ctx, time.Second)
	}
	return nil
}

// orders approves one machine a second, so that something happens.
func (b *bench) orders(ctx context.Context, data string) error {
	for i := 1; ctx.Err() == nil; i++ {
		out, err := exec.CommandContext(ctx, b.muster, "host", "approve", fmt.Sprintf("host-%d", i), "--data-dir", data).CombinedOutput()
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("muster host approve: %w: %s", err, out)
		}
		pause(ctx, time.Second)
	}
	return nil
}
