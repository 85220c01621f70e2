// serve.go: builds the appliance and runs it. Every socket and the store open
// before anything starts, so a failure is one clear line and an exit code.

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	rtmetrics "runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/musterboot/muster/boot/engine"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/dhcpd"
	"github.com/musterboot/muster/httpboot"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/admin"
	"github.com/musterboot/muster/internal/capture"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/hook"
	"github.com/musterboot/muster/internal/metrics"
	"github.com/musterboot/muster/internal/run"
	"github.com/musterboot/muster/radv"
	"github.com/musterboot/muster/store/bolt"
	"github.com/musterboot/muster/store/journal"
	"github.com/musterboot/muster/syslogd"
	"github.com/musterboot/muster/templates"
	"github.com/musterboot/muster/tftpd"
	"github.com/musterboot/muster/trust/authority"
)

// serveFlags are the flags of "muster serve".
type serveFlags struct {
	config    string
	iface     string
	ranges    string
	address   string
	lease     time.Duration
	kernel    string
	initrd    []string
	cmdline   string
	httpAddr  string
	verbose   bool
	hasConfig bool
}

func (a *app) serveCmd() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the appliance",
		Long: `Run the appliance, from a configuration file or, with -i, for one interface at once.

With -i and no --range Muster is a proxy: it adds boot answers to the DHCP server
that is there and gives no addresses. With --range it gives addresses itself.
With --kernel every machine on that interface boots it, approved, for this run.`,
		Example: `  sudo muster serve -i eth1
  sudo muster serve -i eth1 --address 10.77.0.1/24 --range 10.77.0.100-10.77.0.200 \
       --kernel vmlinuz --initrd initrd.gz --cmdline "console=ttyS0"
  sudo muster serve --config /etc/muster/muster.toml`,
		Args: exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			f.hasConfig = c.Flags().Changed("config")
			return a.serve(c.Context(), f, c.Flags().Changed("data-dir") || a.getenv("MUSTER_DATA_DIR") != "")
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.config, "config", config.Path, "configuration file")
	fl.StringVarP(&f.iface, "interface", "i", "", "serve this interface now, without a configuration file")
	fl.StringVar(&f.ranges, "range", "", "addresses to give, FIRST-LAST; without it, proxy mode")
	fl.StringVar(&f.address, "address", "", "give the interface this address for this run, like 10.77.0.1/24")
	fl.DurationVar(&f.lease, "lease", config.DefaultLease, "lease time")
	fl.StringVar(&f.kernel, "kernel", "", "kernel that every machine on the interface boots in this run")
	fl.StringArrayVar(&f.initrd, "initrd", nil, "initrd for --kernel; may be given again")
	fl.StringVar(&f.cmdline, "cmdline", "", "command line for --kernel; {{ .ReportURL }} is where the machine reports")
	fl.StringVar(&f.httpAddr, "http", "", "address of the HTTP listener, like :8080")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "log every packet that is dropped and every transfer")
	return c
}

func (f serveFlags) check() error {
	switch {
	case f.iface == "" && (f.ranges != "" || f.address != "" || f.kernel != ""):
		return usagef("--range, --address and --kernel belong to -i INTERFACE")
	case f.iface != "" && f.hasConfig:
		return usagef("-i serves one interface without a configuration file: give -i or --config, not both")
	case f.kernel == "" && (len(f.initrd) > 0 || f.cmdline != ""):
		return usagef("--initrd and --cmdline need a --kernel")
	}
	return nil
}

// daemon is everything that runs.
type daemon struct {
	app     *app
	flags   serveFlags
	log     *slog.Logger
	dataDir string
	started time.Time

	store   boot.Store
	images  *images.Store
	journal *journal.Journal // of requests
	lines   *journal.Journal // of what machines log
	engine  *engine.Engine
	hooks   *hook.Hooks
	dhcp    *dhcpd.Server
	radv    *radv.Server
	heard   chan radv.Router // by radv
	tftp    *tftpd.Server
	http    *httpboot.Handler
	syslog  *syslogd.Server // nil: no port for it
	capture *capture.Ring
	set     *templates.Set
	loaders atomic.Pointer[images.Loaders]
	thisRun *boot.Template
	key     boot.Key
	duid    []byte // ours in DHCPv6
	dhcp6   *dhcpd.Server6
	conn6   *dhcpd.Conn6         // nil without a network that has an IPv6 side
	ca      *authority.Authority // nil until it is wanted
	caOnce  sync.Mutex

	mu       sync.Mutex // of what follows
	config   *config.Config
	states   map[string]string                           // network -> why it is not served; "" serves
	auto     map[string]boot.Mode                        // network -> what mode auto is
	rivals   map[string]map[netip.Addr]admin.RivalStatus // by network and server
	routers  map[string]map[netip.Addr]otherRouter       // by interface and address
	warnings []string
	undo     func() // takes the address of this run away
}

