// format.go: what a rendered file must be as a whole, by who reads it: an installer that
// meets a mistake asks somebody, on a screen that nobody watches. It is judged when a
// template is pushed, on what a sample of machine gets.

package templates

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/tomlfile"
)

// longLine is the length from which a kernel line may be cut without a word: loaders and
// kernels take 2,048 bytes, of which each adds some of its own.
const longLine = 1500

// verdict is what is said of a template's files. A fault keeps it from being stored.
type verdict struct {
	fault  error
	advice []string
}

func (v *verdict) wrong(name string, line int, format string, args ...any) {
	if v.fault != nil {
		return
	}
	at := name
	if line > 0 {
		at = fmt.Sprintf("%s, line %d as a machine gets it", name, line)
	}
	v.fault = fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...))
}

func (v *verdict) say(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(v.advice, s) {
		v.advice = append(v.advice, s)
	}
}

// judge renders a template for machines with UEFI and with BIOS, and judges each file.
func (c *Compiled) judge() (v verdict) {
	reports := false
	for _, arch := range []boot.Platform{boot.BIOS, boot.X64UEFI} {
		m := sample(arch)
		for name, p := range c.spec.Params {
			if p.Required && !p.Secret {
				m.Params[name] = p.param().Sample()
			}
		}
		script, err := c.Script(m)
		if err != nil {
			v.fault = err
			return v
		}
		if !bytes.HasPrefix(script, []byte("#!ipxe")) {
			v.fault = fmt.Errorf("boot.ipxe must begin with #!ipxe, without anything before it")
			return v
		}
		if c.grubBoots() {
			// A command line may use settings that only iPXE has. That error is
			// reported when GRUB asks.
			if _, err := c.grubScript(m); err != nil && c.made["grub.cfg"] != nil {
				v.fault = err
				return v
			}
		}
		for _, name := range slices.Sorted(maps.Keys(c.made)) {
			if name == "boot.ipxe" {
				continue
			}
			text, err := c.tried(name, m)
			if err != nil {
				v.fault = err
				return v
			}
			v.file(name, string(text))
			reports = reports || bytes.Contains(text, []byte(m.ReportURL))
		}
		if s, err := c.see(m); err == nil && c.boot != nil {
			if line, err := execute(c.boot, s); err == nil {
				v.kernelLine(strings.Join(strings.Fields(string(line)), " "))
				reports = reports || bytes.Contains(line, []byte(m.ReportURL))
			}
		}
	}
	if c.spec.Install && !reports {
		v.say("it installs, and no file of it names .ReportURL: nobody will hear how an installation ended, and it stays unconfirmed")
	}
	return v
}

// tried renders a file, and one that holds secrets also without those that may be
// missing: that text it returns.
func (c *Compiled) tried(name string, m boot.Machine) ([]byte, error) {
	if !slices.Contains(c.spec.Secrets.Files, name) {
		return c.render(name, m)
	}
	all, least := m, m
	all.Sealed, all.Params = map[string]boot.Sealed{}, maps.Clone(m.Params)
	least.Sealed, least.Params = all.Sealed, maps.Clone(m.Params)
	for p, x := range c.spec.Params {
		if x.Secret {
			all.Params[p] = x.param().Sample()
			if x.Required {
				least.Params[p] = all.Params[p]
			}
		}
	}
	if _, err := c.render(name, all); err != nil {
		return nil, err
	}
	return c.render(name, least)
}

// kernelLine judges what follows the kernel's name.
func (v *verdict) kernelLine(line string) {
	if len(line) > longLine {
		v.say("the kernel's line has %d bytes: from %d on, loaders and kernels cut it without a word", len(line), longLine)
	}
	seeds := 0
	for word := range strings.FieldsSeq(line) {
		if strings.HasPrefix(word, "ds=") {
			seeds++
		}
	}
	if seeds > 1 {
		v.wrong(SpecFile+" [boot] cmdline", 0, "%d words begin with ds=: cloud-init then reads its files and heeds none", seeds)
	}
}

