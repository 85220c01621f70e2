// dhcp.go: leases with perfdhcp, the load generator of the Kea project: the
// rate, the latency, the processor time and the memory. dhcp6.go holds the
// differences of DHCPv6.

package main

import (
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	clients   = 60000 // new machines that one run may bring
	warmUp    = 30    // exchanges before a run is measured
	maxDrops  = 0.0005
	firstTry  = 4000      // exchanges a second
	mostRate  = 50000     // more than perfdhcp can offer
	longDelay = "1000000" // µs for the last exchanges to end
)

// protocol is the names that perfdhcp and the tables use, in DHCPv4 and in
// DHCPv6.
type protocol struct {
	flag, to                   string // of perfdhcp: the version, and whom it asks
	ask, offer, request, reply string // message types
	client                     func(*bench) (plain, error)
	listen                     func(*bench) (responder, func(), error)
}

// plain is one client at a time, of this program's own.
type plain interface {
	awake(context.Context, *process) (time.Duration, error)
	next(n int) (took []float64, err error)
	close()
}

var dhcp4 = protocol{
	flag: "-4", to: serverAddr, ask: "DISCOVER", offer: "OFFER", request: "REQUEST", reply: "ACK",
	client: func(b *bench) (plain, error) { return b.wire(warmers) },
	listen: (*bench).parrot4,
}

func (b *bench) dhcp(ctx context.Context) (ts []*table, err error) {
	restore, err := roomForClients()
	if err != nil {
		return nil, err
	}
	defer restore()
	most, err := b.ceiling(ctx, dhcp4)
	if err != nil {
		return nil, fmt.Errorf("perfdhcp alone: %w", err)
	}
	taken := 50000
	if b.short {
		taken = 10000
	}
	pools := []pool{{size: 65000}, {size: 65000 + taken, leased: taken}}
	if b.before != "" {
		pools = pools[:1] // an older version may refuse the store that this one fills
	}
	for _, p := range pools {
		t, err := b.dhcpTable(ctx, p, most)
		ts = append(ts, t)
		if err != nil {
			return ts, err
		}
	}
	return ts, nil
}

func (b *bench) dhcpTable(ctx context.Context, pool pool, most float64) (*table, error) {
	servers := b.field(b.musterServer("Muster", "udp/67", pool, b.noLimits, nil), kea(pool), dnsmasqDHCP(pool))
	title := "DHCP, no lease at the start"
	evenly, kept := "", ""
	if pool.leased > 0 {
		evenly = " (to other clients, spread evenly)"
		kept = fmt.Sprintf(", or one to which fewer than %s leases were added", thousands(fewAdded))
		title = fmt.Sprintf("DHCP, %s leases at the start", thousands(pool.leased))
	}
	t := newTable(title, servers)
	t.note("perfdhcp, one thread, full DISCOVER-OFFER-REQUEST-ACK exchanges, one per new client. The pool has %s addresses, %s of them leased at the start%s, so %s are free. perfdhcp always sets giaddr, here to its own on-link address, so all three answer by unicast to it.", thousands(pool.size), thousands(pool.leased), evenly, thousands(pool.size-pool.leased))
	t.note("Every run has a new server on fresh state%s; it serves %d exchanges of a plain client first.", kept, warmUp)
	t.note("Muster and dnsmasq sync each lease to disk before its ACK; Kea writes its lease file without fsync. Muster's request log is on, as it ships; Kea and dnsmasq have theirs turned off, dnsmasq its ping before an offer too.%s", b.limitsNote())
	keep := 0.0
	if pool.leased > 0 {
		keep = fewAdded
	}
	return t, b.exchanges(ctx, t, servers, dhcp4, keep, most)
}