func (a *app) serve(ctx context.Context, f serveFlags, dirGiven bool) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	level := slog.LevelInfo
	if f.verbose {
		level = slog.LevelDebug
	}
	d := &daemon{app: a, flags: f, dataDir: a.dataDir, started: time.Now(), states: map[string]string{}, auto: map[string]boot.Mode{}, rivals: map[string]map[netip.Addr]admin.RivalStatus{}, routers: map[string]map[netip.Addr]otherRouter{}, undo: func() {},
		log: slog.New(newLogHandler(a.err, level, a.getenv("JOURNAL_STREAM") != ""))}
	if d.config, err = d.readConfig(); err != nil {
		return err
	}
	if !dirGiven && d.config.DataDir != "" {
		d.dataDir = d.config.DataDir
	}
	if err := d.prepareInterface(d.config); err != nil {
		return err
	}
	defer func() { d.undo() }()
	told, err := targets(d.config, a.now)
	if err != nil {
		return err
	}
	if err := d.open(ctx); err != nil {
		d.close()
		return err
	}
	defer d.close()
	d.hooks.Set(told)
	tasks, err := d.listen(ctx)
	if err != nil {
		return err
	}
	if err := d.apply(ctx); err != nil {
		return err
	}
	d.greet(ctx)
	run.Ready()
	defer run.Stopping()
	err = run.Group(ctx, tasks...)
	if ctx.Err() != nil && err == nil {
		d.log.Info("stopped")
	}
	return err
}

func (d *daemon) readConfig() (c *config.Config, err error) {
	f := d.flags
	if f.iface != "" {
		c, err = config.Bench{Interface: f.iface, Range: f.ranges, Lease: f.lease}.Config()
	} else {
		c, err = config.Load(f.config, f.hasConfig, run.Interfaces())
	}
	if err != nil || f.httpAddr == "" {
		return c, err
	}
	if c.HTTP = f.httpAddr; config.Port(c.HTTP) == 0 {
		return nil, usagef("--http %q: want an address like :8080", f.httpAddr)
	}
	return c, nil
}

// prepareInterface judges the interfaces before anything is opened: what stops
// a first hour is named here, with the command that mends it.
func (d *daemon) prepareInterface(c *config.Config) error {
	f := d.flags
	for i, n := range c.Networks {
		l, err := run.Look(n.Interface)
		if err != nil {
			return err
		}
		bad := func(key, format string, args ...any) error {
			return c.NetworkError(i, key, format, args...)
		}
		if !l.Found && f.iface == "" {
			return bad("interface", "interface %q does not exist; this machine has %s", n.Interface, strings.Join(run.Interfaces(), ", "))
		}
		if !l.Found {
			d.warn("interface " + n.Interface + " is not there; waiting for it (this machine has " + strings.Join(run.Interfaces(), ", ") + ")")
			continue
		}
		if f.address != "" {
			if err := d.setAddress(); err != nil {
				return err
			}
			if l, err = run.Look(n.Interface); err != nil {
				return err
			}
		}
		r, waits, err := config.Resolve(n, l.Found, l.Addrs)
		if err != nil {
			return bad("range", "%v", err)
		}
		if waits != "" && f.iface != "" {
			sub := "10.77.0"
			if len(n.Ranges) > 0 {
				b := n.Ranges[0].From.As4()
				sub = fmt.Sprintf("%d.%d.%d", b[0], b[1], b[2])
			}
			return usagef("%s; on a bench, give it one for this run: muster serve -i %s --address %s.1/24 …", waits, n.Interface, sub)
		}
		_ = r
		if c := run.ContainerAdvice(n.Interface); c != "" {
			d.warn(c)
		}
	}
	return nil
}