// file judges a file by its language.
func (v *verdict) file(name, text string) {
	if strings.TrimSpace(text) == "" {
		return // an empty vendor-data says that there is none
	}
	switch language(name, text) {
	case jsonFile:
		if path.Ext(name) != ".jsonnet" {
			v.json(name, text)
		}
	case xmlFile:
		v.xml(name, text)
	case yamlFile:
		v.yaml(name, text)
	case tomlFile:
		if err := tomlfile.Valid(name, []byte(text)); err != nil {
			v.wrong(name, 0, "%v", err)
		}
	case installFile:
		if base := path.Base(name); base == "preseed.cfg" || path.Ext(base) == ".seed" || path.Ext(base) == ".preseed" {
			v.preseed(name, text)
		} else {
			v.kickstart(name, text)
		}
	}
}

func lineAt(text string, offset int64) int {
	return 1 + strings.Count(text[:min(int(max(offset, 0)), len(text))], "\n")
}

var ignitionVersion = regexp.MustCompile(`^[23]\.\d+\.\d+`)

func (v *verdict) json(name, text string) {
	d := json.NewDecoder(strings.NewReader(text))
	var top any
	err := d.Decode(&top)
	if err == nil {
		if _, e := d.Token(); !errors.Is(e, io.EOF) {
			err = errors.New("something follows the end")
		}
	}
	if err != nil {
		at := d.InputOffset()
		if e := new(json.SyntaxError); errors.As(err, &e) {
			at = e.Offset
		}
		v.wrong(name, lineAt(text, at), "it is no JSON: %v", err)
		return
	}
	if path.Ext(name) == ".ign" {
		m, _ := top.(map[string]any)
		i, _ := m["ignition"].(map[string]any)
		if s, _ := i["version"].(string); !ignitionVersion.MatchString(s) {
			v.wrong(name, 0, `Ignition wants to be told its version: {"ignition": {"version": "3.3.0"}}`)
		}
	}
}

func (v *verdict) xml(name, text string) {
	d := xml.NewDecoder(strings.NewReader(text))
	for elements := 0; ; {
		t, err := d.Token()
		if errors.Is(err, io.EOF) && elements > 0 {
			return
		}
		if err != nil {
			line, _ := d.InputPos()
			v.wrong(name, line, "it is no XML: %v", err)
			return
		}
		if _, is := t.(xml.StartElement); is {
			elements++
		}
	}
}

// clearYAML matches a password that is none of crypt's: those begin with $, ! or *.
var clearYAML = regexp.MustCompile(`(?m)^\s*-?\s*(password|passwd|hashed_passwd|plain_text_passwd):\s*["']?[^\s"'$!*{]`)

func (v *verdict) yaml(name, text string) {
	base := path.Base(name)
	first, _, _ := strings.Cut(text, "\n")
	if base == "user-data" || base == "vendor-data" {
		switch {
		case strings.TrimRight(first, " \r") == "#cloud-config":
		case strings.HasPrefix(first, "#!"), strings.HasPrefix(first, "#include"), strings.HasPrefix(first, "Content-Type:"), strings.HasPrefix(first, "MIME-Version:"), strings.HasPrefix(first, "## template:"), strings.HasPrefix(first, "#cloud-boothook"), strings.HasPrefix(first, "#part-handler"):
			return // not YAML, or not yet
		default:
			v.wrong(name, 1, "cloud-init heeds a file that begins with #cloud-config, and this one begins with %q", boot.CleanText(first, 60))
			return
		}
	}
	d := yaml.NewDecoder(strings.NewReader(text))
	for n := 0; ; n++ {
		var top any
		err := d.Decode(&top)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			v.wrong(name, 0, "it is no YAML: %v", strings.TrimPrefix(err.Error(), "yaml: "))
			return
		}
		m, isMap := top.(map[string]any)
		if !isMap && (base == "user-data" || base == "meta-data" || base == "network-config") && top != nil {
			v.wrong(name, 0, "it is no map of keys to values")
			return
		}
		if auto, has := m["autoinstall"]; has {
			if a, _ := auto.(map[string]any); a["version"] == nil {
				v.wrong(name, 0, "autoinstall wants version: 1, or the installer refuses it")
			}
		}
	}
	if clearYAML.MatchString(text) {
		v.say("%s: a password stands there as it is typed: give its hash ($6$…)", name)
	}
}

