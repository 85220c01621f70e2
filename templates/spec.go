// Package templates reads template folders, checks them before they are stored,
// and renders files for the machine that asks. It must not know which machine
// may have which file: boot decides that.
package templates

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/tomlfile"
)

// SpecFile is the file that makes a folder a template.
const SpecFile = "template.toml"

// Spec is template.toml.
type Spec struct {
	Name         string           `toml:"name"`
	Extends      string           `toml:"extends"` // another template, which has what is not said here
	Install      bool             `toml:"install"`
	FirstInstall bool             `toml:"first_install"`
	Installs     string           `toml:"installs"` // version or digest: a machine that has it is not installed again
	Needs        boot.Needs       `toml:"needs"`
	AutoApprove  bool             `toml:"auto_approve"`
	Priority     int              `toml:"priority"`
	Delims       []string         `toml:"delims"` // other template marks, for files that use {{ }} themselves
	Match        boot.Selector    `toml:"match"`
	Boot         Boot             `toml:"boot"`
	Params       map[string]Param `toml:"params"`
	Secrets      Secrets          `toml:"secrets"`
	Options      map[string]any   `toml:"options"` // DHCP options of the machines that boot it

	// Archives are served like files, and made of files of the folder when they are asked
	// for: name, path inside, and the name of a file as it is served or "-> " and where a
	// symbolic link leads. The name ends in .tar.gz, or in .iso, and is then the label.
	Archives map[string]map[string]string `toml:"archives"`

	// Advice is what is likely to be meant otherwise, in sentences; Lint's.
	Advice []string `toml:"-"`

	dhcp   []boot.Option
	disks  bool     // a file names .Disks
	seed   []string // files of cloud-init's that the folder lacks
	made   []string // archives
	secret []string // those of them that hold a file of [secrets]
	grub   bool     // GRUB can start it
	uboot  bool     // U-Boot can
}

// Boot is what the generated script starts.
type Boot struct {
	Kernel  string   `toml:"kernel"`
	Initrd  []string `toml:"initrd"`
	Cmdline string   `toml:"cmdline"`

	// DeviceTree is for U-Boot: a file that ends in .dtb, or a folder of them, in
	// which a board finds its own by the name that it gives it.
	DeviceTree string `toml:"device_tree"`

	// Files are put into the initial file system under these names:
	// "/proxmox.iso".
	Files map[string]string `toml:"files"`

	File     string `toml:"file"`     // .efi, .iso or .img that UEFI HTTP boot starts itself
	Firmware string `toml:"firmware"` // image beneath the folder's own files, for a Raspberry Pi
	Shim     string `toml:"shim"`     // signed loaders of its own, because a shim decides which kernel may boot
	GRUB     string `toml:"grub"`
}

// refs are the files that [boot] names.
func (b *Boot) refs() []string {
	return slices.Concat([]string{b.Kernel, b.File, b.Shim, b.GRUB}, b.Initrd, slices.Collect(maps.Values(b.Files)))
}

// wimboot reports the loader of Windows, which refuses words that it does not know.
func (b *Boot) wimboot() bool { return strings.HasPrefix(path.Base(b.Kernel), "wimboot") }

// places are the names of Files, in order.
func (b *Boot) places() []string { return slices.Sorted(maps.Keys(b.Files)) }

// initrds are the archives that the kernel unpacks, in order: their names, and
// where each is read. Placed files come as archives that we make ourselves.
// GRUB 2.06 writes names that Linux refuses. iPXE of 2022 makes no folders, and
// for UEFI no archive at all.
//
// Placed files come first. They are not compressed, so that each must begin at a
// multiple of four bytes (buffer-format of the kernel's initramfs), as ours all
// end; behind an initrd of any length UEFI puts them without padding.
func (b *Boot) initrds() (names, paths []string) {
	for _, at := range b.places() {
		names, paths = append(names, placedName(at)), append(paths, boot.PlacedPath(at))
	}
	for _, f := range b.Initrd {
		names, paths = append(names, path.Base(f)), append(paths, refPath(f))
	}
	return names, paths
}

// placedName is what the kernel's command line calls a placed file's archive.
func placedName(at string) string {
	return strings.ReplaceAll(strings.TrimPrefix(at, "/"), "/", "-") + ".cpio"
}

// placeRE matches names that are safe in a script and lead to no other folder.
var placeRE = regexp.MustCompile(`^(/[A-Za-z0-9_+-][A-Za-z0-9._+-]*)+$`)

