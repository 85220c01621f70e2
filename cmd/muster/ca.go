// ca.go: "muster ca" shows the built-in certificate authority, and writes its
// certificate in the formats that firmware reads.

package main

import (
	"bytes"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/client"
)

func (a *app) caCmd() *cobra.Command {
	c := group("ca", "The built-in certificate authority of HTTPS boot")
	show := &cobra.Command{
		Use: "show", Short: "Show the CA and its fingerprint", Args: exactly(0, "no arguments"),
		Long:    "Show the CA that signs the certificates of HTTPS boot, with the fingerprint to compare on\nthe machine's screen. The CA is made when it is first needed, and kept in the store.",
		Example: "  muster ca show",
		RunE: func(c *cobra.Command, _ []string) error {
			var out client.CA
			if err := a.client().Call(c.Context(), http.MethodGet, "/api/v1/ca", nil, &out); err != nil {
				return err
			}
			return a.said(out, "%s\n  until        %s\n  SHA-256      %s\n\nenrol it in a machine: muster ca export --der ca.cer, then on a FAT stick to its setup menu\n(Tls Auth Configuration, Server CA Configuration, Enroll Cert)", out.Name, out.Until.Format("2006-01-02"), out.Fingerprint)
		},
	}
	var pemFile, derFile, eslFile string
	export := &cobra.Command{
		Use: "export [--pem FILE] [--der FILE] [--esl FILE]", Short: "Write the CA's certificate", Args: exactly(0, "no arguments"),
		Long:    "Write the CA's certificate: PEM for programs (and, without a flag, to the screen), DER for the\nsetup menu of most firmware, ESL (an EFI signature list) for the variable TlsCaCertificate and\nfor QEMU's -fw_cfg name=etc/edk2/https/cacerts,file=FILE. The key never leaves the store.",
		Example: "  muster ca export > ca.pem\n  muster ca export --der /media/stick/muster.cer\n  muster ca export --esl cacerts.esl",
		RunE: func(c *cobra.Command, _ []string) error {
			var out client.CA
			if err := a.client().Call(c.Context(), http.MethodGet, "/api/v1/ca", nil, &out); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(out)
			}
			wrote := false
			for _, f := range []struct {
				name string
				data []byte
			}{{pemFile, []byte(out.PEM)}, {derFile, out.DER}, {eslFile, out.ESL}} {
				if f.name == "" {
					continue
				}
				if old, err := os.ReadFile(f.name); err == nil && !bytes.Equal(old, f.data) {
					return usagef("%s exists and is something else: remove it, or choose another name", f.name)
				}
				if err := os.WriteFile(f.name, f.data, 0o644); err != nil {
					return err
				}
				a.note("%s written, %s of SHA-256 %s\n", f.name, out.Name, out.Fingerprint)
				wrote = true
			}
			if !wrote {
				a.print("%s\n", lines(out.PEM, ""))
			}
			return nil
		},
	}
	export.Flags().StringVar(&pemFile, "pem", "", "write it as PEM")
	export.Flags().StringVar(&derFile, "der", "", "write it as DER")
	export.Flags().StringVar(&eslFile, "esl", "", "write it as an EFI signature list")
	c.AddCommand(show, export)
	return c
}
