// copyright.go: the licences and notices of every module that is linked into muster, in
// Debian's machine-readable form (DEP-5). Go links statically, so they go with the binary.

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// module is one that is linked, with the folders of it that are.
type module struct {
	path, version, dir string
	folders            []string
}

// standard is the name that the standard library goes by here.
const standard = "go.dev/std"

// linked lists what is linked into muster for an architecture of Linux, ordered by path.
func linked(goarch string) ([]module, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=Dir,Module", "./cmd/muster")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+goarch, "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	env, err := exec.Command("go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	root, version, _ := strings.Cut(strings.TrimSpace(string(env)), "\n")
	modules := []module{{path: standard, version: version, dir: root, folders: []string{root}}}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Dir    string
			Module *struct {
				Path, Version, Dir string
				Main               bool
			}
		}
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		m := p.Module
		if m == nil || m.Main {
			continue
		}
		i := slices.IndexFunc(modules, func(x module) bool { return x.path == m.Path })
		if i < 0 {
			i = len(modules)
			modules = append(modules, module{path: m.Path, version: m.Version, dir: m.Dir})
		}
		modules[i].folders = append(modules[i].folders, p.Dir)
	}
	slices.SortFunc(modules, func(a, b module) int { return strings.Compare(a.path, b.path) })
	return modules, nil
}

// known are the licences whose terms this package keeps, by a sentence that only they
// have. The Apache License is in every Debian system and needs no copy.
var known = []struct{ name, has string }{
	{"Apache-2.0", "apache license version 2.0, january 2004"},
	{"BSD-3-clause", "redistribution and use in source and binary forms, with or without modification, are permitted provided that the following conditions are met"},
	{"Expat", "permission is hereby granted, free of charge, to any person obtaining a copy of this software"},
	{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted"},
}

// unwanted are words of licences that ask for more than a notice. One of them in a file
// beside a known licence must not pass for that licence.
var unwanted = regexp.MustCompile(`gnu (lesser |affero |library )?general public licen[sc]e|mozilla public license|eclipse public license|creative commons|business source license|server side public license|commons clause`)

var apart = regexp.MustCompile(`[\s*#>]+`)

// licence names the licence that a text is.
func licence(text string) (string, error) {
	plain := strings.ToLower(apart.ReplaceAllString(text, " "))
	if w := unwanted.FindString(plain); w != "" {
		return "", fmt.Errorf("it mentions the %s", w)
	}
	name := ""
	for _, k := range known {
		if !strings.Contains(plain, k.has) {
			continue
		}
		if name != "" {
			return "", fmt.Errorf("it has two licences, %s and %s", name, k.name)
		}
		name = k.name
	}
	if name == "BSD-3-clause" && !strings.Contains(plain, "endorse or promote") {
		name = "BSD-2-clause"
	}
	if name == "" {
		return "", errors.New("its licence is not known here")
	}
	return name, nil
}

var (
	licenceFile = regexp.MustCompile(`(?i)^(licen[sc]e|copying|copyright|unlicense)([-._].*)?$`)
	noticeFile  = regexp.MustCompile(`(?i)^(notice|patents)(\.(txt|md))?$`)
	holder      = regexp.MustCompile(`(?im)^[\s/*#]*copyright:?[ \t]+((?:\(c\)|©|\d{4})[^\n]*)$`)
)

// texts are the licence and notice files of a module: at its top, and on the way from
// there to each folder that is linked.
func (m module) texts() (licences, notices []string, err error) {
	var dirs []string
	for _, d := range m.folders {
		for ; ; d = filepath.Dir(d) {
			if !slices.Contains(dirs, d) {
				dirs = append(dirs, d)
			}
			if d == m.dir || len(d) <= len(m.dir) {
				break
			}
		}
	}
	slices.Sort(dirs) // the module's own first
	for _, d := range dirs {
		entries, err := os.ReadDir(d)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range entries {
			to := &licences
			if noticeFile.MatchString(e.Name()) {
				to = &notices
			} else if !licenceFile.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			if !e.Type().IsRegular() {
				continue
			}
			b, err := os.ReadFile(filepath.Join(d, e.Name()))
			if err != nil {
				return nil, nil, err
			}
			*to = append(*to, strings.ReplaceAll(string(b), "\r\n", "\n"))
		}
	}
	return licences, notices, nil
}

// holders are the lines that say whose it is: of the licence and notice files, or, where
// those name nobody, of the files that are linked.
func (m module) holders(texts []string) (out []string, err error) {
	take := func(text string) {
		for _, h := range holder.FindAllStringSubmatch(text, -1) {
			h := strings.TrimSpace(h[1])
			if !slices.Contains(out, h) {
				out = append(out, h)
			}
		}
	}
	for _, t := range texts {
		take(t)
	}
	if len(out) > 0 {
		return out, nil
	}
	for _, d := range m.folders {
		files, err := filepath.Glob(filepath.Join(d, "*.go"))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				return nil, err
			}
			take(string(b))
		}
	}
	if len(out) == 0 {
		return nil, errors.New("nothing says whose it is")
	}
	slices.Sort(out)
	return out, nil
}