func (d *daemon) setAddress() error {
	p, err := netip.ParsePrefix(d.flags.address)
	if err != nil || !p.Addr().Is4() {
		return usagef("--address %q: want an address with its prefix length, like 10.77.0.1/24", d.flags.address)
	}
	undo, err := run.SetAddress(d.flags.iface, p)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.undo = undo
	return nil
}

func (d *daemon) warn(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.warnings, s) {
		d.warnings = append(d.warnings, s)
		d.log.Warn(s)
	}
}

// open opens the store and everything that lives in the data directory.
func (d *daemon) open(ctx context.Context) (err error) {
	if err := os.MkdirAll(d.dataDir, 0o750); err != nil {
		return fmt.Errorf("data directory: %w (choose another with --data-dir)", err)
	}
	st, err := bolt.Open(filepath.Join(d.dataDir, "muster.db"))
	if err != nil {
		return err // d.store stays nil: a nil *store.Store in it would not be
	}
	d.store = st
	if d.images, err = images.Open(filepath.Join(d.dataDir, "files")); err != nil {
		return err
	}
	logPath := filepath.Join(d.dataDir, "requests.log")
	if d.journal, err = journal.Open(logPath, 32<<20); err != nil {
		return err
	}
	linesPath := filepath.Join(d.dataDir, "machines.log")
	if d.lines, err = journal.Open(linesPath, 16<<20); err != nil {
		return err
	}
	if d.key, err = tokenKey(ctx, d.store); err != nil {
		return err
	}
	if d.duid, err = serverDUID(ctx, d.store); err != nil {
		return err
	}
	requests := engine.NewRequestLog(d.journal.Add)
	if err := journal.Read(logPath, requests.Restore); err != nil {
		d.log.Warn("history was not read back", "err", err)
	}
	lines := engine.NewLineLog(d.lines.Add)
	if err := journal.Read(linesPath, lines.Restore); err != nil {
		d.log.Warn("what machines logged was not read back", "err", err)
	}
	f := files{store: d.images, run: map[string]string{}, open: &images.Opened{}}
	if d.flags.kernel != "" {
		if d.thisRun, err = thisRun(ctx, d.flags, d.config.Networks[0].Name, f); err != nil {
			return err
		}
	}
	if d.set, err = templates.NewSet(f); err != nil {
		return err
	}
	if d.thisRun != nil {
		if _, err := d.set.Compiled(d.thisRun); err != nil {
			return usageError{err}
		}
	}
	d.findLoaders()
	id, err := hook.Identity(ctx, d.store)
	if err != nil {
		return err
	}
	d.hooks = hook.New(d.store, d.log, id, d.app.now)
	d.engine = engine.New(d.store, requests, d.log)
	d.engine.Now, d.engine.Lines = d.app.now, lines
	c := d.content()
	d.dhcp = dhcpd.NewServer(d.engine, d.log)
	d.dhcp6 = dhcpd.NewServer6(d.engine, d.duid, d.log)
	d.heard = make(chan radv.Router, 64)
	d.radv = radv.NewServer(d.log, d.hear)
	d.tftp = tftpd.NewServer(d.engine, c, d.log)
	d.http = httpboot.NewHandler(d.engine, c, d.log)
	d.capture = capture.New(d.app.now)
	d.dhcp.Record, d.dhcp6.Record, d.tftp.Record = d.capture, d.capture, d.capture
	return nil
}

func (d *daemon) content() content {
	return content{set: d.set, images: d.images, loaders: d.loaders.Load}
}

// close is safe on what was never opened; the store closes last.
func (d *daemon) close() {
	if d.engine != nil {
		d.engine.Close()
	}
	for _, j := range []*journal.Journal{d.journal, d.lines} {
		if j == nil {
			continue
		}
		if err := j.Close(); err != nil {
			d.log.Warn("request log", "err", err)
		}
	}
	if d.images != nil {
		d.images.Close()
	}
	if d.store != nil {
		if err := d.store.Close(); err != nil {
			d.log.Error("store", "err", err)
		}
	}
}

