// host_capture.go: "muster host capture".

package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/internal/capture"
)

func (a *app) hostCaptureCmd() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use: "capture NAME|MAC", Short: "Write a machine's last packets as a pcap file, for Wireshark", Args: exactly(1, "a host's name or MAC address"),
		Long: `Write the last packets of a machine as a pcap file: its DHCP requests and our replies, and
what tells how its TFTP transfers went, without the bytes of the files. They are the packets
as our own sockets read and sent them; nothing else on the line is in it. The last 64 of each
kind are kept, in memory.`,
		Example: "  muster host capture web1                      writes web1.pcap\n  muster host capture web1 -o - | tshark -r -\n  muster host capture 52:54:00:aa:bb:01 -o boot.pcap",
		RunE: func(c *cobra.Command, args []string) error {
			if to == "" {
				to = strings.ReplaceAll(args[0], ":", "") + ".pcap"
			}
			if to == "-" && isTerminal(a.out) {
				return usagef("a pcap file is no text: give -o FILE, or send the output on: muster host capture %s -o - | tshark -r -", args[0])
			}
			var b bytes.Buffer
			if err := a.client().HostCapture(c.Context(), args[0], &b); err != nil {
				return err
			}
			n := capture.Count(b.Bytes())
			if n == 0 {
				return fmt.Errorf("no packets of %s are kept: it has not asked since the daemon started, or others have since pushed it out", args[0])
			}
			if to == "-" {
				_, err := a.out.Write(b.Bytes())
				return err
			}
			if err := os.WriteFile(to, b.Bytes(), 0o644); err != nil {
				return fmt.Errorf("write the capture: %w", err)
			}
			return a.said(map[string]any{"file": to, "packets": n}, "%s of %s in %s", counted(n, "packet"), args[0], to)
		},
	}
	c.Flags().StringVarP(&to, "output", "o", "", "file to write, or - for the output; default: NAME.pcap")
	return c
}
