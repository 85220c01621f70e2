// doctor.go: "muster doctor" looks for what would keep a machine from booting,
// with or without a running daemon; and "muster version".

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/run"
)

// finding is one line of the doctor's output.
type finding struct {
	OK   bool   `json:"ok"`
	Warn bool   `json:"warning,omitempty"` // it is not ok, and keeps nobody from booting today
	What string `json:"what"`
	Text string `json:"text"`
	Mend string `json:"mend,omitempty"`
}

func (a *app) doctorCmd() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: "doctor", Short: "Look for what would keep a machine from booting", Args: exactly(0, "no arguments"),
		Example: "  sudo muster doctor\n  muster doctor --json",
		RunE: func(c *cobra.Command, _ []string) error {
			fs := a.examine(c.Context(), path, c.Flags().Changed("config"))
			bad := 0
			for _, f := range fs {
				if !f.OK && !f.Warn {
					bad++
				}
			}
			if a.json {
				if err := a.printJSON(fs); err != nil {
					return err
				}
			} else {
				p := a.printer()
				for _, f := range fs {
					mark := p.paint(green, "ok ")
					switch {
					case f.Warn:
						mark = p.paint(yellow, "!  ")
					case !f.OK:
						mark = p.paint(red, "BAD")
					}
					a.print("%s  %-10s %s\n", mark, f.What, f.Text)
					if f.Mend != "" {
						a.print("     %-10s %s\n", "", f.Mend)
					}
				}
			}
			if bad > 0 {
				return errors.New(counted(bad, "finding"))
			}
			return nil
		},
	}
	c.Flags().StringVar(&path, "config", config.Path, "configuration file")
	return c
}

