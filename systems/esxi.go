package systems

// This file makes an ESXi medium's boot.cfg one that boots from the network.

import (
	"errors"
	"fmt"
	"strings"
)

// BootConfig rewrites boot.cfg as VMware's installation guide says ("Network
// Booting the ESXi Installer"): a prefix, no slash before file names, and no
// cdromBoot, which would look for a CD. prefix may be a template,
// "{{ .BaseURL }}/images/NAME/tree"; the result then is one too, for the
// machine that boots. options are added to the kernel's, for example
// "ks=http://…".
func BootConfig(cfg []byte, prefix, options string) ([]byte, error) {
	if len(cfg) > maxText {
		return nil, fmt.Errorf("boot.cfg has %d bytes; at most %d are read", len(cfg), maxText)
	}
	if strings.Contains(string(cfg), "{{") || strings.ContainsAny(prefix+options, "\r\n") {
		return nil, errors.New("boot.cfg holds what no boot.cfg does")
	}
	var out strings.Builder
	kernel := false
	for line := range strings.Lines(string(cfg)) {
		line = strings.TrimRight(line, "\r\n")
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "prefix":
			continue
		case "kernel":
			kernel = true
			line = "prefix=" + prefix + "\nkernel=" + strings.TrimLeft(value, "/")
		case "modules":
			f := strings.Fields(value)
			for i := range f {
				f[i] = strings.TrimLeft(f[i], "/")
			}
			line = "modules=" + strings.Join(f, " ")
		case "kernelopt":
			var keep []string
			for _, o := range strings.Fields(value + " " + options) {
				if !strings.EqualFold(o, "cdromBoot") {
					keep = append(keep, o)
				}
			}
			line = "kernelopt=" + strings.Join(keep, " ")
		}
		out.WriteString(line + "\n")
	}
	if !kernel {
		return nil, errors.New("boot.cfg names no kernel")
	}
	return []byte(out.String()), nil
}
