// compile.go: one pushed version, compiled once and then shared. A template is
// checked here, before it is stored, for everything that could go wrong with
// it.

package templates

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/musterboot/muster/boot"
)

// Limits of a template's size and output.
const (
	MaxFiles    = 2000
	maxSource   = 1 << 20
	maxRendered = 1 << 20
)

// Compiled is a template ready to render. It is immutable.
type Compiled struct {
	spec     *Spec
	files    map[string]string             // served name -> file of the folder
	made     map[string]*template.Template // served name -> rendered file
	archives map[string]map[string]string  // served name -> path inside -> served name of a file
	boot     *template.Template            // the command line, if no boot.ipxe replaces the script
}

// source reads a file of the folder; it is called only for small files.
type source func(file string) ([]byte, error)

// compile reads a version. files lists the folder, with sizes.
func compile(files map[string]boot.Blob, read source) (*Compiled, error) {
	c, err := compileStored(files, read)
	if err != nil {
		return nil, err
	}
	v := c.judge()
	c.spec.Advice = v.advice
	return c, v.fault
}

// compileStored is compile for a version that was pushed: it was judged then, perhaps
// by milder rules, and boots what it booted.
func compileStored(files map[string]boot.Blob, read source) (*Compiled, error) {
	if len(files) > MaxFiles {
		return nil, fmt.Errorf("%d files: at most %d; large trees belong into an image", len(files), MaxFiles)
	}
	if _, ok := files[SpecFile]; !ok {
		return nil, fmt.Errorf("there is no %s in it", SpecFile)
	}
	data, err := readSmall(files, SpecFile, read)
	if err != nil {
		return nil, err
	}
	spec, err := ParseSpec(SpecFile, data)
	if err != nil {
		return nil, err
	}
	if spec.Extends != "" {
		return nil, fmt.Errorf("%s: extends %s: what the two are together is known where that one is stored", SpecFile, spec.Extends)
	}
	c := &Compiled{spec: spec, files: map[string]string{}, made: map[string]*template.Template{}}
	for _, f := range slices.Sorted(maps.Keys(files)) {
		if f == SpecFile || f == OwnSpecFile {
			continue
		}
		if err := ValidFile(f); err != nil {
			return nil, err
		}
		served, isMade := rendered(f)
		if other, dup := c.files[served]; dup {
			return nil, fmt.Errorf("%s and %s would both be served as %s", other, f, served)
		}
		if reserved(served) && served != "boot.ipxe" {
			return nil, fmt.Errorf("%s: the name is Muster's own", f)
		}
		c.files[served] = f
		if !isMade {
			continue
		}
		data, err := readSmall(files, f, read)
		if err != nil {
			return nil, err
		}
		if c.made[served], err = c.parse(f, string(data), c.language(served, string(data), files)); err != nil {
			return nil, err
		}
	}
	if c.files["user-data"] != "" {
		for _, f := range slices.Sorted(maps.Keys(seed)) {
			if c.files[f] != "" {
				continue
			}
			if c.made[f], err = c.parse(f, seed[f], yamlFile); err != nil {
				return nil, err
			}
			c.files[f], spec.seed = "", append(spec.seed, f)
		}
	}
	if err := c.checkArchives(files); err != nil {
		return nil, err
	}
	for _, f := range spec.Boot.refs() {
		if f != "" && !strings.HasPrefix(f, imagePrefix) && c.files[f] == "" {
			return nil, fmt.Errorf("%s: [boot] names %s, which is not in the folder", SpecFile, f)
		}
	}
	if dt := spec.Boot.DeviceTree; dt != "" && !strings.HasPrefix(dt, imagePrefix) && c.files[dt] == "" {
		if strings.HasSuffix(dt, ".dtb") || !slices.ContainsFunc(slices.Collect(maps.Keys(c.files)), func(f string) bool { return strings.HasPrefix(f, dt+"/") }) {
			return nil, fmt.Errorf("%s: [boot] device_tree: there is no %s in the folder: name a .dtb file, or a folder of them", SpecFile, dt)
		}
	}
	for at, f := range spec.Boot.Files {
		if files[f].Size > math.MaxUint32 {
			return nil, fmt.Errorf("%s: [boot.files] %s: %s has %d bytes: a file in an initial file system has less than 4 GiB", SpecFile, at, f, files[f].Size)
		}
	}
	for _, f := range spec.Secrets.Files {
		switch {
		case slices.Contains(slices.Collect(maps.Values(spec.Boot.Files)), f):
			return nil, fmt.Errorf("%s: [secrets] and [boot.files] both name %s: what lies in the initial file system is read by every user of the machine", SpecFile, f)
		case c.made[f] == nil:
			return nil, fmt.Errorf("%s: [secrets] names %s, which is no rendered file of the folder", SpecFile, f)
		case language(f, "") == ipxeFile || language(f, "") == grubFile || f == piCmdline:
			return nil, fmt.Errorf("%s: [secrets] names %s: a boot script and a command line are readable by every user of the machine", SpecFile, f)
		}
	}
	for served, t := range c.made {
		if err := c.keeps(served, t); err != nil {
			return nil, err
		}
	}
	if c.made["boot.ipxe"] == nil && spec.Boot.Kernel == "" && spec.Boot.File == "" && spec.Boot.Firmware == "" {
		return nil, fmt.Errorf("%s: nothing to boot: name a kernel, a file or a firmware tree in [boot], or write a boot.ipxe", SpecFile)
	}
	if spec.Boot.Firmware != "" && spec.Boot.Cmdline != "" && c.files[piCmdline] == "" {
		if c.made[piCmdline], err = c.parse(SpecFile+" [boot] cmdline", spec.Boot.Cmdline+"\n", plainFile); err != nil {
			return nil, err
		}
		c.files[piCmdline] = ""
	}
	if spec.Boot.Kernel != "" {
		if c.boot, err = c.parse(SpecFile+" [boot] cmdline", spec.Boot.Cmdline, ipxeFile); err != nil {
			return nil, err
		}
		if err := c.keeps("the kernel's command line", c.boot); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// keeps refuses a file that names a secret parameter and may not have it.
func (c *Compiled) keeps(served string, t *template.Template) error {
	if t == nil || t.Tree == nil || slices.Contains(c.spec.Secrets.Files, served) {
		return nil
	}
	for name, p := range c.spec.Params {
		if p.Secret && names(t.Tree.Root, name) {
			return fmt.Errorf("%s: parameter %s is secret, and %s is not in files of [secrets]", served, name, served)
		}
	}
	return nil
}

// names reports a template that names a parameter.
func names(n parse.Node, param string) (found bool) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			found = slices.ContainsFunc(n.Nodes, func(x parse.Node) bool { return names(x, param) })
		}
	case *parse.ActionNode:
		found = mentions(n.Pipe, []string{param})
	case *parse.IfNode:
		found = mentions(n.Pipe, []string{param}) || names(n.List, param) || names(n.ElseList, param)
	case *parse.WithNode:
		found = mentions(n.Pipe, []string{param}) || names(n.List, param) || names(n.ElseList, param)
	case *parse.RangeNode:
		found = mentions(n.Pipe, []string{param}) || names(n.List, param) || names(n.ElseList, param)
	}
	return found
}

