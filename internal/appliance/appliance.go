// Package appliance is the daemon: it builds every part, opens every socket,
// follows the machine's interfaces and the configuration, looks for other servers on
// its links, and says how all of it stands.
//
// It owns the state that exists once in the process: the present policy, the mode of
// an "auto" network, what was seen of other servers and routers, the order of starting
// and stopping. Package boot decides what a machine gets, and the fronts know what a
// packet means; neither belongs here. The package reads no flags, no environment and
// no configuration by itself, and prints nothing: it gets Options.
package appliance

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/engine"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/dhcpd"
	"github.com/musterboot/muster/httpboot"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/capture"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/hook"
	"github.com/musterboot/muster/internal/run"
	"github.com/musterboot/muster/internal/seal"
	"github.com/musterboot/muster/radv"
	"github.com/musterboot/muster/store"
	"github.com/musterboot/muster/store/journal"
	"github.com/musterboot/muster/syslogd"
	"github.com/musterboot/muster/templates"
	"github.com/musterboot/muster/tftpd"
	"github.com/musterboot/muster/trust/authority"
)

// Options is what the command line tells the appliance.
type Options struct {
	Read        func() (*config.Config, error) // reads the configuration, at the start and at each reload; it names a data directory
	Credentials string                         // directory of systemd's credentials; "" for none
	Path        string                         // file of the configuration, for people
	Bench       Bench                          // zero for a service, which has a file
	Version     string
	Log         *slog.Logger
	Now         func() time.Time
	Show        func(client.Entry) // a bench's requests as they come, and its events
}

// Bench is a run for one interface, without a file.
type Bench struct {
	Interface string
	Wait      bool     // for the interface, if it is not there
	Address   string   // given to the interface for this run, like 10.77.0.1/24
	Kernel    string   // booted by every machine in this run; "" leaves that to the templates
	Initrd    []string // with it
	Cmdline   string
}

func (b Bench) on() bool { return b.Interface != "" }

// daemon is everything that runs.
type daemon struct {
	opt     Options
	sys     system
	log     *slog.Logger
	now     func() time.Time
	dataDir string
	started time.Time

	// What is kept.
	store   *store.Store
	noted   boot.Store // the same, for whoever writes events: they are counted
	images  *images.Store
	pull    *images.Puller
	journal *journal.Journal // of requests
	lines   *journal.Journal // of what machines log
	key     boot.Key
	seal    *seal.Key // of secrets in the store; itself outside of it
	duid    []byte    // ours in DHCPv6

	unwritable string    // what is wrong with the disk; guarded by mu, as the next
	wrote      time.Time // when checkWrites last did
	writesFail bool

	reloading sync.Mutex // one reload at a time
	reloads   reloads

	// Who decides, and who is told.
	tally   *tally
	engine  *engine.Engine
	hooks   *hook.Hooks
	capture *capture.Ring

	// Who speaks to machines.
	dhcp   *dhcpd.Server
	dhcp6  *dhcpd.Server6
	conn6  conn6 // nil without a network that has an IPv6 side
	radv   *radv.Server
	heard  chan radv.Router // by radv
	tftp   *tftpd.Server
	http   *httpboot.Handler
	syslog *syslogd.Server // nil: there is no port for it

	// What the fronts serve.
	set       *templates.Set
	loaders   atomic.Pointer[images.Loaders]
	thisRun   *boot.Template       // template of a bench's --kernel; nil is none
	ca        *authority.Authority // nil until it is first needed
	caOnce    sync.Mutex
	pair      *pair // of [https]: certificate and key of a person; nil without
	adminPair *pair // of [admin]

	mu       sync.Mutex // of what follows
	config   *config.Config
	states   map[string]string                     // network -> why it is not served; "" serves
	posts    map[string]*post                      // one for each place where other servers are looked for, by key
	routers  map[string]map[netip.Addr]otherRouter // by interface and address
	answers  map[query]records                     // of name servers, about our names
	named    map[string][]client.NameStatus        // what follows from them, by network
	warnings []string
	spoilt   map[string]string // digest -> what is wrong with that boot file
	undo     func()            // takes the address of this run away
}

// Run is the appliance, until ctx ends. Every socket and the store open before
// anything starts, so that a failure is one clear error.
func Run(ctx context.Context, o Options) error { return newDaemon(o, kernel{}).run(ctx) }

func newDaemon(o Options, sys system) *daemon {
	return &daemon{opt: o, sys: sys, log: o.Log, now: o.Now, started: o.Now(), states: map[string]string{}, routers: map[string]map[netip.Addr]otherRouter{}, spoilt: map[string]string{}, undo: func() {}}
}

func (d *daemon) run(ctx context.Context) error {
	tasks, err := d.start(ctx)
	defer d.close()
	if err != nil {
		return err
	}
	run.Ready()
	defer run.Stopping()
	err = run.Group(ctx, tasks...)
	if ctx.Err() != nil && err == nil {
		d.log.Info("stopped")
	}
	return err
}

// start opens everything and returns the tasks to run. The caller calls close
// afterwards, even if start fails.
func (d *daemon) start(ctx context.Context) (tasks []run.Task, err error) {
	if d.config, err = d.opt.Read(); err != nil {
		return nil, err
	}
	d.dataDir, d.posts = d.config.DataDir, station(d.config, nil)
	if err := d.prepareInterface(d.config, true); err != nil {
		return nil, err
	}
	told, err := targets(d.config, d.opt, d.asked)
	if err != nil {
		return nil, err
	}
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	d.hooks.Set(told)
	o := opener{daemon: d}
	if err := o.listen(ctx); err != nil {
		o.close()
		return nil, err
	}
	if err := d.apply(ctx); err != nil {
		o.close()
		return nil, err
	}
	d.greet(ctx)
	return o.tasks, nil
}

func (d *daemon) warn(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.warnings, s) {
		d.warnings = append(d.warnings, s)
		d.log.Warn(s)
	}
}