func (a *app) examine(ctx context.Context, path string, explicit bool) []finding {
	var fs []finding
	add := func(ok bool, what, text, mend string) {
		fs = append(fs, finding{OK: ok, What: what, Text: text, Mend: mend})
	}

	var s client.Status
	running := false
	switch err := a.client().Call(ctx, http.MethodGet, "/api/v1/status", nil, &s); {
	case err == nil:
		running = true
		add(true, "daemon", fmt.Sprintf("version %s, up since %s", s.Version, ago(s.Started)), "")
		for _, n := range s.Networks {
			if n.Mode == boot.Off {
				fs = append(fs, finding{Warn: true, What: "network", Text: fmt.Sprintf("%s on %s is off: it answers nobody there", n.Name, n.Interface)})
				continue
			}
			add(n.State == "serving", "network", fmt.Sprintf("%s on %s, %s: %s", n.Name, n.Interface, n.Mode, n.State), "")
			fs = append(fs, examineServers(n)...)
			fs = append(fs, examineNames(n)...)
			fs = append(fs, examineRA(n, a.now().Sub(s.Started))...)
		}
		if s.Disk != "" {
			add(false, "disk", s.Disk, "make room in "+s.DataDir+": muster image list and muster template list show what is large")
		}
		fs = append(fs, examinePools(s.Pools)...)
		for i, l := range s.Damage {
			mend := ""
			if i == len(s.Damage)-1 {
				mend = "restore a backup, or go on without that: muster store repair"
			}
			add(false, "store", l, mend)
		}
		for _, l := range s.Spoilt {
			add(false, "file", l, "import or push it again: the same bytes replace what is damaged")
		}
		for _, w := range s.Warnings {
			add(false, "warning", w, "")
		}
		for _, k := range slices.Sorted(maps.Keys(s.Dropped)) {
			if n := s.Dropped[k]; n > 0 {
				add(true, "dropped", fmt.Sprintf("%d %s", n, k), "")
			}
		}
		if s.Pending > 0 {
			add(true, "roll", counted(s.Pending, "machine")+map[bool]string{true: " waits", false: " wait"}[s.Pending == 1]+" for approval", "muster host list --state pending")
		}
	case errors.Is(err, client.ErrNoDaemon):
		fs = append(fs, finding{Warn: true, What: "daemon", Text: "it does not run: no machine is answered", Mend: "sudo systemctl start muster; or, for one interface now: sudo muster serve -i " + strings.Join(run.Interfaces(), " or ")})
	default:
		add(false, "daemon", err.Error(), "")
	}

	if runtime.GOOS != "linux" {
		add(true, "system", "this is no Linux, and the appliance runs there only: nothing else was looked at", "")
		return fs
	}
	if running && !explicit {
		path = s.Config // of the daemon that runs, which may run by flags alone
	}
	cfg, err := config.Default(), error(nil)
	if path != "" {
		cfg, err = config.Load(path, explicit || running, run.Interfaces())
	}
	if path == "" {
		add(true, "config", "the daemon runs by flags, without a file", "")
	} else if err != nil {
		add(false, "config", err.Error(), "")
		cfg = config.Default()
	} else if len(cfg.Networks) == 0 && !running {
		add(false, "config", "no network is configured, so nothing is answered", "write "+path+", or: muster serve -i "+strings.Join(run.Interfaces(), " or "))
	} else {
		add(true, "config", counted(len(cfg.Networks), "network")+" in "+path, "")
	}
	for _, n := range cfg.Networks {
		l, err := run.Look(n.Interface)
		if err != nil {
			add(false, "interface", err.Error(), "")
			continue
		}
		if _, waits, err := config.Resolve(n, l.Found, l.Addrs); err != nil {
			add(false, "network", fmt.Sprintf("%s: %v", n.Name, err), "")
		} else if w := l.Wants(); w != "" {
			add(false, "network", n.Name+": "+w, "")
		} else if waits != "" {
			mend := ""
			switch {
			case !l.Found || n.Server.IsValid():
			case n.Mode == boot.Proxy || n.Mode == boot.Auto:
				mend = "let it take one of the DHCP server there (sudo dhclient " + n.Interface + "), or give it one (sudo ip address add ADDRESS/24 dev " + n.Interface + ")"
			default:
				mend = "sudo ip address add ADDRESS/24 dev " + n.Interface + ", and for good where this system keeps addresses"
			}
			add(false, "network", n.Name+": "+waits, mend)
		}
		if c := run.ContainerAdvice(n.Interface); c != "" {
			add(false, "container", c, "")
		}
		if fw := run.FirewallAdvice(ctx, n.Interface, cfg.UDP(), []int{config.Port(cfg.HTTP)}); fw != "" {
			add(false, "firewall", fw, "")
		}
	}
	var machines uint64
	for _, n := range cfg.Networks {
		for _, r := range n.Ranges {
			machines += r.Size()
		}
	}
	if most := run.Neighbours(); most > 0 && machines > most {
		add(false, "kernel", fmt.Sprintf("the ranges hold %d addresses, and the kernel remembers %d neighbours: when more boot at once, packets to some are lost", machines, most),
			fmt.Sprintf("sysctl net.ipv4.neigh.default.gc_thresh3=%d, for good in /etc/sysctl.d", max(8192, 2*machines)))
	}
	if !running {
		for _, p := range []struct {
			network string
			port    int
		}{{"udp", 67}, {"udp", 4011}, {"udp", config.Port(cfg.TFTP.Listen)}, {"tcp", config.Port(cfg.HTTP)}} {
			if who := run.PortHolder(p.network, p.port); who != "" {
				add(false, "port", fmt.Sprintf("%d/%s is taken by %s", p.port, p.network, who), "stop it before you start muster")
			}
		}
		if os.Geteuid() != 0 && !run.CanRaw() {
			add(false, "privilege", "raw frames are not allowed to this user", "run as root, or by the systemd unit, which has CAP_NET_RAW")
		}
	}
	dir := cmp.Or(s.DataDir, cfg.DataDir, a.dataDir)
	l := images.FindLoaders(images.LoaderDirs(dir)...)
	have := l.ByPlatform()
	for _, p := range boot.LoaderPlatforms() {
		if have[p] != "" {
			add(true, "loader", fmt.Sprintf("%s: %s", p, l.Path(have[p])), "")
		}
	}
	for _, name := range boot.SignedLoaders() {
		if p := l.Path(name); p != "" {
			add(true, "loader", name+": "+p+" (signed; served to who asks)", "")
		}
	}
	if running {
		for _, m := range s.Missing {
			add(!m.Expected, "loader", m.Text, map[bool]string{false: "no machine and no template of that kind is known"}[m.Expected])
		}
		return fs
	}
	for _, m := range l.Missing(boot.BIOS, boot.X64UEFI, boot.ARM64UEFI) {
		add(len(have) > 0, "loader", m, "")
	}
	return fs
}