// seed is what cloud-init's NoCloud reads beside user-data, where the folder has none:
// without meta-data it takes nothing at all, and for vendor-data that is not there it
// asks again for ten seconds.
var seed = map[string]string{
	"meta-data":   "instance-id: {{ printf \"%s-%d\" .Name .Boot | yaml }}\nlocal-hostname: {{ .Name | yaml }}\n",
	"vendor-data": "",
}

// piCmdline is the kernel command line of a Raspberry Pi.
const piCmdline = "cmdline.txt"

// grubBoots reports that GRUB can start it.
func (c *Compiled) grubBoots() bool { return c.linux() || c.made["grub.cfg"] != nil }

// linux reports that it names a kernel, and no program of UEFI; for example ESXi's loader.
func (c *Compiled) linux() bool {
	b := &c.spec.Boot
	return c.boot != nil && !b.wimboot() && !(len(b.Initrd) == 0 && strings.HasSuffix(strings.ToLower(b.Kernel), ".efi"))
}

func reserved(name string) bool {
	return name == "report" || name == "locked.cfg" || name == "open.cfg" || name == "direct.cfg" || name == "disk.cfg" || name == "boot.scr.uimg" || name == "extlinux.conf" || boot.IsLoader(name) || strings.HasPrefix(name, "images/") || strings.HasPrefix(name, "placed/")
}

