// http.go: HTTP downloads against nginx with sendfile, by a client that throws
// the bodies away.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

func (b *bench) http(ctx context.Context) (*table, error) {
	big, small, times := 256<<20, 16<<20, 8
	if b.short {
		big, small, times = 16<<20, 1<<20, 2
	}
	bigFile, _, err := b.makeFile("http-big", big)
	if err != nil {
		return nil, err
	}
	smallFile, _, err := b.makeFile("http-small", small)
	if err != nil {
		return nil, err
	}
	files := map[string]string{"ipxe.efi": bigFile, "undionly.kpxe": smallFile}
	servers := []program{b.musterServer("Muster", "tcp/80", pool{size: 65000}, "", files), nginx(files)}
	t := newTable("HTTP", servers)
	t.note("One client: %s, %d times on one connection. %d clients: %s each, %d times, a connection each. The files are in the page cache. nginx: sendfile and tcp_nopush on, one worker a processor. The client runs on the same processors and is most of the work.", bytesText(big), times, crowd, bytesText(small), times)
	err = b.each(ctx, servers, func(_ int, p program) error {
		s, err := b.start(ctx, p)
		if err != nil {
			return err
		}
		defer s.stop()
		for _, x := range []struct {
			clients, size int
			path          string
		}{{1, big, "ipxe.efi"}, {crowd, small, "undionly.kpxe"}} {
			name := "one client"
			if x.clients > 1 {
				name = fmt.Sprintf("%d clients", x.clients)
			}
			if err := b.download(ctx, x.path, x.size, 1); err != nil { // the page cache is warm now
				return err
			}
			before, start := s.cpu(), time.Now()
			g, gctx := errgroup.WithContext(ctx)
			for range x.clients {
				g.Go(func() error { return b.download(gctx, x.path, x.size, times) })
			}
			if err := g.Wait(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			took, total := time.Since(start), float64(x.clients*x.size*times)
			t.add(name, "MB/s", p, total/1e6/took.Seconds())
			t.add("server CPU, "+name, "s/GiB", p, (s.cpu()-before).Seconds()/(total/(1<<30)))
		}
		return nil
	})
	return t, err
}

// download reads one path so many times on one connection.
func (b *bench) download(ctx context.Context, path string, size, times int) error {
	tr := &http.Transport{DialContext: b.client.Dial, DisableCompression: true}
	defer tr.CloseIdleConnections()
	buf := make([]byte, 256<<10)
	for range times {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+serverAddr+"/"+path, nil)
		if err != nil {
			return err
		}
		resp, err := (&http.Client{Transport: tr}).Do(req)
		if err != nil {
			return err
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, buf)
		resp.Body.Close()
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK || n != int64(size) {
			return fmt.Errorf("%s: %s, %d of %d bytes", path, resp.Status, n, size)
		}
	}
	return nil
}

func nginx(files map[string]string) program {
	return program{"nginx", "tcp/80", func(dir string) ([]string, []string, error) {
		root, err := tree(dir, files)
		conf := filepath.Join(dir, "nginx.conf")
		err = errors.Join(err, os.WriteFile(conf, fmt.Appendf(nil, `daemon off;
user root;
pid %[1]s/pid;
error_log %[1]s/error.log;
worker_processes auto;
events { worker_connections 1024; }
http {
	sendfile on;
	tcp_nopush on;
	access_log %[1]s/access.log;
	server { listen %[2]s:80; root %[3]s; }
}
`, dir, serverAddr, root), 0o644))
		return []string{"nginx", "-e", filepath.Join(dir, "error.log"), "-c", conf}, nil, err
	}}
}
