package main

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryModule: what the linker wrote into a binary is in the file, and nothing else.
func TestEveryModule(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	t.Chdir("../..")
	for _, goarch := range []string{"amd64", "arm"} {
		binary := filepath.Join(t.TempDir(), "muster")
		cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", binary, "./cmd/muster")
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+goarch, "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		info, err := buildinfo.ReadFile(binary)
		must(t, err)
		modules, err := linked(goarch)
		must(t, err)
		text, err := copyright(modules)
		must(t, err)
		want := []string{standard + " " + info.GoVersion}
		for _, d := range info.Deps {
			want = append(want, d.Path+" "+d.Version)
		}
		for _, w := range want {
			path, _, _ := strings.Cut(w, " ")
			if !strings.Contains(text, "\n "+w+"\n") || !strings.Contains(text, "\n "+path+"/*\n") {
				t.Errorf("%s: %s is linked and not in the file", goarch, w)
			}
		}
		if len(modules) != len(want) {
			t.Errorf("%s: %d modules, the binary has %d", goarch, len(modules), len(want))
		}
	}
}

const mit = `Copyright (c) 2020 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and so on.
`

// made writes a module with these files.
func made(t *testing.T, files map[string]string) module {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return module{path: "example.org/m", version: "v1.0.0", dir: dir, folders: []string{dir, filepath.Join(dir, "sub", "deep")}}
}

// TestUnknownLicence: what no person has read yet is an error that names the module.
func TestUnknownLicence(t *testing.T) {
	deep := map[string]string{"m.go": "package m\n", "sub/deep/d.go": "package deep\n"}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"none", nil, "no licence file"},
		{"not known", map[string]string{"LICENSE": "Copyright (c) 2020 Somebody\nDo what you like on Sundays.\n"}, "not known"},
		{"another below", map[string]string{"LICENSE": mit, "sub/COPYING": "GNU\n  Lesser General Public License\n"}, "it mentions the gnu lesser"},
		{"another beside", map[string]string{"LICENSE": mit, "LICENSE.other": "Mozilla Public License 2.0"}, "it mentions the mozilla"},
		{"two in one", map[string]string{"LICENSE": mit + "Apache License\n   Version 2.0, January 2004\n"}, "two licences"},
		{"nobody's", map[string]string{"LICENSE": strings.TrimPrefix(mit, "Copyright (c) 2020 Somebody\n")}, "nothing says whose"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for n, text := range deep {
				if c.files == nil {
					c.files = map[string]string{}
				}
				c.files[n] = text
			}
			_, err := copyright([]module{made(t, c.files)})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "example.org/m v1.0.0") {
				t.Errorf("%v, want %q and the module", err, c.want)
			}
		})
	}
}

// TestNotices: the licence, a notice beside it, and what lies on the way to a folder that
// is linked; not what lies elsewhere.
func TestNotices(t *testing.T) {
	m := made(t, map[string]string{
		"LICENSE": "Apache License\nVersion 2.0, January 2004\n", "NOTICE": "Copyright 2019 The M Authors\n",
		"sub/license.txt": mit, "other/LICENSE": "Never linked.", "sub/deep/d.go": "package deep\n",
	})
	text, err := copyright([]module{m})
	must(t, err)
	for _, want := range []string{
		"\nFiles:\n example.org/m/*\nCopyright: (c) 2020 Somebody\n 2019 The M Authors\nLicense: Apache-2.0 and Expat\n",
		"\n Permission is hereby granted", "\n Copyright 2019 The M Authors\n", "/usr/share/common-licenses/Apache-2.0",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "Never linked") {
		t.Errorf("a folder that is not linked is in it:\n%s", text)
	}
}

func TestChangelog(t *testing.T) {
	at := time.Unix(1700000000, 0).UTC()
	const notes = "# Changelog\n\n## Unreleased\n\n- One thing, see\n  [there](docs/there.md).\n- Another.\n\n## 1.1.0 (2023-01-02)\n\n- Older.\n"
	got, err := changelog(notes, "1.2.0", "M <m@example.org>", at)
	must(t, err)
	const older = "muster (1.1.0) unstable; urgency=medium\n\n  * Older.\n\n -- M <m@example.org>  Mon, 02 Jan 2023 00:00:00 +0000\n"
	if want := "muster (1.2.0) unstable; urgency=medium\n\n  * One thing, see there.\n  * Another.\n\n -- M <m@example.org>  Tue, 14 Nov 2023 22:13:20 +0000\n\n" + older; got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	// A tag has its own section, and no entry twice.
	if got, err = changelog("## Unreleased\n\n## v1.1.0 - 2023-01-02\n- Older.\n", "1.1.0", "M <m@example.org>", at); err != nil || got != older {
		t.Errorf("%v:\n%s", err, got)
	}
	for _, bad := range []string{"", "## Unreleased\n", "## Yesterday\n- x\n", "## 1.0 (2023-13-13)\n- x\n"} {
		if got, err := changelog(bad, "1", "M <m@example.org>", at); err == nil {
			t.Errorf("%q became:\n%s", bad, got)
		}
	}
}

func TestManual(t *testing.T) {
	const page = "# x.toml\n\nOne `a-b` line.\n.Dot\n\nTwo [there](x.md).\n\n```toml\n# key\n.x = '\\'\n```\n\n## More\n\n- item\n\n| a | b |\n|---|---|\n| **c** | d |\n"
	got := manual(page, "x.toml", "what it is", time.Unix(1700000000, 0).UTC())
	const want = ".TH X.TOML 5 \"2023-11-14\" Muster Muster\n.SH NAME\nx.toml \\- what it is\n.SH DESCRIPTION\nOne \\fBa\\-b\\fR line.\n\\&.Dot\n.PP\nTwo there.\n" +
		".sp\n.RS 2\n.nf\n# key\n\\&.x = '\\e'\n.fi\n.RE\n.SH More\n.IP \\(bu 2\nitem\n.sp\n.RS 2\n.nf\na | b\n\\fBc\\fR | d\n.fi\n.RE\n.SH SEE ALSO\n.BR muster (1)\n"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