// exchanges fills a table with perfdhcp's results for each server. A server is
// kept for the next run until keep leases were added.
func (b *bench) exchanges(ctx context.Context, t *table, servers []program, v protocol, keep, most float64) error {
	t.note("Highest rate: offered exchanges a second with at most 0.05 %% lost, by bisection; a rate is given up when two runs fail, or one by more than a tenth. Most leases: the best of several offers above that rate, counted while perfdhcp sends.")
	t.note("Latency at 100/s: a dash where more than 0.05 %% was lost. Memory: resident set of the process.")
	t.note("Sockets that set no receive buffer, perfdhcp's among them, have 4 MiB here (net.core.rmem_default), for all servers: with the usual 208 KiB perfdhcp loses answers that reached it.")
	t.note("Clients run on the same processors as the server. perfdhcp itself did %s exchanges a second without loss with a responder that only fills in the reply: no rate without loss can be above that.", thousands(int(most)))
	length, slow, offers := 3*time.Second, 10*time.Second, []float64{1.25, 1.5, 2, 3}
	if b.short {
		length, slow, offers = time.Second, 2*time.Second, []float64{1.5, 3}
	}
	return b.each(ctx, servers, func(_ int, p program) error {
		g := &target{b: b, p: p, v: v, keep: keep}
		defer g.stop()
		low, err := g.load(ctx, 100, slow, "-W", longDelay, "-x", "t")
		if err != nil {
			return err
		}
		t.add("start to the first "+v.offer, "ms", p, ms(g.start))
		if low.served() {
			t.delays(v.ask+" to "+v.offer+" at 100/s", p, low.offer)
			t.delays(v.request+" to "+v.reply+" at 100/s", p, low.ack)
		}
		t.add("lost at 100/s", "%", p, 100*(1-low.acked/low.sent))
		t.add("memory after the run at 100/s", "MB", p, low.memory)
		if b.before != "" {
			return g.same(ctx, t, length)
		}
		best, err := g.highest(ctx, length)
		if err != nil {
			return err
		}
		t.add("highest rate without loss", "/s", p, best.rate())
		t.add("server CPU per exchange at that rate", "µs", p, float64(best.cpu.Microseconds())/best.acked)
		top := best.rate()
		for _, times := range offers {
			l, err := g.load(ctx, int(min(best.rate()*times, mostRate)), length)
			if err != nil {
				return err
			}
			top = max(top, l.rate())
		}
		t.add("most leases when more is offered", "/s", p, top)
		t.add("memory after the run at the highest rate", "MB", p, best.memory)
		return nil
	})
}

// sameRate is served by either of two versions with a processor to spare.
const sameRate = 3000

// same compares two versions on the same work. Bisection would not: it ends at
// another rate each time, and small differences disappear in that.
func (g *target) same(ctx context.Context, t *table, length time.Duration) error {
	at := fmt.Sprintf(" at %s/s", thousands(sameRate))
	l, err := g.load(ctx, sameRate, length, "-W", longDelay, "-x", "t")
	if err != nil {
		return err
	}
	t.delays(g.v.request+" to "+g.v.reply+at, g.p, l.ack)
	t.add("server CPU per exchange"+at, "µs", g.p, float64(l.cpu.Microseconds())/l.acked)
	t.add("memory after the run"+at, "MB", g.p, l.memory)
	if l, err = g.load(ctx, mostRate, length); err != nil {
		return err
	}
	t.add("leases when "+thousands(mostRate)+"/s are asked for", "/s", g.p, l.rate())
	t.add("memory after that", "MB", g.p, l.memory)
	return nil
}

// clientBuffer is the receive buffer of perfdhcp, which sets none. With the
// usual 208 KiB it loses answers that arrive while it waits for a processor.
// Those losses would count against any server that answers in bursts.
const clientBuffer = 4 << 20

// roomForClients makes clientBuffer the default of sockets until restore is
// called.
func roomForClients() (restore func(), err error) {
	const name = "/proc/sys/net/core/rmem_default"
	old, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(name, strconv.AppendInt(nil, clientBuffer, 10), 0); err != nil {
		return nil, fmt.Errorf("give perfdhcp a larger receive buffer: %w", err)
	}
	return func() { _ = os.WriteFile(name, old, 0) }, nil
}

// limitsNote says which of its bounds on strangers Muster runs without.
func (b *bench) limitsNote() string {
	if b.noLimits == "" {
		return ""
	}
	return " Muster's bounds on machines that nobody knows are off, as the peers have none: `" + strings.Join(strings.Split(strings.TrimSpace(b.noLimits), "\n"), "`, `") + "`."
}

