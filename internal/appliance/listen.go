// listen.go: every socket, and the tasks that use them.

package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/httpboot"
	"github.com/musterboot/muster/internal/access"
	"github.com/musterboot/muster/internal/admin"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/metrics"
	"github.com/musterboot/muster/internal/run"
	"github.com/musterboot/muster/syslogd"
	"github.com/musterboot/muster/tftpd"
)

// opener opens sockets and gathers the tasks to run; a failure closes all sockets.
type opener struct {
	*daemon
	opened []io.Closer
	tasks  []run.Task
}

func (o *opener) close() {
	for _, c := range o.opened {
		c.Close()
	}
}

// holds adds a socket and the task that uses it.
func (o *opener) holds(c io.Closer, name string, serve func(context.Context) error) {
	o.opened = append(o.opened, c)
	o.task(name, serve)
}

func (o *opener) task(name string, fn func(context.Context) error) {
	o.tasks = append(o.tasks, run.Task{Name: name, Run: fn})
}

// listen opens what the configuration names, and the API's socket in any case.
func (o *opener) listen(ctx context.Context) error {
	sock, err := o.sys.Admin(o.dataDir)
	if err != nil {
		return err
	}
	api := &admin.Server{Engine: o.engine, Gate: &access.Gate{Engine: o.engine}, Files: o.images, Log: o.log, Status: o.status, Explain: o.explain, CA: o.authority, Capture: o.pcap, Hooks: o.hooks, Store: o.store, Reload: o.reload, PlanConfig: o.planConfig, Backup: o.backupSource(), Metrics: metrics.Handler(o.figures), Rendered: o.rendered}
	o.holds(sock, "admin socket", func(ctx context.Context) error { return api.Serve(ctx, sock) })
	o.task("interfaces", func(ctx context.Context) error { return o.sys.WatchLinks(ctx, func() { o.refresh(ctx) }) })
	o.task("loaders", o.watchLoaders)
	o.task("reload", o.watchHangup)
	o.task("log", o.tell)
	o.task("memory", o.tidyMemory)
	o.task("silence", o.watchSilence)
	o.task("files", o.tidyFiles)
	o.task("verify", o.verifyFiles)
	o.task("room", o.watchWrites)
	o.task("events", o.tidyEvents)
	o.task("hooks", o.hooks.Run)
	o.tasks = append(o.tasks, run.Watchdog(func(ctx context.Context) error {
		return o.store.Update(ctx, func(boot.Tx) error { return nil })
	}))
	if !o.config.Active {
		return o.listenAdmin(ctx, api)
	}
	for _, open := range []func(context.Context) error{o.listenDHCP, o.listenDHCP6, o.listenTFTP, o.listenHTTP, o.listenHTTPS, o.listenSyslog} {
		if err := open(ctx); err != nil {
			return err
		}
	}
	if err := o.listenAdmin(ctx, api); err != nil {
		return err
	}
	o.task("surroundings", o.surroundings)
	o.task("names", o.watchNames)
	o.task("other servers", o.watchServers)
	o.task("conflict probes", o.watchAddresses)
	o.task("router advertisements", func(ctx context.Context) error { return o.sys.Advertise(ctx, o.radv) })
	o.task("other routers", o.watchRouters)
	return nil
}

func (o *opener) listenDHCP(ctx context.Context) error {
	for _, port := range []int{67, 4011} {
		c, frames, err := o.sys.DHCP(ctx, port, o.now)
		if err != nil {
			return run.BindError("udp", port, err)
		}
		if !frames && port == 67 {
			o.warn("no permission for raw frames: replies to machines without an address are broadcast (mend: sudo setcap cap_net_bind_service,cap_net_raw+ep on the binary, or run as root)")
		}
		o.holds(c, fmt.Sprintf("DHCP port %d", port), func(ctx context.Context) error { return o.dhcp.Serve(ctx, c) })
	}
	return nil
}

func (o *opener) listenDHCP6(ctx context.Context) error {
	if !o.config.IPv6 {
		return nil
	}
	c, err := o.sys.DHCP6(ctx, o.now)
	if err != nil {
		return run.BindError("udp", 547, err)
	}
	o.conn6 = c
	o.holds(c, "DHCPv6", func(ctx context.Context) error { return o.dhcp6.Serve(ctx, c) })
	return nil
}

func (o *opener) listenTFTP(ctx context.Context) error {
	t := o.config.TFTP
	cs, err := o.sys.TFTP(ctx, t.Listen)
	if err != nil {
		return run.BindError("udp", config.Port(t.Listen), err)
	}
	o.tftp.SinglePort, o.tftp.Ports = t.Single, tftpd.PortRange(t.Ports)
	for _, c := range cs {
		o.holds(c, "TFTP on "+c.LocalAddr().String(), func(ctx context.Context) error { return o.tftp.Serve(ctx, c) })
	}
	return nil
}

func (o *opener) listenHTTP(ctx context.Context) error {
	l, err := o.sys.HTTP(ctx, o.config.HTTP)
	if err != nil {
		e := run.BindError("tcp", config.Port(o.config.HTTP), err)
		if o.opt.Bench.on() && errors.Is(err, syscall.EADDRINUSE) {
			e = fmt.Errorf("%w; or use another port: --http :8080", e)
		}
		return e
	}
	o.holds(l, "HTTP", func(ctx context.Context) error { return httpboot.Serve(ctx, l, o.http) })
	return nil
}

func (o *opener) listenHTTPS(ctx context.Context) error {
	at := o.config.HTTPS.Listen
	if at == "" {
		return nil
	}
	sec, err := o.secure()
	if err != nil {
		return err
	}
	l, err := o.sys.HTTP(ctx, at)
	if err != nil {
		return run.BindError("tcp", config.Port(at), err)
	}
	if o.config.HTTPS.Cert == "" {
		o.task("certificates", o.prepareCertificates)
	}
	o.holds(l, "HTTPS", func(ctx context.Context) error { return httpboot.ServeTLS(ctx, l, o.http, sec) })
	return nil
}

// listenSyslog opens the port for machines' log lines, if the configuration has one.
// If another program has the default port, the appliance starts without it.
func (o *opener) listenSyslog(ctx context.Context) error {
	c := o.config.Syslog
	if c.Listen == "" {
		return nil
	}
	k, network, err := o.sys.Syslog(ctx, c.Listen)
	if err != nil {
		err = run.BindError(network, config.Port(c.Listen), err)
		if c.Asked {
			return err
		}
		o.log.Warn(fmt.Sprintf("machines' log lines are not taken (listen = \"off\" in [syslog] ends this warning): %v", err))
		return nil
	}
	o.syslog = syslogd.NewServer(counted{o.engine, o.tally}, o.log)
	o.syslog.Now, o.syslog.Admitted = o.now, o.engine.Admitted
	o.holds(k, "syslog", func(ctx context.Context) error { return o.syslog.Serve(ctx, k) })
	return nil
}

// logPort is the port that takes log lines; 0 if there is none.
func (d *daemon) logPort() uint16 {
	if d.syslog == nil {
		return 0
	}
	return uint16(config.Port(d.config.Syslog.Listen))
}
