// serve_linux.go: starts the appliance with what it needs of flags, files and
// environment.

package main

import (
	"context"
	"log/slog"

	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/appliance"
	"github.com/musterboot/muster/internal/config"
)

func (a *app) serve(ctx context.Context, f serveFlags, dirGiven bool) error {
	if err := f.check(); err != nil {
		return err
	}
	level := slog.LevelInfo
	if f.verbose {
		level = slog.LevelDebug
	}
	o := appliance.Options{
		Read:        func() (*config.Config, error) { return f.read(a.dataDir, dirGiven) },
		Credentials: a.getenv("CREDENTIALS_DIRECTORY"),
		Path:        f.config,
		Bench:       appliance.Bench{Interface: f.iface, Wait: f.wait, Address: f.address, Kernel: f.kernel, Initrd: f.initrd, Cmdline: f.cmdline},
		Version:     version,
		Log:         slog.New(newLogHandler(a.err, level, a.getenv("JOURNAL_STREAM") != "")),
		Now:         a.now,
	}
	if f.iface != "" {
		p := a.printer()
		o.Show = func(e client.Entry) { p.entry(e, true) }
	}
	return appliance.Run(ctx, o)
}
