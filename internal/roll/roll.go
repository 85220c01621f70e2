// Package roll is what people decided, as files for git: a folder with a file for each
// host, for each scope of parameters, and with templates as they are pushed. It reads
// and writes the folder, and says what of the appliance differs from it. It speaks to
// nobody, and holds no secret: sealed values stay where they are.
package roll

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/tomlfile"
)

// The folder. A tag may be rack=12, which is a file's name as it is.
const (
	hostsDir     = "hosts"
	paramsDir    = "params"
	templatesDir = "templates"
	ext          = ".toml"
)

// maxFile bounds one file of a host or a scope.
const maxFile = 1 << 20

// Host is what people decide of a machine. What it says of itself (more MAC addresses, its
// hardware) is not theirs: a file names at least what the machine is known by.
type Host struct {
	State      string            `toml:"state,omitempty"` // approved, pending or denied; "" leaves it
	MACs       []string          `toml:"macs,omitempty"`
	UUID       string            `toml:"uuid,omitempty"`
	Serial     string            `toml:"serial,omitempty"`
	DUID       string            `toml:"duid,omitempty"`
	Address    string            `toml:"address,omitempty"`
	Address6   string            `toml:"address6,omitempty"`
	SwitchPort string            `toml:"switch_port,omitempty"`
	Template   string            `toml:"template,omitempty"`
	Tags       []string          `toml:"tags,omitempty"`
	Options    []string          `toml:"options,omitempty"`
	Protected  bool              `toml:"protected,omitempty"`
	Params     map[string]string `toml:"params,omitempty"`
	Sealed     []string          `toml:"-"` // names of parameters that the appliance keeps sealed
}

// Scope are the parameters and DHCP options of the site, a network or a tag.
type Scope struct {
	Options []string          `toml:"options,omitempty"`
	Params  map[string]string `toml:"params,omitempty"`
	Sealed  []string          `toml:"-"`
}

// empty reports a scope of which no file is written: it has nothing, or all is sealed.
func (s Scope) empty() bool { return len(s.Params)+len(s.Options) == 0 }

func (s Scope) texts() map[string]string {
	out := params(s.Params)
	if len(s.Options) > 0 {
		out["options"] = strings.Join(s.Options, ", ")
	}
	return out
}

// Roll is a folder, or an appliance as such a folder would have it.
type Roll struct {
	Hosts     map[string]Host
	Scopes    map[boot.Scope]Scope
	Templates map[string]map[string]boot.Blob // files of each, by name
}

// New is an empty one.
func New() *Roll {
	return &Roll{Hosts: map[string]Host{}, Scopes: map[boot.Scope]Scope{}, Templates: map[string]map[string]boot.Blob{}}
}

// AddHost adds a host of the appliance.
func (r *Roll) AddHost(h *boot.Host) {
	x := Host{State: string(h.State), UUID: h.UUID.String(), Serial: h.Serial, DUID: h.DUID, SwitchPort: h.BoundPort, Template: h.Template,
		Tags: slices.Clone(h.Tags), Protected: h.Protected, Params: maps.Clone(h.Params), Sealed: h.Secrets}
	for _, m := range h.MACs {
		x.MACs = append(x.MACs, m.String())
	}
	for a, into := range map[netip.Addr]*string{h.Address: &x.Address, h.Address6: &x.Address6} {
		if a.IsValid() {
			*into = a.String()
		}
	}
	x.Options = optionTexts(h.Options)
	r.Hosts[h.Name] = x
}

// AddScope adds the parameters of a scope.
func (r *Roll) AddScope(v *boot.Values) {
	r.Scopes[v.Scope] = Scope{Options: optionTexts(v.Options), Params: maps.Clone(v.Params), Sealed: v.Secrets}
}

func optionTexts(options []boot.Option) (out []string) {
	for _, o := range options {
		out = append(out, o.String())
	}
	slices.Sort(out)
	return out
}

// canonicalOptions writes options as the appliance does.
func canonicalOptions(options []string) error {
	for i, s := range options {
		o, err := boot.ParseOptionText(s)
		if err != nil {
			return err
		}
		options[i] = o.String()
	}
	slices.Sort(options)
	return nil
}

