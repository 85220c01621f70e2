// uboot.go: scripts for U-Boot, which reads TFTP and quotes like a shell of few words;
// and the file that its PXE command reads instead, in the form of extlinux.

package templates

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/musterboot/muster/boot"
)

// ubootText makes a value safe to show inside single quotes.
func ubootText(v any) string { return strings.ReplaceAll(grubText(v), `\`, "") }

// ubootQuote makes printable text one word. Single quotes keep everything but
// themselves; the shell has no way to say one inside, and reads a backslash anywhere.
func ubootQuote(s string) (string, error) {
	for _, r := range s {
		if r < 0x20 || r > 0x7e || r == '\'' || r == '\\' {
			return "", fmt.Errorf("value %q has %q in it, which U-Boot cannot be told", s, r)
		}
	}
	return "'" + s + "'", nil
}

// ubootImage wraps a script in the legacy image format, which is what U-Boot's source
// command reads: a header of 64 bytes with checksums, then the length of each script
// and a zero. The date is left out so that one script is the same bytes each time.
func ubootImage(script []byte) []byte {
	const (
		magic = 0x27051956
		linux = 5
		arm   = 2 // not looked at for a script
		kind  = 6
	)
	body := binary.BigEndian.AppendUint32(nil, uint32(len(script)))
	body = append(binary.BigEndian.AppendUint32(body, 0), script...)
	h := make([]byte, 64)
	binary.BigEndian.PutUint32(h, magic)
	binary.BigEndian.PutUint32(h[12:], uint32(len(body)))
	binary.BigEndian.PutUint32(h[24:], crc32.ChecksumIEEE(body))
	h[28], h[29], h[30] = linux, arm, kind
	copy(h[32:], "Muster")
	binary.BigEndian.PutUint32(h[4:], crc32.ChecksumIEEE(h))
	return append(h, body...)
}

// ubootLine is the kernel's command line for a machine that boots through U-Boot.
func (c *Compiled) ubootLine(m boot.Machine) (string, error) {
	words, err := c.words(m, "this machine boots through U-Boot")
	return strings.Join(words, " "), err
}

// ubootScript renders the script of a machine that boots through U-Boot. Which
// addresses are free its board's environment says.
func (c *Compiled) ubootScript(m boot.Machine) ([]byte, error) {
	line, err := c.ubootLine(m)
	if err != nil {
		return nil, err
	}
	quoted, err := ubootQuote(line)
	if err != nil {
		return nil, fmt.Errorf("%s: cmdline: %w", SpecFile, err)
	}
	b := &c.spec.Boot
	load := func(at, what string) string { return "tftpboot " + at + " " + m.Server + ":${muster}/" + what }
	var w bytes.Buffer
	fmt.Fprintf(&w, "# %s, boot %d: %s version %d\n", ubootText(m.Name), m.Boot, m.Template, m.Version)
	// It asks again by the path of this boot: that is no new one.
	fmt.Fprintf(&w, "setenv muster '%s'\n", m.TFTPPath)
	fmt.Fprintf(&w, "echo 'Muster: %s boots %s version %d'\n", ubootText(m.Name), m.Template, m.Version)
	w.WriteString("setenv bootargs " + quoted + "\n")
	// RFC 7440: each block waits for an answer otherwise, a quarter of the speed. U-Boot
	// keeps four packets that it has not read yet (PKTBUFSRX); a build that knows no
	// windows does not look at this.
	w.WriteString("setenv tftpwindowsize 4\n")
	// A board that says nothing of compressed kernels gets room behind the initrd.
	w.WriteString("if test -z \"${kernel_comp_addr_r}\"; then setexpr kernel_comp_addr_r ${ramdisk_addr_r} + 10000000; setenv kernel_comp_size 4000000; fi\n")
	w.WriteString("setenv muster_fdt ${fdtcontroladdr}\nif test -n \"${fdt_addr}\"; then setenv muster_fdt ${fdt_addr}; fi\n")
	switch dt := refPath(b.DeviceTree); {
	case dt == "":
	case strings.HasSuffix(dt, ".dtb"):
		w.WriteString("if " + load("${fdt_addr_r}", dt) + "; then setenv muster_fdt ${fdt_addr_r}; fi\n")
	default:
		w.WriteString("if " + load("${fdt_addr_r}", dt+"/${fdtfile}") + "; then setenv muster_fdt ${fdt_addr_r}; fi\n")
	}
	boots := "booti"
	if m.Platform == string(boot.ARM32UBoot) {
		boots = "bootz"
	}
	_, paths := b.initrds()
	ramdisk := "-"
	if len(paths) > 0 {
		ramdisk = "${ramdisk_addr_r}:${muster_size}"
	}
	w.WriteString("setenv muster_ok 0\nsetenv muster_size 0\n")
	w.WriteString("if " + load("${kernel_addr_r}", refPath(b.Kernel)) + "; then setenv muster_ok 1; fi\n")
	for _, p := range paths {
		// Each begins at a multiple of four bytes behind the one before.
		w.WriteString("if test ${muster_ok} = 1; then\n  setenv muster_ok 0\n  setexpr muster_at ${ramdisk_addr_r} + ${muster_size}\n  if " +
			load("${muster_at}", p) + "; then\n    setenv muster_ok 1\n    setexpr muster_size ${muster_size} + ${filesize}\n    setexpr muster_size ${muster_size} + 3\n    setexpr muster_size ${muster_size} '&' fffffffc\n  fi\nfi\n")
	}
	fmt.Fprintf(&w, "if test ${muster_ok} = 1; then %s ${kernel_addr_r} %s ${muster_fdt}; fi\n", boots, ramdisk)
	w.WriteString("echo 'Muster: could not start it. Asking again in 10 s.'\nsleep 10\n")
	return w.Bytes(), nil
}

// extlinux renders what U-Boot's PXE command reads.
func (c *Compiled) extlinux(m boot.Machine) ([]byte, error) {
	line, err := c.ubootLine(m)
	if err != nil {
		return nil, err
	}
	b := &c.spec.Boot
	_, paths := b.initrds()
	if len(paths) > 1 {
		return nil, fmt.Errorf("%s: U-Boot's PXE command takes one initrd, and this template has %d", SpecFile, len(paths))
	}
	var w bytes.Buffer
	fmt.Fprintf(&w, "# %s, boot %d: %s version %d\ndefault muster\nprompt 0\ntimeout 1\nlabel muster\n  menu label %s\n  kernel %s/%s\n",
		ubootText(m.Name), m.Boot, m.Template, m.Version, m.Template, m.TFTPPath, refPath(b.Kernel))
	for _, p := range paths {
		fmt.Fprintf(&w, "  initrd %s/%s\n", m.TFTPPath, p)
	}
	switch dt := refPath(b.DeviceTree); {
	case dt == "":
	case strings.HasSuffix(dt, ".dtb"):
		fmt.Fprintf(&w, "  fdt %s/%s\n", m.TFTPPath, dt)
	default:
		fmt.Fprintf(&w, "  fdtdir %s/%s\n", m.TFTPPath, dt)
	}
	w.WriteString("  append " + line + "\n")
	return w.Bytes(), nil
}