// tokenKey returns the key that signs boot paths; it is made once.
func tokenKey(ctx context.Context, s boot.Store) (k boot.Key, err error) {
	err = s.Update(ctx, func(tx boot.Tx) error {
		b, err := tx.Secret("token-key")
		if err != nil {
			return err
		}
		if len(b) == len(k) {
			copy(k[:], b)
			return nil
		}
		rand.Read(k[:])
		return tx.SetSecret("token-key", k[:])
	})
	return k, err
}

func loaderDirs(dataDir string) []string {
	return append([]string{filepath.Join(dataDir, "loaders")}, images.SystemDirs...)
}

// findLoaders looks again and reports whether anything changed.
func (d *daemon) findLoaders() bool {
	l := images.FindLoaders(loaderDirs(d.dataDir)...)
	old := d.loaders.Swap(l)
	return old == nil || !maps.Equal(old.ByPlatform(), l.ByPlatform()) || !maps.Equal(old.Signed(), l.Signed())
}

// listen opens every socket and returns the tasks that use them.
func (d *daemon) listen(ctx context.Context) (tasks []run.Task, err error) {
	var opened []interface{ Close() error }
	defer func() {
		if err != nil {
			for _, c := range opened {
				c.Close()
			}
		}
	}()
	sock, err := admin.Listen(d.dataDir)
	if err != nil {
		return nil, err
	}
	opened = append(opened, sock)
	api := &admin.Server{Engine: d.engine, Files: d.images, Log: d.log, Status: d.status, Explain: d.explain, CA: d.authority, Capture: d.pcap, Hooks: d.hooks, Metrics: metrics.Handler(d.figures)}
	tasks = append(tasks,
		run.Task{Name: "admin socket", Run: func(ctx context.Context) error { return api.Serve(ctx, sock) }},
		run.Task{Name: "interfaces", Run: func(ctx context.Context) error {
			return run.WatchLinks(ctx, func() { d.refresh(ctx) })
		}},
		run.Task{Name: "loaders", Run: d.watchLoaders},
		run.Task{Name: "reload", Run: d.watchHangup},
		run.Task{Name: "log", Run: d.tell},
		run.Task{Name: "memory", Run: d.tidyMemory},
		run.Task{Name: "silence", Run: d.watchSilence},
		run.Task{Name: "files", Run: d.tidyFiles},
		run.Task{Name: "events", Run: d.tidyEvents},
		run.Task{Name: "hooks", Run: d.hooks.Run},
		run.Watchdog(func(ctx context.Context) error {
			return d.store.Update(ctx, func(boot.Tx) error { return nil })
		}),
	)
	if !d.config.Active {
		return tasks, nil
	}
	for _, port := range []int{67, 4011} {
		c, frames, err := dhcpd.Listen(ctx, port, d.app.now)
		if err != nil {
			return nil, run.BindError("udp", port, err)
		}
		opened = append(opened, c)
		if !frames && port == 67 {
			d.warn("no permission for raw frames: replies to machines without an address are broadcast (mend: sudo setcap cap_net_bind_service,cap_net_raw+ep on the binary, or run as root)")
		}
		tasks = append(tasks, run.Task{Name: fmt.Sprintf("DHCP port %d", port), Run: func(ctx context.Context) error { return d.dhcp.Serve(ctx, c) }})
	}
	c6, err := d.listen6(ctx)
	if err != nil {
		return nil, err
	}
	if c6 != nil {
		opened = append(opened, c6)
		tasks = append(tasks, run.Task{Name: "DHCPv6", Run: func(ctx context.Context) error { return d.dhcp6.Serve(ctx, c6) }})
	}
	ts, err := tftpd.Listen(ctx, d.config.TFTP.Listen)
	if err != nil {
		return nil, run.BindError("udp", config.Port(d.config.TFTP.Listen), err)
	}
	for _, t := range ts {
		opened = append(opened, t)
	}
	h, err := httpboot.Listen(ctx, d.config.HTTP)
	if err != nil {
		e := run.BindError("tcp", config.Port(d.config.HTTP), err)
		if d.flags.iface != "" && errors.Is(err, syscall.EADDRINUSE) {
			e = fmt.Errorf("%w; or use another port: --http :8080", e)
		}
		return nil, e
	}
	opened = append(opened, h)
	if c := d.config.HTTPS; c.Listen != "" {
		sec, err := d.secure(ctx)
		if err != nil {
			return nil, err
		}
		hs, err := httpboot.Listen(ctx, c.Listen)
		if err != nil {
			return nil, run.BindError("tcp", config.Port(c.Listen), err)
		}
		opened = append(opened, hs)
		tasks = append(tasks, run.Task{Name: "HTTPS", Run: func(ctx context.Context) error { return httpboot.ServeTLS(ctx, hs, d.http, sec) }})
	}
	if sinks, err := d.listenSyslog(ctx); err != nil {
		return nil, err
	} else if sinks != nil {
		opened = append(opened, sinks)
		tasks = append(tasks, run.Task{Name: "syslog", Run: func(ctx context.Context) error { return d.syslog.Serve(ctx, sinks) }})
	}
	d.tftp.SinglePort, d.tftp.Ports = d.config.TFTP.Single, tftpd.PortRange(d.config.TFTP.Ports)
	for _, t := range ts {
		tasks = append(tasks, run.Task{Name: "TFTP on " + t.LocalAddr().String(), Run: func(ctx context.Context) error { return d.tftp.Serve(ctx, t) }})
	}
	tasks = append(tasks,
		run.Task{Name: "HTTP", Run: func(ctx context.Context) error { return httpboot.Serve(ctx, h, d.http) }},
		run.Task{Name: "surroundings", Run: d.surroundings},
		run.Task{Name: "other servers", Run: d.watchServers},
		run.Task{Name: "conflict probes", Run: d.watchAddresses},
		run.Task{Name: "router advertisements", Run: d.radv.Run},
		run.Task{Name: "other routers", Run: d.watchRouters},
	)
	return tasks, nil
}

