// dhcp.go: leases with perfdhcp, the load generator of the Kea project: how
// many a second, at what latency and at what processor time.

package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	poolFrom = "10.80.1.1" // 65,000 addresses
	poolTo   = "10.80.254.232"
	clients  = 50000
	maxDrops = 0.0005
	overload = 16000 // offered where more is offered than anybody can take
)

func (b *bench) dhcp(ctx context.Context) (*table, error) {
	servers := []program{b.musterServer("udp/67", nil), kea, dnsmasqDHCP}
	t := newTable("DHCP", servers)
	t.note("perfdhcp, full DISCOVER-OFFER-REQUEST-ACK exchanges, one per new client, pool of 65,000, no lease at the start of a run. perfdhcp always sets giaddr, here to its own on-link address, so all three answer by unicast to it.")
	t.note("Muster and dnsmasq sync each lease to disk before its ACK; Kea writes its lease file without fsync. Muster logs each lease as it ships; Kea and dnsmasq have that turned off, dnsmasq its ping before an offer too.")
	t.note("Highest rate: offered exchanges a second with at most 0.05 %% lost, by bisection; a rate is given up when two runs fail. Clients run on the same processors as the server.")
	length := 3 * time.Second
	steps := 7
	if b.short {
		length, steps = time.Second, 4
	}
	err := b.each(ctx, servers, func(_ int, p program) error {
		low, err := b.load(ctx, p, 100, length)
		if err != nil {
			return err
		}
		t.add("DISCOVER to OFFER at 100/s, mean", "ms", p, low.offer)
		t.add("REQUEST to ACK at 100/s, mean", "ms", p, low.ack)
		t.add("REQUEST to ACK at 100/s, worst", "ms", p, low.worst)
		best, rate, err := b.highest(ctx, p, length, steps)
		if err != nil {
			return err
		}
		t.add("highest rate without loss", "/s", p, rate)
		t.add("server CPU per exchange at that rate", "µs", p, float64(best.cpu.Microseconds())/best.acked)
		over, err := b.load(ctx, p, overload, length)
		if err != nil {
			return err
		}
		t.add(fmt.Sprintf("leases when %d/s are offered", overload), "/s", p, over.acked/length.Seconds())
		return nil
	})
	return t, err
}

// highest finds the highest rate that is served, between 100 and overload.
func (b *bench) highest(ctx context.Context, p program, length time.Duration, steps int) (best load, rate float64, err error) {
	lo, hi := 100.0, float64(overload)
	for range steps {
		mid := math.Round(math.Sqrt(lo * hi))
		served := false
		for try := 0; try < 2 && !served; try++ {
			l, err := b.load(ctx, p, int(mid), length)
			if err != nil {
				return best, 0, err
			}
			if served = l.served(); served {
				best, rate = l, l.acked/length.Seconds()
			}
		}
		if served {
			lo = mid
		} else {
			hi = mid
		}
	}
	if rate == 0 {
		return best, 0, fmt.Errorf("no rate from 100/s on is served without loss")
	}
	return best, rate, nil
}

// load is what one run of perfdhcp saw.
type load struct {
	wanted, sent, acked float64 // exchanges
	offer, ack, worst   float64 // milliseconds
	cpu                 time.Duration
}

// served wants perfdhcp to have offered what it should, and the answers.
func (l load) served() bool {
	return l.sent >= 0.97*l.wanted && l.sent-l.acked <= maxDrops*l.sent
}

// load offers rate exchanges a second to p on fresh state.
func (b *bench) load(ctx context.Context, p program, rate int, length time.Duration) (l load, err error) {
	s, err := b.start(ctx, p)
	if err != nil {
		return l, err
	}
	defer s.stop()
	ctx, cancel := context.WithTimeout(ctx, length+20*time.Second)
	defer cancel()
	before := s.cpu()
	// -W: the last exchanges have a second to end. The exit code only says
	// whether anything was lost.
	out, err := b.client.Run(ctx, "perfdhcp", "-4", "-l", "eth0", "-r", strconv.Itoa(rate), "-R", strconv.Itoa(clients),
		"-p", strconv.Itoa(int(length.Seconds())), "-W", "1000000", serverAddr)
	l.cpu = s.cpu() - before
	l.wanted = float64(rate) * length.Seconds()
	offer, ack, found := strings.Cut(out, "Statistics for: REQUEST-ACK")
	if !found {
		return l, fmt.Errorf("perfdhcp said nothing of use: %w: %s", err, out)
	}
	l.sent, l.acked = number(offer, "sent packets"), number(ack, "received packets")
	l.offer, l.ack, l.worst = number(offer, "avg delay"), number(ack, "avg delay"), number(ack, "max delay")
	return l, nil
}

// number finds the figure behind a label; 0 if there is none.
func number(s, label string) float64 {
	m := regexp.MustCompile(label + `: ([0-9.]+)`).FindStringSubmatch(s)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseFloat(m[1], 64)
	return n
}

var kea = program{"Kea", "udp/67", func(dir string) ([]string, []string, error) {
	conf := filepath.Join(dir, "kea.conf")
	err := os.WriteFile(conf, fmt.Appendf(nil, `{"Dhcp4": {
	"interfaces-config": {"interfaces": ["eth0"]},
	"lease-database": {"type": "memfile", "persist": true, "name": "%s/leases.csv"},
	"multi-threading": {"enable-multi-threading": true},
	"valid-lifetime": 3600,
	"subnet4": [{"subnet": "10.80.0.0/16", "pools": [{"pool": "%s-%s"}]}],
	"loggers": [{"name": "kea-dhcp4", "severity": "WARN", "output_options": [{"output": "stderr"}]}]
}}
`, dir, poolFrom, poolTo), 0o644)
	return []string{"kea-dhcp4", "-c", conf}, []string{"KEA_LOCKFILE_DIR=" + dir, "KEA_PIDFILE_DIR=" + dir}, err
}}

var dnsmasqDHCP = program{"dnsmasq", "udp/67", func(dir string) ([]string, []string, error) {
	return dnsmasq(dir, "--dhcp-range="+poolFrom+","+poolTo+",255.255.0.0,1h", "--dhcp-authoritative", "--no-ping", "--quiet-dhcp",
		"--dhcp-lease-max=65000", "--dhcp-leasefile="+filepath.Join(dir, "leases")), nil, nil
}}

// dnsmasq is its command without DNS and without the machine's configuration.
func dnsmasq(dir string, args ...string) []string {
	return append([]string{"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces",
		"--user=root", "--pid-file=" + filepath.Join(dir, "pid"), "--log-facility=" + filepath.Join(dir, "log")}, args...)
}