// language is the language of a file of a template. If the template has no
// grub.cfg, a boot.cfg is ESXi's, which has no quoting.
func (c *Compiled) language(name, text string, files map[string]boot.Blob) lang {
	_, plain := files["grub.cfg"]
	_, made := files["grub.cfg.tmpl"]
	if name == "boot.cfg" && !plain && !made {
		return plainFile
	}
	return language(name, text)
}

func readSmall(files map[string]boot.Blob, f string, read source) ([]byte, error) {
	if files[f].Size > maxSource {
		return nil, fmt.Errorf("%s: %d bytes is too large for a file that is rendered (at most %d)", f, files[f].Size, maxSource)
	}
	data, err := read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f, err)
	}
	return data, nil
}

// parse compiles one file. Every value in it is checked, whether or not its author
// thought of it.
func (c *Compiled) parse(name, text string, l lang) (*template.Template, error) {
	t := template.New(name).Funcs(funcs).Option("missingkey=error")
	if len(c.spec.Delims) == 2 {
		t = t.Delims(c.spec.Delims[0], c.spec.Delims[1])
	}
	t, err := t.Parse(text)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	if t.Tree == nil {
		return t, nil
	}
	c.spec.disks = c.spec.disks || strings.Contains(text, ".Disks")
	if err := walk(t.Tree.Root, l, c.isList); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// isList reports a parameter whose words a range may go over, which are as many as a
// person wrote. A number would be as many rounds.
func (c *Compiled) isList(param string) bool { return c.spec.Params[param].Type == "list" }

// walk refuses a template that could run without end: a range over a number
// cannot be cancelled, and templates can call each other forever. It sends every
// value through the check of the file's language.
func walk(n parse.Node, l lang, isList func(param string) bool) error {
	var lists []*parse.ListNode
	switch n := n.(type) {
	case nil:
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		for _, x := range n.Nodes {
			if err := walk(x, l, isList); err != nil {
				return err
			}
		}
	case *parse.ActionNode:
		if len(n.Pipe.Decl) == 0 {
			return guard(n.Pipe, l)
		}
	case *parse.IfNode:
		lists = []*parse.ListNode{n.List, n.ElseList}
	case *parse.WithNode:
		lists = []*parse.ListNode{n.List, n.ElseList}
	case *parse.RangeNode:
		if !rangeOK(n.Pipe, isList) {
			return fmt.Errorf("line %d: range is allowed over .Params, a parameter that is a list, .DNS, .NTP and split, not over %s", n.Line, n.Pipe)
		}
		lists = []*parse.ListNode{n.List, n.ElseList}
	case *parse.TemplateNode:
		return fmt.Errorf("line %d: one file cannot call another template", n.Line)
	}
	for _, x := range lists {
		if err := walk(x, l, isList); err != nil {
			return err
		}
	}
	return nil
}

func rangeOK(p *parse.PipeNode, isList func(param string) bool) bool {
	last := p.Cmds[len(p.Cmds)-1]
	switch a := last.Args[0].(type) {
	case *parse.FieldNode:
		return len(p.Cmds) == 1 && (len(a.Ident) == 1 && slices.Contains([]string{"Params", "DNS", "NTP"}, a.Ident[0]) || len(a.Ident) == 2 && a.Ident[0] == "Params" && isList(a.Ident[1]))
	case *parse.IdentifierNode:
		return a.Ident == "split"
	}
	return false
}

// seen is what a template may look at: the machine, with parameters typed, and with
// what the machine says of itself reduced to letters and digits, or marked as said.
type seen struct {
	boot.Machine
	SerialText said
	Params     map[string]any
	Disks      disks
	Mirror     string // where packages come from: parameter mirror, of which image:NAME is a mirror that is stored here
}

func see(m boot.Machine) seen {
	s := seen{Machine: m, SerialText: said{m.Serial}, Params: map[string]any{}, Disks: disks{m.Disks, m.Name}}
	s.Serial = plain(m.Serial)
	return s
}

func (c *Compiled) see(m boot.Machine) (seen, error) {
	s := see(m)
	for name, p := range c.spec.Params {
		if why := m.Unclear[name]; why != "" {
			return s, fmt.Errorf("parameter %s: %s (muster host set %s %s=…)", name, why, m.Name, name)
		}
		if p.Secret {
			if m.Sealed != nil && !p.Required { // the file may have it, and nobody set it
				s.Params[name] = ""
			}
			continue // it is among m.Params where the file may have it: else there is none
		}
		if p.Required && m.Params[name] == "" {
			return s, fmt.Errorf("parameter %s is required, and host %s has none (muster host set %s %s=…)", name, m.Name, m.Name, name)
		}
		s.Params[name] = p.zero()
		if p.Default != nil {
			s.Params[name], _ = p.value(fmt.Sprint(p.Default))
		}
	}
	for name, text := range m.Params {
		if c.spec.Params[name].Secret && m.Sealed == nil {
			continue // set before the template called it secret
		}
		p, ok := c.spec.Params[name]
		if !ok {
			s.Params[name] = text // a parameter that another template needs
			continue
		}
		if p.Secret && text == boot.Masked { // a preview: no pattern fits it
			s.Params[name] = text
			continue
		}
		v, err := p.value(text)
		if err != nil {
			return s, fmt.Errorf("parameter %s of host %s: %w (muster host set %s %s=…)", name, m.Name, err, m.Name, name)
		}
		s.Params[name] = v
	}
	s.Mirror, _ = s.Params["mirror"].(string)
	if name, is := strings.CutPrefix(s.Mirror, imagePrefix); is {
		root, _, _ := strings.Cut(m.BaseURL, "/boot/")
		s.Mirror = root + "/images/" + strings.Trim(name, "/")
	}
	return s, nil
}

// capped ends a template that writes more than a boot file may have.
type capped struct {
	bytes.Buffer
	max int
}

func (w *capped) Write(b []byte) (int, error) {
	if w.Len()+len(b) > w.max {
		return 0, fmt.Errorf("more than %d bytes of output", w.max)
	}
	return w.Buffer.Write(b)
}

func execute(t *template.Template, s seen) ([]byte, error) {
	w := &capped{max: maxRendered}
	if err := t.Execute(w, s); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	return w.Bytes(), nil
}

// Script renders the boot script.
func (c *Compiled) Script(m boot.Machine) ([]byte, error) {
	s, err := c.see(m)
	if err != nil {
		return nil, err
	}
	if t := c.made["boot.ipxe"]; t != nil {
		return execute(t, s)
	}
	if c.boot == nil {
		return c.directScript(m)
	}
	args, err := execute(c.boot, s)
	if err != nil {
		return nil, err
	}
	line := strings.Join(strings.Fields(string(args)), " ")
	if err := checkIPXE(strings.NewReplacer("${", "").Replace(line)); err != nil {
		return nil, fmt.Errorf("%s: cmdline: %w", SpecFile, err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "#!ipxe\n# %s, boot %d: %s version %d\n", m.Name, m.Boot, m.Template, m.Version)
	fmt.Fprintf(&b, "echo Muster: %s boots %s version %d\n", ipxeText(m.Name), ipxeText(m.Template), m.Version)
	b.WriteString("imgfree\nset musterat kernel\n")
	fmt.Fprintf(&b, "kernel %s", c.url(m, c.spec.Boot.Kernel))
	if line != "" {
		fmt.Fprintf(&b, " %s", line)
	}
	names, paths := c.spec.Boot.initrds()
	if !c.spec.Boot.wimboot() {
		for _, n := range names {
			// The EFI stub of kernels before 5.7 finds its initrd by this name.
			fmt.Fprintf(&b, " initrd=%s", n)
		}
		if !strings.Contains(line, "BOOTIF=") {
			b.WriteString(" BOOTIF=01-${netX/mac:hexhyp}")
		}
	}
	b.WriteString(" || goto failed\nset musterat initrd\n")
	for i, n := range names {
		fmt.Fprintf(&b, "initrd --name %s %s/%s || goto failed\n", n, m.BaseURL, paths[i])
	}
	b.WriteString("set musterat boot\nboot || goto failed\n")
	tail(&b, m)
	return b.Bytes(), nil
}

// tail ends a script that could not start what it should: it says what failed to the
// person at the screen, and to the server on its way back.
func tail(b *bytes.Buffer, m boot.Machine) {
	b.WriteString(":failed\nset musterwhy ${errno}\n") // at once: "isset" sets errno too
	b.WriteString(":back\necho Muster: could not start it: ${musterat}, error ${musterwhy}, see https://ipxe.org/${musterwhy}\n")
	b.WriteString("prompt --timeout 10000 Asking again in 10 s, any key asks now ||\n")
	fmt.Fprintf(b, "chain --replace --autofree %s?at=${musterat}&errno=${musterwhy} || goto back\n", m.ScriptURL)
}

// directScript starts one file: a UEFI program or a disc image.
func (c *Compiled) directScript(m boot.Machine) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "#!ipxe\n# %s, boot %d: %s version %d\n", m.Name, m.Boot, m.Template, m.Version)
	b.WriteString("set musterat boot\n")
	f := c.spec.Boot.File
	switch {
	case f == "":
		fmt.Fprintf(&b, "echo Muster: template %s boots no machine of this kind\nexit 1\n", ipxeText(m.Template))
	case strings.HasSuffix(strings.ToLower(f), ".efi"):
		fmt.Fprintf(&b, "chain %s || goto failed\n", c.url(m, f))
	default:
		fmt.Fprintf(&b, "sanboot --no-describe %s || goto failed\n", c.url(m, f))
	}
	tail(&b, m)
	return b.Bytes(), nil
}