const apache = `On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.`

const head = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Muster
Source: https://github.com/musterboot/muster
Comment: /usr/bin/muster is linked statically with the Go modules below, each named by
 its path in place of files.

Files: *
Copyright: The Muster authors
License: Apache-2.0
`

// copyright is the file of that name. A module without a licence that is known here is an
// error: a person must read it first.
func copyright(modules []module) (string, error) {
	type part struct{ files, modules, body string }
	var parts []part
	var wrong []error
	for _, m := range modules {
		body, err := m.paragraph()
		if err != nil {
			wrong = append(wrong, fmt.Errorf("module %s %s in %s: %w", m.path, m.version, m.dir, err))
			continue
		}
		i := slices.IndexFunc(parts, func(p part) bool { return p.body == body })
		if i < 0 {
			i = len(parts)
			parts = append(parts, part{body: body})
		}
		parts[i].files += "\n " + m.path + "/*"
		parts[i].modules += "\n " + m.path + " " + m.version
	}
	if len(wrong) > 0 {
		return "", errors.Join(wrong...)
	}
	var b strings.Builder
	b.WriteString(head)
	for _, p := range parts {
		fmt.Fprintf(&b, "\nFiles:%s\n%sComment: Linked:%s\n", p.files, p.body, p.modules)
	}
	b.WriteString("\nLicense: Apache-2.0\n" + field(apache))
	return b.String(), nil
}

// paragraph is what DEP-5 says of a module, without its name.
func (m module) paragraph() (string, error) {
	licences, notices, err := m.texts()
	if err != nil {
		return "", err
	}
	if len(licences) == 0 {
		return "", errors.New("it has no licence file")
	}
	var names, said []string
	for _, text := range licences {
		name, err := licence(text)
		if err != nil {
			return "", err
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		if name != "Apache-2.0" {
			said = append(said, text)
		}
	}
	if len(said)+len(notices) > 0 && slices.Contains(names, "Apache-2.0") {
		said = append([]string{apache}, said...)
	}
	whose, err := m.holders(append(slices.Clone(licences), notices...))
	if err != nil {
		return "", err
	}
	said = append(said, notices...)
	return fmt.Sprintf("Copyright: %s\nLicense: %s\n%s", strings.Join(whose, "\n "), strings.Join(names, " and "), field(strings.Join(said, "\n\n"))), nil
}

// field continues a field by lines of text.
func field(text string) string {
	text = strings.Trim(text, "\n")
	if text == "" {
		return ""
	}
	var b strings.Builder
	for l := range strings.SplitSeq(text, "\n") {
		if l = strings.TrimRight(l, " \t\r"); l == "" {
			l = "."
		}
		b.WriteString(" " + l + "\n")
	}
	return b.String()
}