// Param is a typed value that a host may override.
type Param struct {
	Type     string   `toml:"type"` // string, int, bool or list
	Default  any      `toml:"default"`
	Secret   bool     `toml:"secret"`   // sealed in the store, and rendered only into the files of [secrets]
	Required bool     `toml:"required"` // a host without it is not approved and not installed
	Enum     []string `toml:"enum"`     // the values that it may have
	Pattern  string   `toml:"pattern"`  // a regular expression that the whole of a value matches
	Example  string   `toml:"example"`
	Help     string   `toml:"help"`
}

// param is what is stored of it with a version.
func (p Param) param() boot.Param {
	x := boot.Param{Type: p.Type, Required: p.Required, Secret: p.Secret, Enum: p.Enum, Pattern: p.Pattern, Example: p.Example, Help: p.Help}
	if p.Default != nil {
		x.Default = fmt.Sprint(p.Default)
	}
	return x
}

// check judges what a template says of a parameter.
func (p Param) check(def string) error {
	if !slices.Contains(boot.ParamTypes, p.Type) {
		return fmt.Errorf("type %q: want %s", p.Type, strings.Join(boot.ParamTypes, ", "))
	}
	if _, err := regexp.Compile(p.Pattern); err != nil {
		return fmt.Errorf("pattern: %w", err)
	}
	for _, v := range p.Enum {
		if _, err := (boot.Param{Type: p.Type, Pattern: p.Pattern}).Read(v); err != nil || v == "" || p.Type == "list" && strings.Contains(v, ",") {
			return fmt.Errorf("enum: %q is no value of it", v)
		}
	}
	if p.Pattern != "" && len(p.Enum) == 0 && p.Default == nil && p.Example == "" {
		return fmt.Errorf("one with a pattern says by an example what is meant: example = \"…\"")
	}
	if p.Example != "" {
		if _, err := p.value(p.Example); err != nil {
			return fmt.Errorf("example: %w", err)
		}
	}
	if p.Default == nil {
		return nil
	}
	if _, err := p.value(def); err != nil {
		return fmt.Errorf("default: %w", err)
	}
	return nil
}

// Secrets is [secrets]: which files secret parameters are rendered into, and what a
// machine must show to get one of them.
type Secrets struct {
	Files []string `toml:"files"` // as they are served
	Needs string   `toml:"needs"` // heard, token (the default), certificate or tpm
	HTTPS bool     `toml:"https"`
}

