// simulate.go: "muster simulate": machines in software that boot over the real network
// from any server that answers: one with every step shown, or many at once (a storm).

package main

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/internal/simclient"
)

// simulation is what the flags ask for.
type simulation struct {
	kind     *simclient.Kind
	cfg      simclient.Config
	mac      string
	uuid     string
	serial   string
	relay    string
	server   string
	ca       string
	expect   string
	stages   []string
	count    int
	rate     float64
	parallel int
	brief    bool
}

func (a *app) simulateCmd() *cobra.Command {
	var s simulation
	var kinds []string
	text := "Kinds:\n"
	for _, k := range simclient.Kinds() {
		kinds = append(kinds, k.Name)
		six := ""
		if k.IPv6() {
			six = ", --ipv6"
		}
		text += fmt.Sprintf("  %-16s %s%s\n", k.Name, k.What, six)
	}
	c := &cobra.Command{
		Use: "simulate KIND", Short: "Boot a machine in software over the real network, to prove it before hardware is touched",
		Long: "Boots a machine in software from whatever server answers: DHCP as that firmware does it, its loader,\nthe script, kernel and initrd to the last byte, and the report. Needs root. Addresses are given back at the end.\n\n" + text,
		Example: "  sudo muster simulate uefi-x64 --interface eth1\n  sudo muster simulate pi4 --interface eth1 --serial 1234abcd\n  sudo muster simulate uefi-http-x64 --interface eth1 --ipv6\n  sudo muster simulate ipxe --interface eth1 --count 1000 --rate 100 --json\n" +
			"  sudo muster simulate bios --relay 10.20.0.5 --server 10.77.0.1 --circuit-id Ethernet12",
		ValidArgs: kinds,
		Args:      exactly(1, "a kind of machine: "+strings.Join(kinds, ", ")),
		RunE: func(c *cobra.Command, args []string) error {
			k, ok := simclient.KindNamed(args[0])
			if !ok {
				return usagef("there is no kind %q; want one of %s", args[0], strings.Join(kinds, ", "))
			}
			s.kind = k
			return a.simulate(c, &s)
		},
	}
	fl := c.Flags()
	fl.StringVarP(&s.cfg.Interface, "interface", "i", "", "interface on the network to prove")
	fl.BoolVar(&s.cfg.IPv6, "ipv6", false, "boot over IPv6, and not over IPv4")
	fl.StringVar(&s.mac, "mac", "", "MAC address; the first of them with --count (default: made up, the same every time on this host)")
	fl.StringVar(&s.uuid, "uuid", "", "SMBIOS UUID (default: made of the MAC)")
	fl.StringVar(&s.serial, "serial", "", "serial number (default: made of the MAC)")
	fl.StringVar(&s.expect, "expect", "any", "what the machine must come to: boot, local, hold, or any of the three")
	fl.StringVar(&s.relay, "relay", "", "play the relay agent with this address of this host (giaddr; link-address if it is one of IPv6)")
	fl.StringVar(&s.server, "server", "", "with --relay: the server that it passes requests to")
	fl.StringVar(&s.cfg.Relay.CircuitID, "circuit-id", "", "with --relay: circuit ID (option 82), or interface ID of DHCPv6")
	fl.StringVar(&s.cfg.Relay.RemoteID, "remote-id", "", "with --relay: remote ID")
	fl.StringVar(&s.ca, "ca", "", "trust the CAs in this PEM file for HTTPS, and no others")
	fl.StringSliceVar(&s.stages, "stage", nil, "report these stages at the end (default: running)")
	fl.BoolVar(&s.cfg.NoReport, "no-report", false, "do not report")
	fl.BoolVar(&s.cfg.Fast, "fast", false, "wait a tenth of the time that firmware waits, and repeat requests four times as soon")
	fl.BoolVar(&s.cfg.Keep, "keep", false, "keep the leases instead of releasing them")
	fl.BoolVar(&s.cfg.NoAddress, "no-address", false, "add no address to the interface: fetch files from an address that it has, or not at all")
	fl.BoolVar(&s.cfg.UseLease, "use-lease", false, "fetch files from the leased address even if the interface has another one in the subnet; implied by --count")
	fl.BoolVar(&s.cfg.OnlyHead, "no-kernel", false, "stop at the script: do not load kernel and initrd")
	fl.BoolVar(&s.cfg.NoDigest, "no-digest", false, "do not hash what is loaded")
	fl.DurationVar(&s.cfg.Limit, "timeout", 10*time.Minute, "longest time for one machine")
	fl.IntVar(&s.count, "count", 1, "number of machines to boot")
	fl.Float64Var(&s.rate, "rate", 0, "with --count: machines to start in a second (default: as many as --parallel allows)")
	fl.IntVar(&s.parallel, "parallel", 256, "with --count: most machines at the same time")
	fl.BoolVar(&s.brief, "brief", false, "with --count and --json: print totals only, not every machine")
	return c
}

