// Command muster is the whole appliance: the daemon, and the commands that talk to
// it. This package is the command line: flags and environment are read here and
// nowhere else.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/tomlfile"
)

// version is set by the linker.
var version = "devel"

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2 // wrong flags or configuration: nothing was started
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// execute runs the program without ending the process, for tests.
func execute(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	a := &app{in: terminalInput(), getenv: getenv, out: stdout, err: stderr, now: clock}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if a.json || slices.Contains(args, "--json") {
		a.note("%s\n", failure(err))
	} else {
		a.note("muster: %s\n", lines(err.Error(), "        "))
	}
	var te *tomlfile.Error
	if errors.As(err, new(usageError)) || errors.As(err, new(config.Mistake)) || errors.As(err, &te) {
		return exitUsage
	}
	return exitFailed
}

// app is what every command shares.
type app struct {
	getenv  func(string) string
	out     io.Writer
	err     io.Writer
	now     func() time.Time
	in      io.Reader // a person's answers; nil where nobody can be asked
	dataDir string
	atHome  func() bool // --data-dir was given: it means the daemon here
	json    bool        // for programs, whatever the form
	output  string      // --output
	bare    bool        // tables without their heads
	wide    bool        // tables with all they have
	drawing bool        // on a terminal, again and again: the output is a buffer
}

const defaultDataDir = "/var/lib/muster"

func (a *app) root() *cobra.Command {
	c := &cobra.Command{
		Use:           "muster",
		Short:         "Network boot appliance: knows every machine, says why a boot stopped",
		Long:          "Muster answers machines that boot from the network: DHCP, TFTP, UEFI HTTP boot and iPXE,\nwith a roll of every machine that ever asked.",
		Example:       "  sudo muster serve -i eth1                       beside the DHCP server that is there\n  sudo muster serve -i eth1 --range 10.77.0.100-10.77.0.200 --kernel vmlinuz --initrd initrd.gz\n  muster host list",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	c.Args, c.RunE = known, func(c *cobra.Command, _ []string) error { return c.Help() }
	c.SetHelpCommand(helpCmd())
	c.SetFlagErrorFunc(flagError)
	dir := a.getenv("MUSTER_DATA_DIR")
	dir = cmp.Or(dir, config.DataDir(config.Path), defaultDataDir)
	c.PersistentFlags().StringVar(&a.dataDir, "data-dir", dir, "data directory of the daemon (environment: MUSTER_DATA_DIR)")
	a.atHome = func() bool { return c.PersistentFlags().Changed("data-dir") }
	a.form(c)
	c.AddCommand(a.serveCmd(), a.hostCmd(), a.templateCmd(), a.imageCmd(), a.paramCmd(), a.loginCmd(), a.logoutCmd(), a.contextCmd(), a.userCmd(), a.tokenCmd(), a.caCmd(), a.eventCmd(), a.auditCmd(), a.webhookCmd(), a.networkCmd(), a.inventoryCmd(), a.leaseCmd(), a.topCmd(), a.explainCmd(), a.simulateCmd(), a.diagnoseCmd(), a.doctorCmd(), a.storeCmd(), a.configCmd(), a.exportCmd(), a.applyCmd(), a.backupCmd(), a.restoreCmd(), a.versionCmd(), a.manCmd())
	a.watchable(c)
	a.completes(c)
	return c
}

// atMostOne takes a name or none.
func atMostOne(c *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("%s wants one name or none", c.CommandPath())
	}
	return nil
}

// exactly is cobra's argument check with an error that says what is missing.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("%s wants %s; see: %s --help", c.CommandPath(), what, c.CommandPath())
		}
		return nil
	}
}