// ParseSpec reads template.toml strictly. file names it in errors.
func ParseSpec(file string, data []byte) (*Spec, error) {
	s := new(Spec)
	f, err := tomlfile.Decode(file, data, s)
	if err != nil {
		return nil, err
	}
	if s.Name == "" {
		return nil, f.Errorf("name", 0, "a template needs a name: name = \"rescue\"")
	}
	if len(s.Delims) != 0 && (len(s.Delims) != 2 || s.Delims[0] == "" || s.Delims[1] == "" || s.Delims[0] == s.Delims[1]) {
		return nil, f.Errorf("delims", 0, "delims wants two different marks, for example [\"[[\", \"]]\"]")
	}
	for _, k := range slices.Sorted(maps.Keys(s.Options)) {
		o, err := boot.ParseOption(k, s.Options[k])
		if err != nil {
			return nil, f.Errorf("options."+k, 0, "%v", err)
		}
		s.dhcp = append(s.dhcp, o)
	}
	t := s.Template()
	if err := t.Validate(); err != nil {
		return nil, f.Errorf("name", 0, "%v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Params)) {
		p := s.Params[name]
		key := "params." + name
		if p.Type == "" {
			p.Type = "string"
		}
		def := ""
		switch d := p.Default.(type) {
		case nil:
		case string, bool, int64:
			def = fmt.Sprint(d)
		default:
			return nil, f.Errorf(key, 0, "parameter %s: default must be a string, a whole number or true/false", name)
		}
		if p.Secret && (p.Default != nil || p.Type != "string") {
			return nil, f.Errorf(key, 0, "parameter %s: one that is secret is a string without a default: a default would be in every copy of the template", name)
		}
		if p.Required && p.Default != nil {
			return nil, f.Errorf(key, 0, "parameter %s: one that is required has no default", name)
		}
		if err := p.check(def); err != nil {
			return nil, f.Errorf(key, 0, "parameter %s: %v", name, err)
		}
		s.Params[name] = p
	}
	switch v := s.Installs; {
	case v != "" && !s.Install:
		return nil, f.Errorf("installs", 0, "installs is of a template that installs: want install = true beside it")
	case len(v) > 128 || v != boot.CleanText(v, 128):
		return nil, f.Errorf("installs", 0, "installs %q: want a version or a digest, at most 128 bytes of plain text", v)
	case s.Needs.Memory < 0 || s.Needs.Memory > 1<<24:
		return nil, f.Errorf("needs.memory", 0, "memory %d: want MiB", s.Needs.Memory)
	}
	for _, p := range s.Needs.Arch {
		if !boot.KnownPlatform(p) {
			return nil, f.Errorf("needs.arch", 0, "%q is no architecture; examples: bios, x64-uefi, arm64-uefi", p)
		}
	}
	switch n := s.Secrets.Needs; boot.Proof(n) {
	case "", boot.ProofHeard, boot.ProofToken:
	case boot.ProofCertificate, boot.ProofTPM:
		return nil, f.Errorf("secrets.needs", 0, "needs %q: no protocol here proves that yet, so that no machine would get its files; want heard or token", n)
	default:
		return nil, f.Errorf("secrets.needs", 0, "needs %q: want heard or token", n)
	}
	for _, n := range s.Boot.refs() {
		if err := validRef(n); n != "" && err != nil {
			return nil, f.Errorf("boot", 0, "%v", err)
		}
	}
	if b := &s.Boot; b.Firmware != "" {
		name, ok := strings.CutPrefix(b.Firmware, imagePrefix)
		if !ok || ValidFile(name) != nil || strings.Contains(name, "/") {
			return nil, f.Errorf("boot.firmware", 0, "firmware %q: want an image, like \"image:raspios\"", b.Firmware)
		}
	}
	switch ext := strings.ToLower(path.Ext(s.Boot.File)); {
	case s.Boot.File == "", ext == ".efi", ext == ".iso", ext == ".img":
	default:
		return nil, f.Errorf("boot.file", 0, "file %q: firmware starts what ends in .efi, .iso or .img", s.Boot.File)
	}
	if (s.Boot.Shim == "") != (s.Boot.GRUB == "") {
		return nil, f.Errorf("boot.shim", 0, "shim and grub go together: the shim starts that GRUB")
	}
	if dt := s.Boot.DeviceTree; dt != "" {
		if err := validRef(dt); err != nil {
			return nil, f.Errorf("boot.device_tree", 0, "%v", err)
		}
		if s.Boot.Kernel == "" {
			return nil, f.Errorf("boot.device_tree", 0, "a device tree goes with a kernel")
		}
	}
	if s.Boot.Kernel == "" && len(s.Boot.Initrd) > 0 {
		return nil, f.Errorf("boot", 0, "initrd without a kernel boots nothing")
	}
	names, _ := s.Boot.initrds()
	for _, at := range s.Boot.places() {
		n, same := placedName(at), 0
		for _, o := range names {
			if o == n {
				same++
			}
		}
		switch {
		case slices.ContainsFunc(s.Boot.places(), func(o string) bool { return strings.HasPrefix(o, at+"/") }):
			return nil, f.Errorf("boot.files", 0, "files: %q would be a file and a folder", at)
		case same > 1:
			return nil, f.Errorf("boot.files", 0, "files: %q: another initrd is called %s on the command line too; name one of them otherwise", at, n)
		case !placeRE.MatchString(at) || len(at) > 200:
			return nil, f.Errorf("boot.files", 0, "files: %q: want a path from the root of the initial file system, like \"/proxmox.iso\"", at)
		case s.Boot.Files[at] == "":
			return nil, f.Errorf("boot.files", 0, "files: %q is no file: name one of the template or \"image:NAME/FILE\"", at)
		case s.Boot.Kernel == "" || len(s.Boot.Initrd) == 0:
			return nil, f.Errorf("boot.files", 0, "files go into the initial file system of a kernel: it needs kernel and initrd")
		}
	}
	return s, nil
}

// Template returns the part that is stored with a version: the conditions and
// what boot needs to know.
func (s *Spec) Template() boot.Template {
	var media, boots []string
	for _, f := range append([]string{s.Boot.Kernel, s.Boot.File}, s.Boot.Initrd...) {
		if f != "" {
			boots = append(boots, f)
		}
	}
	for _, at := range s.Boot.places() {
		boots = append(boots, s.Boot.Files[at])
	}
	if s.Install && s.Boot.Kernel != "" {
		media = append([]string{s.Boot.Kernel}, s.Boot.Initrd...)
		for _, at := range s.Boot.places() {
			media = append(media, boot.PlacedPath(at))
		}
	}
	params := map[string]boot.Param{}
	for name, p := range s.Params {
		params[name] = p.param()
	}
	var secret *boot.SecretFiles
	if len(s.Secrets.Files) > 0 {
		secret = &boot.SecretFiles{Files: slices.Concat(s.Secrets.Files, s.secret), Needs: boot.Proof(cmp.Or(s.Secrets.Needs, string(boot.ProofToken))), HTTPS: s.Secrets.HTTPS}
	}
	return boot.Template{Name: s.Name, Params: params, Secret: secret, Install: s.Install, FirstInstall: s.FirstInstall, Installs: s.Installs, Needs: s.Needs, Media: media, Boots: boots, AutoApprove: s.AutoApprove, Priority: s.Priority, Match: s.Match, Options: s.dhcp,
		Generated: s.generated(), GRUBBoots: s.grub, UsesDisks: s.disks, UBootBoots: s.uboot, Placed: s.Boot.Files, Direct: s.Boot.File, Firmware: strings.TrimPrefix(s.Boot.Firmware, imagePrefix), Shim: s.Boot.Shim, GRUB: s.Boot.GRUB}
}

// generated lists files that are served although the folder has none of that
// name. boot serves the folder's own file first.
func (s *Spec) generated() []string {
	out := slices.Concat(s.seed, s.made)
	if s.Boot.Firmware != "" && s.Boot.Cmdline != "" {
		out = append(out, piCmdline)
	}
	return out
}

// Images lists the images that the boot script refers to.
func (s *Spec) Images() []string {
	var out []string
	for _, ref := range s.ImageFiles() {
		name, _, _ := strings.Cut(ref, "/")
		out = append(out, name)
	}
	return out
}

// ImageFiles lists the files of images that the boot script refers to, as
// "debian12/vmlinuz". An image that is referred to as a whole is listed by its
// name.
func (s *Spec) ImageFiles() []string {
	var out []string
	for _, f := range append(s.Boot.refs(), s.Boot.Firmware) {
		if ref, ok := strings.CutPrefix(f, imagePrefix); ok {
			out = append(out, ref)
		}
	}
	return out
}

// value reads a parameter from text, by its type.
func (p Param) value(text string) (any, error) { return p.param().Read(text) }

// zero is the value of a parameter without default and without override.
func (p Param) zero() any {
	switch p.Type {
	case "int":
		return int64(0)
	case "bool":
		return false
	case "list":
		return boot.List{}
	}
	return ""
}

const imagePrefix = "image:"

// validRef accepts a file of the folder ("vmlinuz") or of an image
// ("image:debian12/vmlinuz"). The name becomes part of a URL in a script, so it
// may contain only characters that need no escaping.
func validRef(ref string) error {
	name, isImage := strings.CutPrefix(ref, imagePrefix)
	if isImage && !strings.Contains(name, "/") {
		return fmt.Errorf("%q: want image:NAME/FILE", ref)
	}
	return ValidFile(name)
}

// ValidFile reports a file name that a template may hold: a relative path of
// letters, digits and ._-+ in which no element is "." or "..".
func ValidFile(name string) error {
	if name == "" || len(name) > 200 || path.Clean(name) != name || path.IsAbs(name) || strings.HasPrefix(name, "..") {
		return fmt.Errorf("file name %q: want a relative path", name)
	}
	for _, part := range strings.Split(name, "/") {
		if strings.HasPrefix(part, ".") || strings.HasPrefix(part, "-") || strings.HasPrefix(part, "~") {
			return fmt.Errorf("file name %q: no part may begin with '.', '-' or '~'", name)
		}
		for _, c := range part {
			ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-+@~", c)
			if !ok {
				return fmt.Errorf("file name %q: only letters, digits and . _ - + @ ~ are allowed", name)
			}
		}
	}
	return nil
}

// rendered reports whether a file of the folder is rendered for the machine
// that asks, and the name under which it is served.
func rendered(file string) (served string, ok bool) {
	if s, cut := strings.CutSuffix(file, ".tmpl"); cut {
		return s, true
	}
	switch path.Base(file) {
	case "boot.ipxe", "grub.cfg", "preseed.cfg", "ks.cfg", "user-data", "meta-data", "vendor-data", "network-config", "cmdline.txt", "config.txt":
		return file, true
	}
	return file, false
}