func (c *Compiled) url(m boot.Machine, ref string) string { return m.BaseURL + "/" + refPath(ref) }

// refPath is the path of a reference below a boot path.
func refPath(ref string) string {
	if img, ok := strings.CutPrefix(ref, imagePrefix); ok {
		return "images/" + img
	}
	return ref
}

// hostileSerial is what no vendor writes and anybody can send.
const hostileSerial = "SAMPLE-1;reboot&<'\"`$(id)`\"'>"

// sample is the machine for which every template is rendered once before it is
// stored.
func sample(arch boot.Platform) boot.Machine {
	return boot.Machine{
		Name: "sample", Known: true, Disks: []boot.Disk{{Name: "sda", Size: 1 << 40, Serial: "SAMPLE", Bus: "sata"}}, State: "approved", MAC: "52:54:00:12:34:56", MACDash: "01-52-54-00-12-34-56",
		UUID: "4c4c4544-0042-3510-8052-b4c04f4a3132", Serial: hostileSerial, Platform: string(arch), UEFI: arch.UEFI(), Network: "lab",
		Address: "192.0.2.10", Prefix: 24, Netmask: "255.255.255.0", Gateway: "192.0.2.1", DNS: []string{"192.0.2.1"}, Domain: "example.org", NTP: []string{"192.0.2.1"},
		BOOTIF: "01-52-54-00-12-34-56", Server: "192.0.2.1", BaseURL: "http://192.0.2.1/boot/sample", ScriptURL: "http://192.0.2.1/boot/sample/boot.ipxe",
		ReportURL: "http://192.0.2.1/boot/sample/report", LogHost: "192.0.2.1", LogPort: 514, GRUBBase: "(tftp,192.0.2.1)/boot/sample", TFTPPath: "boot/sample", Boot: 1, Template: "sample", Version: 1, Params: map[string]string{},
	}
}