// listenSyslog opens the port for machines' log lines, if there is to be one. One
// that nobody asked for and that another program has is no reason not to start.
func (d *daemon) listenSyslog(ctx context.Context) (*syslogd.Sockets, error) {
	c := d.config.Syslog
	if c.Listen == "" {
		return nil, nil
	}
	k, network, err := syslogd.Listen(ctx, c.Listen)
	if err != nil {
		err = run.BindError(network, config.Port(c.Listen), err)
		if c.Asked {
			return nil, err
		}
		d.log.Warn(fmt.Sprintf("machines' log lines are not taken (listen = \"off\" in [syslog] ends this warning): %v", err))
		return nil, nil
	}
	d.syslog = syslogd.NewServer(d.engine, d.log)
	d.syslog.Now = d.app.now
	return k, nil
}

// logPort is where log lines are taken; 0 is nowhere.
func (d *daemon) logPort() uint16 {
	if d.syslog == nil {
		return 0
	}
	return uint16(config.Port(d.config.Syslog.Listen))
}

// apply builds the policy of this moment and swaps it in.
func (d *daemon) apply(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := boot.Policy{Enroll: d.config.Enroll, Classes: d.config.Classes, Loaders: d.loaders.Load().ByPlatform(), Signed: d.loaders.Load().Signed(), Key: d.key, HTTPPort: uint16(config.Port(d.config.HTTP)), LogPort: d.logPort()}
	if d.config.HTTPS.Listen != "" {
		p.HTTPSPort = uint16(config.Port(d.config.HTTPS.Listen))
	}
	if d.thisRun != nil {
		p.Templates = []*boot.Template{d.thisRun}
	}
	for _, n := range d.config.Networks {
		l, err := run.Look(n.Interface)
		if err != nil {
			return err
		}
		r, waits, err := config.Resolve(n, l.Found, l.Addrs)
		if err != nil {
			waits = err.Error()
			r.Server = netip.Addr{}
		}
		if n.Mode == boot.Off {
			waits = ""
		}
		d.noteState(n.Name, waits, r.Server)
		if r.Mode == boot.Auto {
			if r.Mode = d.auto[n.Name]; r.Mode == "" {
				r.Mode = boot.Listening
			}
		}
		p.Networks = append(p.Networks, r)
	}
	var err error
	if p.Networks6, err = d.networks6(); err != nil {
		return err
	}
	p.DUID = hex.EncodeToString(d.duid)
	d.certify(slices.Concat(p.Networks, p.Networks6))
	if err := d.engine.SetPolicy(ctx, p); err != nil {
		return err
	}
	d.radv.Set(d.config.RA)
	return nil
}

