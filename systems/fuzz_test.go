package systems

// This file has media that nobody made looked at.

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"
)

// pack writes a medium as one text, for a fuzzer to change.
func pack(f files) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(f)) {
		b.WriteString(name + "\x01" + f[name] + "\x02")
	}
	return b.String()
}

func unpack(s string) fstest.MapFS {
	f := files{}
	for one := range strings.SplitSeq(s, "\x02") {
		if name, data, ok := strings.Cut(one, "\x01"); ok && fs.ValidPath(name) && len(f) < 100 {
			f[name] = data
		}
	}
	return mapFS(f)
}

// sound checks what a result promises: every path is on the medium and can stand in a
// script, whatever comes of the medium is plain, and nothing is left to be filled in.
func sound(f *Found, m fs.FS) error {
	if f.Kind == Disc && len(f.Notes) > 0 {
		return nil
	}
	if len(f.Arches) == 0 || len(f.Variants) == 0 || f.Cmdline != f.Variants[0].Cmdline {
		return errors.New("it is incomplete")
	}
	if f.Version != "" && !plainVersion.MatchString(f.Version) {
		return fmt.Errorf("version %q", f.Version)
	}
	platforms := map[string]bool{}
	for _, a := range f.Arches {
		if platforms[a.Platform] || a.Platform != "x64" && a.Platform != "arm64" {
			return fmt.Errorf("platform %q", a.Platform)
		}
		platforms[a.Platform] = true
		for _, p := range slices.Concat([]string{a.Kernel}, a.Initrd, a.Extra) {
			if _, err := fs.Stat(m, p); err != nil || !plainPath.MatchString(p) {
				return fmt.Errorf("path %q: %w", p, err)
			}
		}
	}
	for _, v := range f.Variants {
		if line := Expand(v.Cmdline, "image"); mark.MatchString(line) || strings.ContainsAny(line, "\r\n") {
			return fmt.Errorf("%q is left of %q", line, v.Cmdline)
		}
	}
	return nil
}

// FuzzDetect: whatever a medium holds, it is told by what it is, or that it is none, in
// words for a terminal.
func FuzzDetect(f *testing.F) {
	for _, m := range media {
		f.Add(m.label, pack(m.files))
	}
	f.Add("", pack(files{"arch/boot/x86_64/vmlinuz-$(reboot)": bzImage, "arch/boot/x86_64/initramfs-$(reboot).img": "i", "arch/x86_64/airootfs.sfs": "s"}))
	f.Fuzz(func(t *testing.T, label, packed string) {
		m := unpack(packed)
		found, err := Detect(m, label)
		if err != nil {
			if s := err.Error(); s == "" || len(s) > 2000 || strings.ContainsFunc(s, unicode.IsControl) {
				t.Fatalf("%d bytes: %q", len(s), s)
			}
			return
		}
		if err := sound(found, m); err != nil {
			t.Fatal(err)
		}
		if found.Kind == ESXi {
			_, _ = BootConfig([]byte((&medium{fsys: m, texts: map[string]string{}}).text("boot.cfg")), "{{ .BaseURL }}", "ks=http://x")
		}
	})
}

// FuzzBootConfig: what comes of a boot.cfg is a boot.cfg, whose only template is the
// prefix, and which looks for no CD.
func FuzzBootConfig(f *testing.F) {
	f.Add("bootstate=0\nprefix=\nkernel=/b.b00\nkernelopt=runweasel cdromBoot\nmodules=/jumpstrt.gz --- /useropts.gz\n")
	f.Add("kernel=\r\nkernelopt=CDROMBOOT\r\nkernel={{ .Params.x }}")
	f.Fuzz(func(t *testing.T, cfg string) {
		const prefix = "{{ .BaseURL }}/images/x/tree"
		b, err := BootConfig([]byte(cfg), prefix, "ks=http://x")
		if err != nil {
			return
		}
		kernel := false
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			switch key {
			case "prefix":
				if value != prefix {
					t.Errorf("prefix %q", value)
				}
				value = ""
			case "kernel":
				kernel = true
				fallthrough
			case "modules":
				if strings.HasPrefix(value, "/") || strings.Contains(value, " /") && key == "modules" {
					t.Errorf("%s=%q", key, value)
				}
			case "kernelopt":
				if slices.ContainsFunc(strings.Fields(value), func(o string) bool { return strings.EqualFold(o, "cdromBoot") }) {
					t.Errorf("kernelopt=%q", value)
				}
			}
			if strings.Contains(key+"="+value, "{{") {
				t.Errorf("a template in %q", line)
			}
		}
		if again, err := BootConfig([]byte(strings.ReplaceAll(string(b), prefix, "")), prefix, ""); !kernel || err != nil || len(again) == 0 {
			t.Errorf("%q cannot be read again: %v", b, err)
		}
	})
}