// Read reads a folder. A file is refused with its line; digest reads the folder of a
// template.
func Read(dir string, digest func(dir string) (map[string]boot.Blob, error)) (*Roll, error) {
	if st, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !st.IsDir() {
		return nil, fmt.Errorf("%s is no folder", dir)
	}
	r := New()
	found := false
	hosts, err := files(filepath.Join(dir, hostsDir))
	if err != nil {
		return nil, err
	}
	for name, path := range hosts {
		found = true
		if strings.ContainsRune(name, filepath.Separator) {
			return nil, &tomlfile.Error{File: path, Msg: "a host's file lies in " + hostsDir + " itself, and its name is the host's"}
		}
		var h Host
		f, err := decode(path, &h)
		if err != nil {
			return nil, err
		}
		if h, err = canonical(h, f); err != nil {
			return nil, err
		}
		r.Hosts[name] = h
	}
	scopes, err := files(filepath.Join(dir, paramsDir))
	if err != nil {
		return nil, err
	}
	for name, path := range scopes {
		found = true
		scope := boot.Scope(filepath.ToSlash(name))
		if err := scope.Validate(); err != nil {
			return nil, &tomlfile.Error{File: path, Msg: err.Error() + ": the file's name says it, as in params/site.toml, params/network/lab.toml, params/tag/rack=12.toml"}
		}
		var s Scope
		f, err := decode(path, &s)
		if err != nil {
			return nil, err
		}
		if err := canonicalOptions(s.Options); err != nil {
			return nil, f.Errorf("options", 0, "options: %v", err)
		}
		if !s.empty() {
			r.Scopes[scope] = s
		}
	}
	folders, err := os.ReadDir(filepath.Join(dir, templatesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, d := range folders {
		if !d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			continue
		}
		found = true
		if r.Templates[d.Name()], err = digest(TemplateDir(dir, d.Name())); err != nil {
			return nil, err
		}
	}
	if !found {
		return nil, fmt.Errorf("%s has neither %s nor %s nor %s: muster export %s writes them", dir, hostsDir, paramsDir, templatesDir, dir)
	}
	return r, nil
}

// TemplateDir is the folder of a template.
func TemplateDir(dir, name string) string { return filepath.Join(dir, templatesDir, name) }

// files are the TOML files below a folder, by their paths in it without the ending. A
// folder that is not there has none; what begins with a dot is an editor's or git's.
func files(root string) (map[string]string, error) {
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path == root:
			return nil
		case err != nil:
			return err
		case path != root && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir() || !strings.HasSuffix(path, ext):
			return nil
		}
		name, err := filepath.Rel(root, path)
		out[strings.TrimSuffix(name, ext)] = path
		return err
	})
	return out, err
}

func decode(path string, into any) (*tomlfile.File, error) {
	if st, err := os.Stat(path); err != nil {
		return nil, err
	} else if st.Size() > maxFile {
		return nil, &tomlfile.Error{File: path, Msg: fmt.Sprintf("%d bytes: a file has at most %d", st.Size(), maxFile)}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return tomlfile.Decode(path, b, into)
}

// canonical writes everything as the appliance does, so that what means the same is the
// same.
func canonical(h Host, f *tomlfile.File) (Host, error) {
	var err error
	wrong := func(key string, e error) {
		if err == nil && e != nil {
			err = f.Errorf(key, 0, "%s: %v", key, e)
		}
	}
	if h.State != "" && !slices.Contains([]boot.State{boot.Pending, boot.Approved, boot.Denied}, boot.State(h.State)) {
		wrong("state", fmt.Errorf("%q: want approved, pending or denied", h.State))
	}
	for i, s := range h.MACs {
		m, e := boot.ParseMAC(s)
		wrong("macs", e)
		h.MACs[i] = m.String()
	}
	if h.UUID != "" {
		u, e := boot.ParseUUID(h.UUID)
		wrong("uuid", e)
		h.UUID = u.String()
	}
	for key, a := range map[string]*string{"address": &h.Address, "address6": &h.Address6} {
		if *a == "" {
			continue
		}
		x, e := netip.ParseAddr(*a)
		if e == nil && x.Is4() != (key == "address") {
			e = fmt.Errorf("%s is of the other family", x)
		}
		wrong(key, e)
		*a = x.String()
	}
	wrong("options", canonicalOptions(h.Options))
	wrong("tags", boot.ValidTags(h.Tags))
	slices.Sort(h.Tags)
	return h, err
}

// Write writes the hosts and scopes into a folder; templates are the caller's to copy.
// Files that are the same already are left alone. It returns the files of hosts and
// scopes that are there and not in r.
func (r *Roll) Write(dir string) (others []string, err error) {
	put := func(path string, v any) error {
		b, err := tomlfile.Encode(v)
		if err != nil {
			return err
		}
		if old, err := os.ReadFile(path); err == nil && string(old) == string(b) {
			return nil
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, b, 0o644)
	}
	wrote := map[string]bool{}
	for name, h := range r.Hosts {
		path := filepath.Join(dir, hostsDir, name+ext)
		wrote[path] = true
		if err := put(path, h); err != nil {
			return nil, err
		}
	}
	for scope, s := range r.Scopes {
		if s.empty() {
			continue
		}
		path := filepath.Join(dir, paramsDir, filepath.FromSlash(string(scope))+ext)
		wrote[path] = true
		if err := put(path, s); err != nil {
			return nil, err
		}
	}
	for _, d := range []string{hostsDir, paramsDir} {
		all, err := files(filepath.Join(dir, d))
		if err != nil {
			return nil, err
		}
		for _, path := range all {
			if !wrote[path] {
				others = append(others, path)
			}
		}
	}
	slices.Sort(others)
	return others, nil
}
