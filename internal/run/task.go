// task.go: long-running parts of the process under one group.

package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"
)

// Task is one long-running part. Run returns when ctx ends.
type Task struct {
	Name string
	Run  func(ctx context.Context) error
}

// Group runs tasks until ctx ends or one of them ends. A task that ends, even
// without an error, stops the others, because half an appliance misleads.
func Group(ctx context.Context, tasks ...Task) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, t := range tasks {
		g.Go(func() error {
			err := t.Run(gctx)
			switch {
			case gctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
				return nil
			case err == nil:
				return fmt.Errorf("%s ended by itself", t.Name)
			}
			return fmt.Errorf("%s: %w", t.Name, err)
		})
	}
	return g.Wait()
}

// Ready, Stopping and Status tell systemd; without systemd they do nothing.
func Ready()               { _, _ = daemon.SdNotify(false, daemon.SdNotifyReady) }
func Stopping()            { _, _ = daemon.SdNotify(false, daemon.SdNotifyStopping) }
func Status(status string) { _, _ = daemon.SdNotify(false, "STATUS="+status) }

// Watchdog is a task that pings systemd's watchdog while probe succeeds; where
// the unit has none, it waits for ctx.
func Watchdog(probe func(context.Context) error) Task {
	return Task{"watchdog", func(ctx context.Context) error {
		every, err := daemon.SdWatchdogEnabled(false)
		if err != nil || every == 0 {
			<-ctx.Done()
			return nil
		}
		t := time.NewTicker(every / 2)
		defer t.Stop()
		for {
			pctx, cancel := context.WithTimeout(ctx, every/2)
			if probe(pctx) == nil {
				_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
			}
			cancel()
			select {
			case <-ctx.Done():
				return nil
			case <-t.C:
			}
		}
	}}
}