// highest finds the highest rate that is served. It doubles or halves the rate
// until the limit lies between two rates, then bisects.
func (g *target) highest(ctx context.Context, length time.Duration) (best load, err error) {
	near := 1.04
	if g.b.short {
		near = 1.3
	}
	lo, hi := 0.0, 0.0
	for rate := float64(firstTry); rate <= mostRate; {
		l, err := g.load(ctx, int(rate), length, "-W", longDelay)
		if err == nil && !l.served() && l.acked > 0.9*l.wanted {
			l, err = g.load(ctx, int(rate), length, "-W", longDelay)
		}
		if err != nil {
			return best, err
		}
		if l.served() {
			lo, best = rate, l
		} else {
			hi = rate
		}
		switch {
		case hi == 0:
			rate *= 2
		case lo == 0:
			// Its rate under overload is close to its limit.
			rate = math.Round(min(rate/2, max(l.rate(), rate/16)))
			if rate < 1 {
				return best, fmt.Errorf("no rate is served without loss")
			}
		case hi/lo < near || hi-lo < 2:
			return best, nil
		default:
			rate = math.Round(math.Sqrt(lo * hi))
		}
	}
	return best, nil
}

// load is the result of one run of perfdhcp.
type load struct {
	length              time.Duration
	wanted, sent, acked float64   // exchanges
	offer, ack          []float64 // milliseconds, where they were asked for
	cpu                 time.Duration
	memory              float64 // MB
}

// served reports whether perfdhcp offered the wanted rate and got the answers.
func (l load) served() bool {
	return l.sent >= 0.97*l.wanted-1 && l.sent-l.acked <= maxDrops*l.sent
}

func (l load) rate() float64 { return l.acked / l.length.Seconds() }

// target is a server that is loaded several times.
type target struct {
	b     *bench
	p     program
	v     protocol
	keep  float64 // it stays for the next run until this many leases were added
	s     *process
	w     plain
	start time.Duration // until it answered
	added float64
}

// fewAdded is a number of added leases that makes no difference beside those
// present at the start. It spares a restart of a server that takes a minute to
// read its leases.
const fewAdded = 1000

func (g *target) stop() {
	if g.s != nil {
		g.s.stop()
		g.w.close()
		g.s, g.added = nil, 0
	}
}

// load offers rate exchanges a second to a server on fresh state.
func (g *target) load(ctx context.Context, rate int, length time.Duration, more ...string) (l load, err error) {
	if g.added >= g.keep {
		g.stop()
	}
	if g.s == nil {
		if g.w, err = g.v.client(g.b); err != nil {
			return l, err
		}
		if g.s, err = g.b.launch(ctx, g.p); err != nil {
			g.w.close()
			return l, err
		}
		if g.start, err = g.w.awake(ctx, g.s); err != nil {
			return l, err
		}
	}
	// A server that was kept may still work off the queue of the last run.
	if _, err := g.w.awake(ctx, g.s); err != nil {
		return l, err
	}
	if _, err := g.w.next(warmUp); err != nil {
		return l, fmt.Errorf("before the run: %w", err)
	}
	before := g.s.cpu()
	l, err = g.b.offer(ctx, g.v, rate, length, more...)
	l.cpu, l.memory = g.s.cpu()-before, g.s.memory()
	g.added += warmUp + l.acked
	if g.b.verbose {
		fmt.Fprintf(os.Stderr, "%s: %d/s for %v: sent %.0f, acked %.0f, served %v\n", g.p.name, rate, l.length, l.sent, l.acked, l.served())
	}
	return l, err
}