// config turns flags into what the machines are told.
func (s *simulation) config() (*simclient.Machine, error) {
	switch {
	case !slices.Contains([]string{"any", "boot", "local", "hold"}, s.expect):
		return nil, usagef("--expect %q: want boot, local, hold or any", s.expect)
	case s.count < 1 || s.count > 1<<20:
		return nil, usagef("--count wants a number from 1 to %d", 1<<20)
	case s.rate < 0 || math.IsNaN(s.rate) || s.parallel < 1:
		return nil, usagef("--rate and --parallel want positive numbers")
	case s.relay == "" && s.cfg.Interface == "":
		return nil, usagef("say on which interface: --interface eth1 (or --relay ADDRESS --server ADDRESS)")
	case (s.relay == "") != (s.server == ""):
		return nil, usagef("--relay and --server belong together")
	}
	if s.relay != "" {
		for text, to := range map[string]*netip.Addr{s.relay: &s.cfg.Relay.Addr, s.server: &s.cfg.Relay.Server} {
			ip, err := netip.ParseAddr(text)
			if err != nil || ip.Zone() != "" {
				return nil, usagef("%q is no IP address", text)
			}
			*to = ip.Unmap()
		}
		r := s.cfg.Relay
		if r.Addr.Is6() != r.Server.Is6() || s.cfg.IPv6 && r.Addr.Is4() {
			return nil, usagef("--relay %s and --server %s: want two addresses of IPv4, or two of IPv6", r.Addr, r.Server)
		}
		s.cfg.IPv6 = r.Addr.Is6()
	}
	if s.cfg.IPv6 && !s.kind.IPv6() {
		return nil, usagef("%s does not boot over IPv6", s.kind.Name)
	}
	if len(s.cfg.Relay.CircuitID) > 100 || len(s.cfg.Relay.RemoteID) > 100 {
		return nil, usagef("--circuit-id and --remote-id hold at most 100 bytes")
	}
	if s.ca != "" {
		pem, err := os.ReadFile(s.ca)
		if err != nil {
			return nil, err
		}
		s.cfg.Roots = x509.NewCertPool()
		if !s.cfg.Roots.AppendCertsFromPEM(pem) {
			return nil, usagef("--ca %s: there is no PEM certificate in it", s.ca)
		}
	}
	s.cfg.Stages = s.stages
	if s.count > 1 && !s.cfg.NoAddress {
		// Servers limit what one address may do, so the machines need several.
		s.cfg.UseLease = true
	}
	seed, _ := os.Hostname()
	if ifi, err := net.InterfaceByName(s.cfg.Interface); err == nil {
		seed += ifi.HardwareAddr.String()
	}
	m := simclient.NewMachine(s.kind, seed, 0)
	if s.mac != "" {
		hw, err := net.ParseMAC(s.mac)
		if err != nil || len(hw) != 6 || hw[0]&1 != 0 {
			return nil, usagef("--mac %q is no machine's MAC address", s.mac)
		}
		m.MAC = simclient.MAC(hw)
		m.Identify()
	}
	if s.uuid != "" {
		u, err := parseUUID(s.uuid)
		if err != nil {
			return nil, err
		}
		m.UUID = u
	}
	if s.serial != "" {
		if len(s.serial) > 64 {
			return nil, usagef("--serial holds at most 64 bytes")
		}
		m.Serial = s.serial
	}
	if s.count > 1 && (s.uuid != "" || s.serial != "") {
		return nil, usagef("--uuid and --serial are one machine's: leave them out with --count")
	}
	return m, nil
}

func (a *app) simulate(c *cobra.Command, s *simulation) (err error) {
	m, err := s.config()
	if err != nil {
		return err
	}
	h, err := simclient.Open(s.cfg)
	if err != nil {
		return err
	}
	defer func() {
		if e := h.Close(); e != nil && err == nil {
			err = e
		}
	}()
	if s.count > 1 {
		return a.storm(c, s, h, m)
	}
	p := a.printer()
	var tell func(simclient.Step)
	if !a.json {
		where := "on " + s.cfg.Interface
		if s.relay != "" {
			where = "behind relay " + s.relay
		}
		a.print("%s %s, MAC %s, serial %s\n", p.paint(bold, m.Kind.What), where, m.MAC, m.Serial)
		tell = p.simStep
	}
	t := h.Boot(c.Context(), m, tell)
	if a.json {
		if err := a.printJSON(t); err != nil {
			return err
		}
	} else {
		p.simEnd(t)
	}
	return s.judge(t)
}

// judge makes the exit status: nil if the machine reached what was expected.
func (s *simulation) judge(t *simclient.Transcript) error {
	switch {
	case t.End == simclient.Broken || t.End == simclient.Loaded:
		return fmt.Errorf("the machine did not boot")
	case s.expect != "any" && string(t.End) != s.expect:
		return fmt.Errorf("the machine came to %q, expected was %q", t.End, s.expect)
	}
	return nil
}

func (p printer) verdict(v simclient.Verdict) fit {
	color := map[simclient.Verdict]string{simclient.OK: green, simclient.Failed: red, simclient.Skipped: dim}[v]
	return p.paint(color, fmt.Sprintf("%-7s", v))
}

