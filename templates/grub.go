// grub.go: scripts for GRUB, which boots machines whose Secure Boot refuses
// iPXE. GRUB reads TFTP only (Debian's signed build has no HTTP) and quotes
// like a shell.

package templates

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/musterboot/muster/boot"
)

// grubWord accepts a value that GRUB's shell leaves unchanged, quoted or not.
func grubWord(v any) (string, error) {
	s := text(v)
	for _, r := range s {
		if r <= 0x20 || r > 0x7e || strings.ContainsRune("'\"`$;{}|&<>\\#*?", r) {
			return "", fmt.Errorf("value %q has %q in it, which GRUB does not read as itself: pass it through grubquote", s, r)
		}
	}
	return s, nil
}

// grubText makes a value safe to show inside single quotes.
func grubText(v any) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '\'' {
			return -1
		}
		return r
	}, text(v))
}

// grubQuote makes any printable text one word.
func grubQuote(v any) (string, error) {
	s := text(v)
	for _, r := range s {
		if r < 0x20 || r > 0x7e {
			return "", fmt.Errorf("value %q has %q in it, which is not plain text", s, r)
		}
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'", nil
}

// ipxeMAC is the one iPXE variable that a command line may contain, because
// GRUB's script can express it too.
const ipxeMAC = "${netX/mac:hexhyp}"

// words is the kernel's command line for a loader that has none of iPXE's settings;
// instead says what that means for one that names them.
func (c *Compiled) words(m boot.Machine, instead string) ([]string, error) {
	s, err := c.see(m)
	if err != nil {
		return nil, err
	}
	args, err := execute(c.boot, s)
	if err != nil {
		return nil, err
	}
	line := strings.ReplaceAll(string(args), ipxeMAC, strings.TrimPrefix(m.MACDash, "01-"))
	if strings.Contains(line, "${") {
		return nil, fmt.Errorf("%s: cmdline: ${…} is iPXE's, and %s", SpecFile, instead)
	}
	words := strings.Fields(line)
	if !strings.Contains(line, "BOOTIF=") && m.MACDash != "" {
		words = append(words, "BOOTIF="+m.MACDash)
	}
	return words, nil
}

// grubScript renders the script of a machine that boots through GRUB.
func (c *Compiled) grubScript(m boot.Machine) ([]byte, error) {
	if c.made["grub.cfg"] != nil {
		b, err := c.render("grub.cfg", m)
		return append([]byte("set musterok=1\n"), b...), err
	}
	words, err := c.words(m, "under Secure Boot GRUB boots this template: write a grub.cfg beside it")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s, boot %d: %s version %d\n", grubText(m.Name), m.Boot, m.Template, m.Version)
	b.WriteString("set musterok=1\n")
	fmt.Fprintf(&b, "echo 'Muster: %s boots %s version %d'\n", grubText(m.Name), m.Template, m.Version)
	fmt.Fprintf(&b, "if linux %s", grubURL(m, c.spec.Boot.Kernel))
	for _, w := range words {
		q, err := grubQuote(w)
		if err != nil {
			return nil, fmt.Errorf("%s: cmdline: %w", SpecFile, err)
		}
		b.WriteString(" " + q)
	}
	b.WriteString("; then\n")
	if _, paths := c.spec.Boot.initrds(); len(paths) == 0 {
		b.WriteString("  boot\n")
	} else {
		b.WriteString("  if initrd")
		for _, p := range paths {
			b.WriteString(" " + m.GRUBBase + "/" + p)
		}
		b.WriteString("; then boot; fi\n")
	}
	// It asks again by the path of this boot: that is no new one.
	fmt.Fprintf(&b, "fi\nset muster=%s/direct.cfg\nif [ \"$lockdown\" = \"y\" ]; then set muster=%s/locked.cfg; fi\n", m.GRUBBase, m.GRUBBase)
	b.WriteString("echo 'Muster: could not start it. Asking again in 10 s.'\nsleep --interruptible 10\n")
	return b.Bytes(), nil
}

func grubURL(m boot.Machine, ref string) string { return m.GRUBBase + "/" + refPath(ref) }
