// Command bench measures Muster against the servers that people use in its
// place: Kea and dnsmasq for DHCP, Kea for DHCPv6, tftpd-hpa, atftpd and
// dnsmasq for TFTP, nginx for HTTP and HTTPS. It also measures Muster alone,
// with many leases and under floods. It prints Markdown tables. docs/bench.md
// says how to read them.
//
// It needs root and what `internal/nettest/install.sh bench` brings. Servers
// and clients run in two network namespaces of its own, joined by one cable.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

const (
	serverAddr = "10.80.0.1"
	clientAddr = "10.80.0.2"

	allParts = "dhcp,dhcp6,size,flood,page,tftp,http,https,storm"
)

// bench is one run of this program.
type bench struct {
	pairs         int
	dnsmasqRounds int
	short         bool
	dir           string // on a disk: leases are synced to it
	muster        string // the binary
	before        string // an older one, measured in place of the peers; "" measures those
	noLimits      string // settings of its network for the comparison with its peers
	verbose       bool
	group         string // control group of the servers
	runs          int    // of perfdhcp
	server        *nettest.NS
	client        *nettest.NS
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	var b bench
	only := flag.String("only", allParts, "parts to measure")
	flag.IntVar(&b.pairs, "pairs", 5, "rounds; in each, every server runs once")
	flag.IntVar(&b.dnsmasqRounds, "dnsmasq", math.MaxInt, "rounds in which dnsmasq takes part; with many leases each of its starts takes a minute")
	flag.BoolVar(&b.short, "short", false, "short runs and small files: shows that it works, not how fast it is")
	flag.BoolVar(&b.verbose, "v", false, "tell of every run of perfdhcp")
	dir := flag.String("dir", "/var/tmp", "where data directories and files go; use a real disk")
	flag.StringVar(&b.muster, "muster", "", "binary to measure; default: built from this module")
	flag.StringVar(&b.before, "before", "", "older binary to measure in the same rounds, in place of the peers: dhcp without leases, dhcp6, tftp, http")
	limit := flag.Duration("timeout", 3*time.Hour, "end after this long, whatever is left to do")
	token := flag.String("look", "", "")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *token != "" { // the process of those who look at the page
		return look(ctx, *token)
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()

	one := func(part func(context.Context) (*table, error)) func(context.Context) ([]*table, error) {
		return func(ctx context.Context) ([]*table, error) {
			t, err := part(ctx)
			return []*table{t}, err
		}
	}
	parts := map[string]func(context.Context) ([]*table, error){
		"dhcp": b.dhcp, "dhcp6": one(b.dhcp6), "size": one(b.size), "flood": b.floods, "page": one(b.page), "tftp": one(b.tftp), "http": one(b.http), "https": one(b.https), "storm": b.storm,
	}
	var names []string
	for name := range strings.SplitSeq(*only, ",") {
		if parts[name] == nil {
			return fmt.Errorf("-only %q: want some of %s", *only, allParts)
		}
		names = append(names, name)
	}
	var err error
	if b.dir, err = os.MkdirTemp(*dir, "muster-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.muster == "" {
		b.muster = filepath.Join(b.dir, "muster")
		out, err := exec.CommandContext(ctx, "go", "build", "-o", b.muster, "github.com/musterboot/muster/cmd/muster").CombinedOutput()
		if err != nil {
			return fmt.Errorf("build muster: %w: %s", err, out)
		}
	}
	remove, err := b.count()
	if err != nil {
		return err
	}
	defer remove()
	if b.noLimits, err = noLimits(b.muster); err != nil {
		return err
	}
	lab, err := nettest.New()
	if err != nil {
		return err
	}
	defer lab.Close()
	if err := b.connect(ctx, lab); err != nil {
		return err
	}
	fmt.Println(machine(*dir))
	for _, name := range names {
		ts, err := parts[name](ctx)
		for _, t := range ts { // after an interruption, the tables so far
			if t != nil {
				t.print(os.Stdout)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	fmt.Printf("\nMade by: `%s`\n", "go run ./bench "+strings.Join(os.Args[1:], " "))
	return ctx.Err()
}

// connect joins two hosts by a cable without a switch, offloads as the kernel
// sets them.
func (b *bench) connect(ctx context.Context, lab *nettest.Lab) (err error) {
	if b.server, err = lab.Host("server"); err != nil {
		return err
	}
	if b.client, err = lab.Host("client"); err != nil {
		return err
	}
	if _, err := b.server.Run(ctx, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.client.Name); err != nil {
		return err
	}
	for ns, addr := range map[*nettest.NS]string{b.server: serverAddr, b.client: clientAddr} {
		if err := ns.Addr("eth0", addr+prefixBits); err != nil {
			return err
		}
		if _, err := ns.Run(ctx, "ip", "link", "set", "eth0", "up"); err != nil {
			return err
		}
	}
	return nil
}

// each runs fn for every server in turn, pairs times over. A failed run is
// reported and leaves a gap; only the end of ctx ends the round.
func (b *bench) each(ctx context.Context, servers []program, fn func(round int, p program) error) error {
	for round := range b.pairs {
		if round > 0 && b.before != "" {
			slices.Reverse(servers) // what runs second is never the same
		}
		for _, p := range servers {
			if p.name == "dnsmasq" && round >= b.dnsmasqRounds {
				continue
			}
			start := time.Now()
			if err := fn(round, p); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				fmt.Fprintf(os.Stderr, "round %d, %s: %v\n", round+1, p.name, err)
				continue
			}
			fmt.Fprintf(os.Stderr, "round %d, %s: %v\n", round+1, p.name, time.Since(start).Round(time.Second))
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