// refresh follows a change of the machine's interfaces.
func (d *daemon) refresh(ctx context.Context) {
	if f := d.flags; f.address != "" {
		// A USB NIC that came back has lost the address of this run.
		if l, err := run.Look(f.iface); err == nil && l.Found {
			if _, ok := l.V4(); !ok {
				if err := d.setAddress(); err != nil {
					d.log.Warn("address of this run", "err", err)
				}
			}
		}
	}
	if err := d.apply(ctx); err != nil && ctx.Err() == nil {
		d.log.Error("policy was not renewed", "err", err)
	}
}

// watchLoaders notices a package that was installed while we run.
func (d *daemon) watchLoaders(ctx context.Context) error {
	t := time.NewTicker(15 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if d.findLoaders() {
				d.log.Info("boot loaders changed", "loaders", loaderList(d.loaders.Load()))
				d.refresh(ctx)
			}
		}
	}
}

// watchHangup reloads the configuration on SIGHUP. A bad file changes nothing.
func (d *daemon) watchHangup(ctx context.Context) error {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	defer signal.Stop(c)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c:
			if d.flags.iface != "" {
				d.log.Info("nothing to reload: this run has no configuration file")
				continue
			}
			if err := d.reload(ctx); err != nil {
				d.log.Error("configuration was not reloaded; the old one stays", "err", err)
			}
		}
	}
}

func (d *daemon) reload(ctx context.Context) error {
	c, err := d.readConfig()
	if err != nil {
		return err
	}
	// What would keep a start from happening keeps a reload from happening.
	if err := d.prepareInterface(c); err != nil {
		return err
	}
	told, err := targets(c, d.app.now)
	if err != nil {
		return err
	}
	d.mu.Lock()
	old := d.config
	for _, n := range old.Networks {
		// What auto found out holds for that link only.
		if !slices.ContainsFunc(c.Networks, func(x boot.Network) bool { return x.Name == n.Name && x.Interface == n.Interface && x.Mode == n.Mode }) {
			delete(d.auto, n.Name)
		}
	}
	restart := c.Keep(old)
	d.config = c
	d.mu.Unlock()
	if err := d.apply(ctx); err != nil {
		d.mu.Lock()
		d.config = old
		d.mu.Unlock()
		return err
	}
	d.hooks.Set(told)
	d.log.Info("configuration reloaded")
	if len(restart) > 0 {
		d.log.Warn(fmt.Sprintf("%s: this changes only with a restart: sudo systemctl restart muster", strings.Join(restart, "; ")))
	}
	return nil
}

// settings is the configuration of the moment.
func (d *daemon) settings() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.config
}

// surroundings looks once for what would keep a first boot from working: a
// firewall, and whether another DHCP server answers.
func (d *daemon) surroundings(ctx context.Context) error {
	c := d.settings()
	for _, n := range c.Networks {
		if n.Mode == boot.Off {
			continue
		}
		if s := run.FirewallAdvice(ctx, n.Interface, c.UDP(), []int{config.Port(c.HTTP)}); s != "" {
			d.warn(s)
		}
	}
	if d.flags.iface != "" {
		d.probe(ctx)
	}
	<-ctx.Done()
	return nil
}