// preseedTypes are debconf's. Its own checker passes any word.
var preseedTypes = []string{"string", "boolean", "select", "multiselect", "password", "note", "text", "title", "error"}

func (v *verdict) preseed(name, text string) {
	n, begun := 0, ""
	for line := range strings.Lines(text) {
		n++
		line = begun + strings.TrimRight(line, "\r\n")
		if begun = ""; strings.HasSuffix(line, `\`) && !strings.HasPrefix(line, "#") {
			begun = strings.TrimSuffix(line, `\`) + " "
			continue
		}
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		switch {
		case len(f) < 3 || !strings.Contains(f[1], "/"):
			v.wrong(name, n, "%q is no owner, question, type and value", boot.CleanText(line, 80))
		case !slices.Contains(preseedTypes, f[2]):
			v.wrong(name, n, "%s is no type of a question: want %s", boot.CleanText(f[2], 40), strings.Join(preseedTypes, ", "))
		case f[2] == "boolean" && (len(f) != 4 || f[3] != "true" && f[3] != "false"):
			v.wrong(name, n, "%s wants true or false", boot.CleanText(f[1], 60))
		case f[2] == "password" && strings.HasSuffix(f[1], "-password"):
			v.say("%s: %s stands there as it is typed: give its hash (%s-crypted)", name, boot.CleanText(f[1], 60), boot.CleanText(f[1], 60))
		}
	}
	if begun != "" {
		v.wrong(name, n, "the last line ends in a backslash")
	}
}

// sections are those of Anaconda and of ESXi's installer.
var sections = []string{"%packages", "%pre", "%pre-install", "%post", "%onerror", "%traceback", "%addon", "%anaconda", "%certificate", "%firstboot"}

func (v *verdict) kickstart(name, text string) {
	open, at, n := "", 0, 0
	ends, esxi := false, false
	for line := range strings.Lines(text) {
		n++
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		switch {
		case f[0] == "%end":
			if open == "" {
				v.wrong(name, n, "%%end of nothing")
			}
			open = ""
		case slices.Contains(sections, f[0]):
			if open != "" && !esxi { // ESXi's sections end where the next begins
				v.wrong(name, n, "%s begins within %s of line %d, which has no %%end", f[0], open, at)
			}
			open, at = f[0], n
		case open != "":
		case strings.HasPrefix(f[0], "%") && f[0] != "%include" && f[0] != "%ksappend":
			v.wrong(name, n, "%s is no section", boot.CleanText(f[0], 40))
		case f[0] == "vmaccepteula" || f[0] == "accepteula":
			esxi = true
		case slices.Contains([]string{"reboot", "poweroff", "shutdown", "halt"}, f[0]):
			ends = true
		case f[0] == "rootpw" && !strings.Contains(line, "--iscrypted") && !strings.Contains(line, "--lock"),
			(f[0] == "user" || f[0] == "sshpw") && strings.Contains(line, "--password") && !strings.Contains(line, "--iscrypted"):
			v.say("%s: line %d: a password stands there as it is typed: give its hash with --iscrypted", name, n)
		}
	}
	if open != "" && !esxi {
		v.wrong(name, at, "%s has no %%end", open)
	}
	if !ends && !esxi {
		v.say("%s: without reboot or poweroff the installer waits for somebody at the end", name)
	}
}