func took(d time.Duration) string {
	switch {
	case d == 0:
		return ""
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// simStep prints a step as it ends.
func (p printer) simStep(s simclient.Step) {
	text := phrase("%s", s.Text)
	if s.Bytes > 0 {
		text += phrase(", %s", size(s.Bytes))
	}
	if s.SHA256 != "" && (s.Name == "kernel" || s.Name == "initrd" || s.Name == "loader") {
		text += phrase(", sha256 %s…", s.SHA256[:12])
	}
	if t := took(s.Took); t != "" {
		text += p.paint(dim, " ("+t+")")
	}
	p.print("  %-13s %s %s\n", s.Name, p.verdict(s.Verdict), text)
	if s.Hint != "" {
		p.print("  %-13s         -> %s\n", "", s.Hint)
	}
}

func (p printer) simEnd(t *simclient.Transcript) {
	name := map[simclient.End]string{simclient.Booted: "boots", simclient.Local: "boots its disk", simclient.Held: "is held", simclient.Loaded: "loaded something unknown", simclient.Broken: "failed"}[t.End]
	color := green
	if t.End == simclient.Broken || t.End == simclient.Loaded {
		color = red
	}
	p.print("%s after %s: %s\n", p.paint(bold+color, name), t.Took.Round(10*time.Millisecond), t.Text)
	if t.Hint != "" {
		for _, s := range t.Steps {
			if s.Hint == t.Hint {
				return // shown already
			}
		}
		p.print("  -> %s\n", t.Hint)
	}
}

// storm boots many machines and prints totals.
func (a *app) storm(c *cobra.Command, s *simulation, h *simclient.Host, first *simclient.Machine) error {
	start, done, failed := time.Now(), 0, 0
	last := start
	terminal := isTerminal(a.err)
	progress := func(t *simclient.Transcript) {
		if done++; t.End == simclient.Broken {
			failed++
		}
		every := 5 * time.Second
		if terminal {
			every = 200 * time.Millisecond
		}
		if now := time.Now(); now.Sub(last) >= every || terminal && done == s.count {
			last = now
			end := "\n"
			if terminal {
				end = "\r"
				if done == s.count {
					end = "\n"
				}
			}
			a.note("%d of %d done, %d failed, %s%s", done, s.count, failed, time.Since(start).Round(time.Second), fit(end))
		}
	}
	sum := h.Storm(c.Context(), first.After, s.count, s.rate, s.parallel, progress)
	bad := sum.Ends[simclient.Broken] + sum.Ends[simclient.Loaded]
	if s.expect != "any" {
		bad = s.count - sum.Ends[simclient.End(s.expect)]
	}
	if a.json {
		if s.brief {
			sum.Machines = nil
		}
		if err := a.printJSON(sum); err != nil {
			return err
		}
	} else {
		a.stormTable(s, sum)
	}
	switch {
	case sum.Twice > 0:
		return fmt.Errorf("%d times an address was leased to two machines at once", sum.Twice)
	case bad > 0:
		return fmt.Errorf("%d of %d machines did not come to what was expected", bad, s.count)
	}
	return nil
}

func (a *app) stormTable(s *simulation, sum *simclient.Sum) {
	rows := [][]string{{"step", "done", "failed", "p50", "p90", "max"}}
	ms := func(d time.Duration) string {
		if d < 10*time.Millisecond {
			return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
		}
		return took(d)
	}
	for _, r := range append(sum.Steps, sum.Whole) {
		rows = append(rows, []string{r.Name, fmt.Sprint(r.Done), fmt.Sprint(r.Failed), ms(r.P50), ms(r.P90), ms(r.Max)})
	}
	a.table(rows)
	var ends []string
	for _, e := range []simclient.End{simclient.Booted, simclient.Local, simclient.Held, simclient.Loaded, simclient.Broken} {
		if n := sum.Ends[e]; n > 0 {
			ends = append(ends, fmt.Sprintf("%d %s", n, e))
		}
	}
	a.print("%d %s in %s: %s; %s, %.1f MB/s; ", sum.Count, s.kind.Name, sum.Took.Round(10*time.Millisecond), strings.Join(ends, ", "), size(sum.Bytes), float64(sum.Bytes)/1e6/sum.Took.Seconds())
	if sum.Twice == 0 {
		a.print("no address twice\n")
	} else {
		a.print("%d addresses leased TWICE\n", sum.Twice)
	}
	for i, r := range sum.Reasons {
		if i == 10 {
			a.print("and %d kinds of failure more\n", len(sum.Reasons)-i)
			break
		}
		a.print("%d times: %s\n", r.Count, r.Text)
		if r.Hint != "" {
			a.print("  -> %s\n", r.Hint)
		}
	}
}

func parseUUID(text string) (u simclient.UUID, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(b) != 16 {
		return u, usagef("--uuid %q is no UUID", text)
	}
	return simclient.UUID(b), nil
}