func (c *Compiled) render(name string, m boot.Machine) ([]byte, error) {
	s, err := c.see(m)
	if err != nil {
		return nil, err
	}
	b, err := execute(c.made[name], s)
	if err != nil {
		return nil, hide(err, m)
	}
	return b, nil
}

// hide takes the values of secret parameters out of an error: a function shows what it
// refuses.
func hide(err error, m boot.Machine) error {
	text := err.Error()
	for k := range m.Sealed {
		if v := m.Params[k]; v != "" && (strings.Contains(text, v) || strings.Contains(text, strings.Trim(strconv.Quote(v), `"`))) {
			where, _, _ := strings.Cut(text, ": error calling")
			return fmt.Errorf("%s: what a secret parameter holds cannot stand here as it is: quote it (sh, toJson, yaml, xml, toml, b64)", strings.ReplaceAll(where, v, "********"))
		}
	}
	return err
}

// Lint reads a folder and says what is wrong with it; nil if nothing is. open
// opens a file of the folder.
func Lint(files map[string]boot.Blob, open func(string) (io.ReadCloser, error)) (*Spec, error) {
	c, err := compile(files, func(f string) ([]byte, error) {
		r, err := open(f)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(io.LimitReader(r, maxSource+1))
	})
	if err != nil {
		return nil, err
	}
	c.spec.grub, c.spec.uboot = c.grubBoots(), c.linux()
	return c.spec, nil
}