// probe says whether another server gives addresses on the bench's interface,
// and what that means for this run.
func (d *daemon) probe(ctx context.Context) {
	n := d.settings().Networks[0]
	for ctx.Err() == nil {
		l, err := run.Look(n.Interface)
		if err == nil && l.Found && l.Carry {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
	if n.Mode != boot.Proxy {
		return // watchServers looks
	}
	var own netip.Addr
	if l, err := run.Look(n.Interface); err == nil {
		if p, ok := l.V4(); ok {
			own = p.Addr()
		}
	}
	others, err := d.dhcp.Probe(ctx, n.Interface, 3, time.Second)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		d.log.Warn("could not look for other DHCP servers", "err", err)
	case len(others) > 0:
		d.log.Info("another DHCP server gives the addresses; Muster adds the boot answers", "server", others[0].Server)
	default:
		sub := "10.77.0"
		if own.Is4() {
			b := own.As4()
			sub = fmt.Sprintf("%d.%d.%d", b[0], b[1], b[2])
		}
		d.warn(fmt.Sprintf("no DHCP server answers on %s, so no machine will get an address; to give them yourself: muster serve -i %s --range %s.100-%s.200", n.Interface, n.Interface, sub, sub))
	}
}

func (d *daemon) status(ctx context.Context) (admin.Status, error) {
	d.mu.Lock()
	s := admin.Status{Version: version, Started: d.started.UTC(), DataDir: d.dataDir, Warnings: slices.Clone(d.warnings), Loaders: loaderList(d.loaders.Load())}
	only6 := map[string]bool{} // networks that have no IPv4 side
	for _, n := range d.engine.Policy().Networks {
		if n.Mode == boot.Off && !n.Subnet.IsValid() && network(d.engine.Policy().Networks6, n.Name) != nil {
			only6[n.Name] = true
			continue
		}
		ns := admin.NetworkStatus{Name: n.Name, Interface: n.Interface, Mode: n.Mode, Server: n.Server, Subnet: n.Subnet, State: "serving"}
		if w := d.states[n.Name]; w != "" {
			ns.State = w
		}
		for _, r := range n.Ranges {
			ns.Ranges = append(ns.Ranges, r.String())
		}
		ns.Rivals = rivalList(d.rivals[n.Name], d.app.now())
		d.describeRA(&ns)
		s.Networks = append(s.Networks, ns)
	}
	for _, n := range d.engine.Policy().Networks6 {
		ns := admin.NetworkStatus{Name: sixName(n.Name), Interface: n.Interface, Mode: n.Mode, Server: n.Server, Subnet: n.Subnet, State: "serving"}
		if w := d.states[ns.Name]; w != "" {
			ns.State = w
		}
		for _, r := range n.Ranges {
			ns.Ranges = append(ns.Ranges, r.String())
		}
		ns.Rivals = rivalList(d.rivals[ns.Name], d.app.now())
		if only6[n.Name] {
			d.describeRA(&ns)
		}
		s.Networks = append(s.Networks, ns)
	}
	d.mu.Unlock()
	s.Dropped = map[string]uint64{
		"dhcp packets, no slot free":      d.dhcp.Stats.Dropped.Load(),
		"dhcp packets, malformed":         d.dhcp.Stats.Malformed.Load(),
		"dhcp replies, not sent":          d.dhcp.Stats.SendErrors.Load(),
		"dhcpv6 packets, no slot free":    d.dhcp6.Stats.Dropped.Load(),
		"dhcpv6 packets, malformed":       d.dhcp6.Stats.Malformed.Load(),
		"dhcpv6 replies, not sent":        d.dhcp6.Stats.SendErrors.Load(),
		"tftp requests, too many at once": d.tftp.Stats.Dropped.Load(),
		"tftp requests, malformed":        d.tftp.Stats.Malformed.Load(),
		"request log lines, over budget":  d.engine.Log.Dropped(),
		"events of causes, queue full":    d.engine.LostNotices(),
	}
	if st := d.syslogStats(); st != nil {
		s.Dropped["log lines, too many at once"] = st.TooFast.Load() + st.TooMany.Load() + d.syslog.Overflow()
		s.Dropped["log lines, of strangers"] = st.Strangers.Load()
		s.Dropped["log connections, too many at once"] = st.Refused.Load()
		s.Dropped["log lines, not written down"] = d.engine.Lines.Dropped()
	}
	err := d.engine.View(ctx, func(tx boot.ReadTx) (err error) { s.Pending, err = tx.Counter(boot.PendingHosts); return err })
	return s, err
}

func loaderList(l *images.Loaders) []string {
	var out []string
	have, signed := l.ByPlatform(), l.Signed()
	for _, p := range boot.LoaderPlatforms() {
		if have[p] != "" {
			out = append(out, fmt.Sprintf("%s %s", p, have[p]))
		}
		if s, ok := signed[p]; ok {
			out = append(out, fmt.Sprintf("%s signed %s", p, s.Shim))
		}
	}
	return out
}

// greet says, once, what is served and what is missing.
func (d *daemon) greet(ctx context.Context) {
	if len(d.config.Networks) == 0 {
		d.log.Warn(fmt.Sprintf("nothing is configured, so nothing is answered; write %s with, for example:\n\n%s\nor serve one interface now: muster serve -i %s",
			d.flags.config, sampleConfig, strings.Join(run.Interfaces(), " or ")))
	}
	s, err := d.status(ctx)
	if err != nil {
		return
	}
	d.log.Info("muster is up", "version", version, "data", d.dataDir, "loaders", strings.Join(s.Loaders, ", "))
	for _, n := range s.Networks {
		d.log.Info("network", "name", n.Name, "interface", n.Interface, "mode", n.Mode, "address", n.Server, "subnet", n.Subnet, "ranges", strings.Join(n.Ranges, ", "), "state", n.State)
	}
	if !d.config.Active {
		return
	}
	// A bench sees many kinds of machine; x86 without a loader is worth a word
	// at once, the rest when one asks.
	for _, m := range d.loaders.Load().Missing(boot.BIOS, boot.X64UEFI) {
		d.warn(m)
	}
	run.Status("serving " + strings.Join(networkNames(s), ", "))
}

func networkNames(s admin.Status) []string {
	var out []string
	for _, n := range s.Networks {
		out = append(out, n.Name)
	}
	return out
}

const sampleConfig = `    [[network]]
    name      = "lab"
    interface = "eth1"
    mode      = "proxy"        # beside the DHCP server that is there; or "full" with a range
`

// tell prints what happens: on a bench every request as it comes, in a service
// the events.
func (d *daemon) tell(ctx context.Context) error {
	bench := d.flags.iface != ""
	var last uint64
	if err := d.engine.View(ctx, func(tx boot.ReadTx) (err error) {
		last, err = tx.Counter(boot.LastEvent)
		return err
	}); err != nil {
		return err
	}
	seen, heard := d.engine.Log.Seq(), d.engine.Lines.Seq()
	p := printer{out: d.app.out, color: isTerminal(d.app.out)}
	for {
		changed := d.engine.Changed()
		var es []boot.Event
		if err := d.engine.View(ctx, func(tx boot.ReadTx) (err error) { es, err = tx.Events(last, 1000); return err }); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		var requests, lines []boot.Request
		var more, said <-chan struct{}
		if bench {
			requests, more = d.engine.Log.Since(seen)
			lines, said = d.engine.Lines.Since(heard)
		}
		var entries []admin.Entry
		for _, e := range es {
			last = e.Seq
			entries = append(entries, admin.Entry{Event: &e})
		}
		for _, r := range requests {
			seen = r.Seq
			entries = append(entries, admin.Entry{Request: &r})
		}
		for _, r := range lines {
			heard = r.Seq
			entries = append(entries, admin.Entry{Request: &r})
		}
		slices.SortStableFunc(entries, func(a, b admin.Entry) int { return a.At().Compare(b.At()) })
		for _, e := range entries {
			if bench {
				p.entry(e, true)
			} else {
				d.log.Info(e.Event.Text, "event", e.Event.Seq, "kind", e.Event.Kind, "why", e.Event.Why)
			}
		}
		select {
		case <-changed:
		case <-more:
		case <-said:
		case <-ctx.Done():
			return nil
		}
	}
}

// tidyFiles removes stored files that nothing refers to: what an upload left that
// was cut off, by us or by a power cut.
func (d *daemon) tidyFiles(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	// At the start everything older than this process is old; later an upload
	// may be under way.
	for age := time.Since(d.started); ; age = time.Hour {
		all, err := admin.Referred(ctx, d.engine)
		if err == nil {
			if d.thisRun != nil {
				for _, b := range d.thisRun.Files {
					all[b.Digest] = true
				}
			}
			var n int
			var bytes int64
			if n, bytes, err = d.images.Sweep(func(digest string) bool { return all[digest] }, age); n > 0 {
				d.log.Info("files that nothing refers to were removed", "files", n, "size", size(bytes))
			}
		}
		if err != nil && ctx.Err() == nil {
			d.log.Warn("stored files were not tidied", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tidyMemory gives back what a storm left behind, once it is over: the collector
// itself would wait for the next one.
func (d *daemon) tidyMemory(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	sample := []rtmetrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	var seen uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		before := seen
		seen = d.dhcp.Stats.Received.Load()
		if seen-before > 1000 {
			continue
		}
		rtmetrics.Read(sample)
		held := sample[1].Value.Uint64() + sample[2].Value.Uint64() + sample[3].Value.Uint64()
		if held > sample[0].Value.Uint64()+24<<20 {
			debug.FreeOSMemory()
		}
	}
}