// offer runs perfdhcp. With -W it waits for late answers. Without it only the
// answers count that came before it stops sending.
func (b *bench) offer(ctx context.Context, v protocol, rate int, length time.Duration, more ...string) (l load, err error) {
	// No client asks twice, not even in another run. perfdhcp counts in whole seconds.
	l.length = max(time.Second, min(length, clients*time.Second/time.Duration(rate)).Truncate(time.Second))
	ctx, cancel := context.WithTimeout(ctx, l.length+20*time.Second)
	defer cancel()
	// The exit code only says whether anything was lost. One thread: with few
	// processors its second thread takes more from the server than it adds.
	b.runs++
	base := fmt.Sprintf("mac=00:0c:%02x:%02x:00:00", byte(b.runs>>8), byte(b.runs))
	args := []string{v.flag, "-g", "single", "-l", "eth0", "-b", base, "-r", strconv.Itoa(rate), "-R", strconv.Itoa(clients), "-p", strconv.Itoa(int(l.length.Seconds()))}
	out, err := b.client.Run(ctx, "perfdhcp", append(append(args, more...), v.to)...)
	l.wanted = float64(rate) * l.length.Seconds()
	first, second, found := strings.Cut(out, "Statistics for: "+v.request+"-"+v.reply)
	if !found {
		return l, fmt.Errorf("perfdhcp said nothing of use: %w: %s", err, out)
	}
	l.sent, l.acked = number(first, "sent packets"), number(second, "received packets")
	if l.sent == 0 {
		return l, fmt.Errorf("perfdhcp sent nothing: %s", out)
	}
	offers, acks, _ := strings.Cut(second, "Timestamps for packets: "+v.request+"-"+v.reply)
	l.offer, l.ack = delays(offers), delays(acks)
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

// delays reads the timestamps that perfdhcp -x t prints, in milliseconds.
func delays(s string) (out []float64) {
	for line := range strings.Lines(s) {
		times, ok := strings.CutPrefix(line, "sent / received: ")
		if !ok {
			continue
		}
		sent, received, _ := strings.Cut(strings.TrimSpace(times), " / ")
		from, err1 := strconv.ParseFloat(sent, 64)
		to, err2 := strconv.ParseFloat(received, 64)
		if err1 == nil && err2 == nil {
			out = append(out, (to-from)*1000)
		}
	}
	return out
}

// ceiling is the limit of perfdhcp on this machine: the highest rate that it
// completes with a responder that does no work.
func (b *bench) ceiling(ctx context.Context, v protocol) (most float64, err error) {
	answer, end, err := v.listen(b)
	if err != nil {
		return 0, err
	}
	defer end()
	go answer()
	step := 1.2
	if b.short {
		step = 1.5
	}
	for rate := 10000.0; rate < mostRate; rate *= step {
		l, err := b.offer(ctx, v, int(rate), 2*time.Second, "-W", longDelay)
		if err != nil {
			return 0, err
		}
		if l.served() {
			most = l.rate()
		}
		if l.acked < 0.7*l.wanted {
			break
		}
	}
	return most, nil
}

// responder answers until its socket closes.
type responder func()

// batches is a socket of either family.
type batches interface {
	ReadBatch([]ipv4.Message, int) (int, error)
	WriteBatch([]ipv4.Message, int) (int, error)
}

// parrot4 answers every DISCOVER and REQUEST with the next address, or with the
// address that it asks for.
func (b *bench) parrot4() (answer responder, end func(), err error) {
	pc, err := b.server.ListenPacket("udp4", serverAddr+":67")
	if err != nil {
		return nil, nil, err
	}
	next := uint32(10<<24 | 65<<16)
	fill := func(d []byte) []byte {
		d = d[:max(len(d), dhcpFixed)]
		kind := byte(offer)
		if v := option(d, 53); len(v) == 1 && v[0] == request {
			kind = ack
			copy(d[16:20], option(d, 50))
		} else {
			next++
			copy(d[16:20], []byte{byte(next >> 24), byte(next >> 16), byte(next >> 8), byte(next)})
		}
		d[0] = 2
		d = append(d[:dhcpFixed], 53, 1, kind, 51, 4, 0, 0, 14, 16, 1, 4, 255, 224, 0, 0, 54, 4)
		return append(append(d, net.ParseIP(serverAddr).To4()...), 255)
	}
	return func() { parrot(ipv4.NewPacketConn(pc), fill) }, func() { pc.Close() }, nil
}

// parrot answers each message with the bytes that fill makes of it.
func parrot(c batches, fill func([]byte) []byte) {
	msgs := make([]ipv4.Message, 64)
	for i := range msgs {
		msgs[i].Buffers = [][]byte{make([]byte, 2048)}
	}
	for {
		for i := range msgs {
			msgs[i].Buffers[0] = msgs[i].Buffers[0][:2048]
		}
		n, err := c.ReadBatch(msgs, 0)
		if err != nil {
			return
		}
		for i := range n {
			m := &msgs[i]
			m.Buffers[0] = fill(m.Buffers[0][:m.N])
			m.N = 0
		}
		for sent := 0; sent < n; {
			k, err := c.WriteBatch(msgs[sent:n], 0)
			if err != nil {
				break
			}
			sent += k
		}
	}
}
