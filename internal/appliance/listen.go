// listen.go: every socket, and the tasks that use them.

package appliance

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/dhcpd"
	"github.com/musterboot/muster/httpboot"
	"github.com/musterboot/muster/internal/admin"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/metrics"
	"github.com/musterboot/muster/internal/run"
	"github.com/musterboot/muster/syslogd"
	"github.com/musterboot/muster/tftpd"
)

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
		c, frames, err := dhcpd.Listen(ctx, port, d.now)
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
		if d.opt.Bench.on() && errors.Is(err, syscall.EADDRINUSE) {
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
	d.syslog.Now = d.now
	return k, nil
}

// logPort is where log lines are taken; 0 is nowhere.
func (d *daemon) logPort() uint16 {
	if d.syslog == nil {
		return 0
	}
	return uint16(config.Port(d.config.Syslog.Listen))
}
