// http.go: HTTP downloads against nginx with sendfile, by one client and by
// crowds.

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

func (b *bench) http(ctx context.Context) (*table, error) {
	big, small, crowds := 1<<30, 64<<20, []int{100, 1000}
	if b.short {
		big, small, crowds = 64<<20, 4<<20, []int{10, 100}
	}
	if err := b.addresses(ctx); err != nil {
		return nil, err
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
	servers := b.field(b.musterServer("Muster", "tcp/80", pool{size: 65000}, "", files), nginx("tcp/80", files, fmt.Sprintf("listen %s:80;", serverAddr)))
	t := newTable("HTTP", servers)
	t.note("One client: %s. Crowds: %s for each client, all at once, on a connection each, from %d addresses. Their receive windows are %s, as iPXE's; that of the one client grows. Times are from the request to the last byte; connections stand before. The files are in the page cache.", bytesText(big), bytesText(small), clientAddrs, bytesText(crowdWindow))
	t.note("The client is this program's own, one thread on raw sockets, the same for both servers: it checks the head and the length and has the kernel drop the body (recv with MSG_TRUNC). It runs on the same processors as the server.")
	t.note("nginx: sendfile and tcp_nopush on, one worker a processor, %s connections each.", thousands(nginxConnections))
	t.note("Peak memory: of the server's processes together, sampled every %v; pages that nginx's processes share count for each.", sampleTime)
	t.note("Slowest over median client: 1 is even treatment.")
	err = b.each(ctx, servers, func(_ int, p program) (failed error) {
		s, err := b.start(ctx, p)
		if err != nil {
			return err
		}
		defer s.stop()
		for _, n := range append([]int{1}, crowds...) {
			name, proto := "one client", download{path: "ipxe.efi", size: big}
			if n > 1 {
				name, proto = thousands(n)+" clients", download{path: "undionly.kpxe", size: small}
			}
			// One unmeasured run fills the server's caches.
			if _, err := b.downloads(ctx, proto, 1); err != nil {
				failed = errors.Join(failed, fmt.Errorf("before %s: %w", name, err))
				continue
			}
			peak, before := s.watch(), s.cpu()
			took, err := b.downloads(ctx, proto, n)
			cpu := s.cpu() - before
			memory, anon := peak()
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", name, err))
				continue
			}
			total := float64(n * proto.size)
			t.add(name, "MB/s", p, total/1e6/slices.Max(took).Seconds())
			t.add("server CPU, "+name, "s/GiB", p, cpu.Seconds()/(total/(1<<30)))
			if n > 1 {
				t.add("slowest over median, "+name, "ratio", p, fairness(took))
				t.add("peak memory, "+name, "MB", p, memory)
				t.add("peak memory without pages of files, "+name, "MB", p, anon)
			}
		}
		return failed
	})
	return t, err
}

// downloads has n clients read the same file.
func (b *bench) downloads(ctx context.Context, proto download, n int) (took []time.Duration, err error) {
	s, err := b.sockets(n, unix.SOCK_STREAM)
	defer s.close()
	if err != nil {
		return nil, err
	}
	cs := make([]client, n)
	for i, fd := range s {
		if err := connect(fd, serverSocket(80)); err != nil {
			return nil, fmt.Errorf("connect client %d: %w", i+1, err)
		}
		d := proto
		d.fd = fd
		cs[i] = &d
	}
	if n == 1 {
		d, err := alone(ctx, cs[0])
		return []time.Duration{d}, err
	}
	return together(ctx, cs)
}

const nginxConnections = 4096

// nginx serves files; lines go into its server block.
func nginx(port string, files map[string]string, lines string) program {
	return program{"nginx", port, func(dir string) ([]string, []string, error) {
		root, err := tree(dir, files)
		conf := filepath.Join(dir, "nginx.conf")
		err = errors.Join(err, os.WriteFile(conf, fmt.Appendf(nil, `daemon off;
user root;
pid %[1]s/pid;
error_log %[1]s/error.log;
worker_processes auto;
worker_rlimit_nofile %[4]d;
events { worker_connections %[5]d; }
http {
	sendfile on;
	tcp_nopush on;
	access_log %[1]s/access.log;
	server { %[2]s root %[3]s; }
}
`, dir, lines, root, 4*nginxConnections, nginxConnections), 0o644))
		return []string{"nginx", "-e", filepath.Join(dir, "error.log"), "-c", conf}, nil, err
	}}
}