// examinePools warns of ranges that are nearly used up.
func examinePools(ps []boot.PoolStatus) (fs []finding) {
	const mend = "a longer range, shorter leases, or muster lease list and muster lease release"
	for _, p := range ps {
		f := finding{What: "pool", Text: fmt.Sprintf("%s: %d of %d addresses are leased", p.Network, p.Leased, p.Size), Mend: mend}
		switch used := p.Leased + p.Offered; {
		case used >= p.Size:
			f.Text += ": a machine without one gets none"
		case used*10 >= p.Size*9:
			f.Warn = true
		default:
			f.OK, f.Mend = true, ""
		}
		fs = append(fs, f)
	}
	return fs
}

// examineServers names the other DHCP servers of a network. If this server gives
// addresses too, each machine takes the address of whichever answers first.
func examineServers(n client.NetworkStatus) (fs []finding) {
	for _, r := range n.Rivals {
		f := finding{OK: n.Mode == boot.Proxy, What: "server", Text: fmt.Sprintf("%s answers on network %s%s (last heard %s)", r.Server, n.Name, client.Offered(r.Rival), ago(r.Last))}
		switch {
		case f.OK:
		case r.Named:
			f.Warn, f.Text = true, fmt.Sprintf("a client on network %s named %s, which answers no question (last named %s)", n.Name, r.Server, ago(r.Last))
		case r.Server.Is6():
			f.Mend = "turn one of the two off: mode6 = \"off\" leaves the addresses to it"
		default:
			f.Mend = "turn one of the two off, or give boot answers only: mode = \"proxy\""
		}
		fs = append(fs, f)
	}
	return fs
}

// examineNames says which host URLs carry. An address will do, unless the certificate of
// https URLs is not for it.
func examineNames(n client.NetworkStatus) (fs []finding) {
	for _, s := range n.Names {
		fs = append(fs, finding{OK: s.OK, Warn: !s.OK, What: "name", Text: n.Name + ": " + s.Said()})
	}
	if n.Certificate != "" {
		fs = append(fs, finding{What: "name", Text: n.Name + ": " + n.Certificate})
	}
	return fs
}

// examineRA judges the router advertisements that a network's interface sends and
// hears. A link counts as one without routers after a minute: by then they were asked.
func examineRA(n client.NetworkStatus, up time.Duration) (fs []finding) {
	r := n.RA
	if r == nil {
		return nil
	}
	switch {
	case r.State != "":
		fs = append(fs, finding{OK: false, What: "ra", Text: n.Name + ": " + r.State, Mend: ""})
	case r.Says != "off":
		fs = append(fs, finding{OK: true, What: "ra", Text: fmt.Sprintf("%s advertises: %s", n.Name, r.Says), Mend: ""})
	case len(r.Routers) == 0 && up > time.Minute:
		fs = append(fs, finding{What: "ra", Text: "no router advertises on network " + n.Name + ": iPXE and operating systems wait for one and then do not ask for DHCPv6", Mend: "set ra = \"managed\" for it"})
	}
	for _, o := range r.Routers {
		fs = append(fs, finding{OK: o.OK, What: "router", Text: fmt.Sprintf("%s (last heard %s)", o.Text, ago(o.Last)), Mend: ""})
	}
	return fs
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			return a.said(map[string]string{"version": version}, "muster %s", version)
		},
	}
}
