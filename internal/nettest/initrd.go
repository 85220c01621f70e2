package nettest

// This file makes the system that a guest boots: a Debian kernel from the
// cache, and an initramfs of busybox, a few kernel modules and the scripts
// init.sh and udhcpc.sh.

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	_ "embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

//go:embed init.sh
var initScript []byte

//go:embed udhcpc.sh
var udhcpcScript []byte

// guestModules are what a guest needs for its network card and its disk.
var guestModules = []string{"virtio_pci", "virtio_net", "virtio_blk"}

// cachePath is where install.sh puts things.
func cachePath(name string) string {
	dir := os.Getenv("MUSTER_CACHE")
	if dir == "" {
		dir = "/var/cache/muster-lab"
	}
	return filepath.Join(dir, name)
}

// CachePath returns the path of a file that install.sh unpacked, such as
// "ipxe-13/usr/lib/ipxe/ipxe-arm64.efi", or an error if it does not exist.
func CachePath(name string) (string, error) {
	path := cachePath(name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: run internal/nettest/install.sh (demo, or test for arm64 and riscv64 guests) first", err)
	}
	return path, nil
}

// Kernel returns the path of a guest kernel for "amd64", "arm64" or "riscv64".
func Kernel(arch string) (string, error) { return CachePath("kernel-" + arch) }

// ConsoleArg returns the kernel argument for a guest's serial console.
func ConsoleArg(arch string) string {
	if arch == "arm64" {
		return "console=ttyAMA0"
	}
	return "console=ttyS0"
}

// Initrd writes the initramfs that goes with Kernel(arch) into dir and returns
// its path. The system in it obeys these kernel arguments:
//
//	muster.report=URL   fetch URL with stage=running added to its query
//	muster.install=URL  write what is there to the disk, fetch the report with stage=installed
//	muster.ipv6         by IPv6, with an address of its own making
//	muster.poweroff     then power off
//	muster.reboot       then reboot
//
// It prints "MUSTER-GUEST: running" when it is up and has reported, or
// "MUSTER-GUEST: report failed".
func Initrd(arch, dir string) (string, error) {
	busyboxPath, err := CachePath("busybox-" + arch)
	if err != nil {
		return "", err
	}
	busybox, err := os.ReadFile(busyboxPath)
	if err != nil {
		return "", err
	}
	moduleDir, err := CachePath("modules-" + arch)
	if err != nil {
		return "", err
	}
	modules, err := loadOrder(moduleDir, guestModules)
	if err != nil {
		return "", err
	}

	var image bytes.Buffer
	zip, _ := gzip.NewWriterLevel(&image, gzip.BestSpeed) // the level is a valid one
	a := cpioWriter{w: zip}
	for _, dir := range []string{"bin", "dev", "etc", "modules"} {
		a.add(dir, modeDir|0o755, 0, 0, nil)
	}
	// The kernel opens the console before devtmpfs exists.
	a.add("dev/console", modeCharDevice|0o600, 5, 1, nil)
	a.add("bin/busybox", modeFile|0o755, 0, 0, busybox)
	a.add("init", modeFile|0o755, 0, 0, initScript)
	a.add("udhcpc.sh", modeFile|0o755, 0, 0, udhcpcScript)
	var order strings.Builder
	for _, path := range modules {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		a.add("modules/"+filepath.Base(path), modeFile|0o644, 0, 0, data)
		fmt.Fprintln(&order, filepath.Base(path))
	}
	a.add("modules/order", modeFile|0o644, 0, 0, []byte(order.String()))
	a.add("TRAILER!!!", 0, 0, 0, nil)
	if a.err != nil {
		return "", a.err
	}
	if err := zip.Close(); err != nil {
		return "", err
	}
	// An odd length, as most initrds have: what is handed over behind one is lost
	// with UEFI, which pads nothing.
	image.Write(make([]byte, 1+-image.Len()&3))
	path := filepath.Join(dir, "initrd-"+arch)
	return path, os.WriteFile(path, image.Bytes(), 0o644)
}

// File types of a cpio entry's mode.
const (
	modeDir        = 0o040000
	modeFile       = 0o100000
	modeCharDevice = 0o020000
)

// cpioWriter writes the "newc" archive that the kernel unpacks as its first
// root directory. The first error sticks.
type cpioWriter struct {
	w     io.Writer
	inode int
	err   error
}

func (c *cpioWriter) add(name string, mode, devMajor, devMinor int, data []byte) {
	c.inode++
	links := 1
	if mode&modeDir != 0 {
		links = 2
	}
	// magic, inode, mode, uid, gid, links, mtime, size, device of the file
	// system (2), device of a device node (2), length of the name, checksum
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.inode, mode, 0, 0, links, 0, len(data), 0, 0, devMajor, devMinor, len(name)+1, 0)
	c.write([]byte(header + name + "\x00"))
	c.write(data)
}

// write writes p, padded with zeros to a multiple of four. The format wants
// that after a header with its name, and after data.
func (c *cpioWriter) write(p []byte) {
	if c.err != nil {
		return
	}
	if _, c.err = c.w.Write(p); c.err == nil {
		_, c.err = c.w.Write(make([]byte, -len(p)&3))
	}
}

// loadOrder returns the files of kernel modules and of all modules that they
// depend on, in an order in which they can be loaded. A module that is built
// into the kernel needs no file.
func loadOrder(dir string, names []string) (paths []string, err error) {
	files := map[string]string{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			files[moduleName(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	list, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(list)) {
		seen[moduleName(strings.TrimSuffix(filepath.Base(strings.TrimSpace(line)), ".ko"))] = true
	}
	var visit func(name string) error
	visit = func(name string) error {
		if name = moduleName(name); seen[name] {
			return nil
		}
		seen[name] = true
		path, ok := files[name]
		if !ok {
			return fmt.Errorf("no kernel module %s in %s", name, dir)
		}
		needs, err := moduleNeeds(path)
		if err != nil {
			return err
		}
		for _, need := range needs {
			if err := visit(need); err != nil {
				return err
			}
		}
		paths = append(paths, path)
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// moduleName maps both spellings of a module's name to one.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// moduleNeeds reads from a module's file which modules must be loaded before
// it. The package does not contain the index that depmod would make.
func moduleNeeds(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("%s is not a kernel module: it has no .modinfo", path)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := bytes.CutPrefix(field, []byte("depends=")); ok {
			return strings.FieldsFunc(string(list), func(r rune) bool { return r == ',' }), nil
		}
	}
	return nil, nil
}
