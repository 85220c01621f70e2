// store.go: "muster store" looks after the store itself.

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/client"
)

func (a *app) storeCmd() *cobra.Command {
	c := group("store", "Check and repair the store")
	check := &cobra.Command{
		Use: "check", Short: "Read everything in the store and say what is damaged", Args: exactly(0, "no arguments"),
		Long:    "Read every record of the store and compare it with its checksum: by the daemon if it runs,\nelse the files themselves. Nothing is changed. It ends with 1 if anything is damaged.",
		Example: "  muster store check\n  sudo muster store check --data-dir /srv/restored",
		RunE: func(c *cobra.Command, _ []string) error {
			var out client.StoreChecked
			err := a.client().Call(c.Context(), http.MethodPost, "/api/v1/store/check", nil, &out)
			if errors.Is(err, client.ErrNoDaemon) {
				out.Records, out.Damage, err = checkStore(a.storePath())
			}
			if err != nil {
				return err
			}
			if a.json {
				if err := a.printJSON(out); err != nil {
					return err
				}
			} else {
				for _, l := range out.Damage {
					a.print("%s\n", l)
				}
			}
			if n := len(out.Damage); n > 0 {
				return fmt.Errorf("%s is damaged; what is whole is served; muster store repair goes on without the rest", a.storePath())
			}
			return a.said(out, "%s, all whole", counted(out.Records, "record"))
		},
	}
	repair := &cobra.Command{
		Use: "repair", Short: "Go on without what is damaged", Args: exactly(0, "no arguments"),
		Long:    "Give up what the store has lost: the machines of lost hosts may enrol anew, files that nothing\nrefers to may be removed again, and a store without its log, or with an older one, is used as\nit is. Nothing is deleted: files that are replaced are kept beside under another name.\nRestore a backup in place of this if there is one.",
		Example: "  muster store check\n  sudo muster store repair",
		RunE: func(c *cobra.Command, _ []string) error {
			var out client.StoreRepaired
			err := a.client().Call(c.Context(), http.MethodPost, "/api/v1/store/repair", nil, &out)
			if errors.Is(err, client.ErrNoDaemon) {
				out.Damage, out.Forgotten, err = repairStore(c.Context(), a.storePath())
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(out)
			}
			for _, l := range append(out.Damage, out.Forgotten...) {
				a.print("%s\n", l)
			}
			if len(out.Damage)+len(out.Forgotten) == 0 {
				return a.said(out, "nothing is damaged")
			}
			return a.said(out, "the store goes on without that")
		},
	}
	c.AddCommand(check, repair)
	return c
}

func (a *app) storePath() string { return filepath.Join(a.dataDir, "muster.db") }

// errElsewhere is the answer of systems on which no store is kept.
var errElsewhere = errors.New("no daemon runs, and its store can be read on Linux only")

var (
	checkStore  = func(string) (records int, damage []string, err error) { return 0, nil, errElsewhere }
	repairStore = func(context.Context, string) (damage, forgotten []string, err error) { return nil, nil, errElsewhere }
)
