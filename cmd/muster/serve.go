// serve.go: "muster serve": its flags, and the configuration from flags or a file.

package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/run"
)

// serveFlags are the flags of "muster serve".
type serveFlags struct {
	config    string
	iface     string
	wait      bool
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
	fl.BoolVar(&f.wait, "wait", false, "wait for the interface of -i, if it is not there yet")
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
	case f.iface == "" && (f.wait || f.ranges != "" || f.address != "" || f.kernel != ""):
		return usagef("--wait, --range, --address and --kernel belong to -i INTERFACE")
	case f.iface != "" && f.hasConfig:
		return usagef("-i serves one interface without a configuration file: give -i or --config, not both")
	case f.kernel == "" && (len(f.initrd) > 0 || f.cmdline != ""):
		return usagef("--initrd and --cmdline need a --kernel")
	}
	return nil
}

// read makes the configuration from the flags or reads the file that they name. dataDir
// is the default of the data directory. If given says that a person set it, it also
// overrides the file.
func (f serveFlags) read(dataDir string, given bool) (c *config.Config, err error) {
	if f.iface != "" {
		c, err = config.Bench{Interface: f.iface, Range: f.ranges, Lease: f.lease}.Config()
	} else {
		c, err = config.Load(f.config, f.hasConfig, run.Interfaces())
	}
	if err != nil {
		return nil, err
	}
	if given || c.DataDir == "" {
		c.DataDir = dataDir
	}
	if f.httpAddr == "" {
		return c, nil
	}
	if c.HTTP = f.httpAddr; config.Port(c.HTTP) == 0 {
		return nil, usagef("--http %q: want an address like :8080", f.httpAddr)
	}
	return c, nil
}
