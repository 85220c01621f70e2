package simclient

// This file is the machines that read no script: a Raspberry Pi, a switch in
// ONIE, U-Boot.

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/musterboot/muster/internal/simclient/script"
)

// pi loads the files that a Raspberry Pi loads: from its own folder, or from
// the root of the server if it has none.
func (r *run) pi(ctx context.Context, l *lease, boot *reply) error {
	model := r.m.Kind.pi
	server := boot.next
	if a, err := netip.ParseAddr(boot.opt66); err == nil && a.Is4() {
		server = a // the last one that it reads counts
	}
	if !server.IsValid() {
		server = boot.server
	}
	if !server.IsValid() {
		return r.fail("file", fault("send option 66, or siaddr", "no answer says where the files are"))
	}
	got, missing := map[string]bool{}, 0
	var total int64
	ask := func(name string, look bool) (bool, error) {
		if got[name] && look {
			return true, nil
		}
		var f *script.File
		var err error
		if look {
			var port = netip.AddrPortFrom(server, 69)
			_, err = probeTFTP(ctx, r.src, port, name, r.m.Kind.blksize, r.scale())
		} else {
			f, err = r.fetch(ctx, "file", tftpURL(server, name), manner{blksize: r.m.Kind.blksize, quiet: true})
		}
		var no *tftpRefusal
		switch {
		case errors.As(err, &no):
			missing++
			return false, nil
		case err != nil:
			if !errors.As(err, new(*stop)) {
				err = r.fail("file", explained(err, tftpURL(server, name)))
			}
			return false, err
		}
		got[name] = true
		if f != nil {
			total += f.Bytes
		}
		return true, nil
	}
	for _, name := range model.root {
		if _, err := ask(name, false); err != nil {
			return err
		}
		if name == "bootcode.bin" && !got[name] {
			return r.fail("file", fault("a Pi 3 runs nothing without it: put it into the root of the server", "there is no bootcode.bin"))
		}
	}
	folder := r.m.piSerial() + "/"
	own := false
	for _, name := range model.tries {
		var err error
		if own, err = ask(folder+name, true); err != nil {
			return err
		}
		if own {
			break
		}
	}
	if !own {
		folder = ""
	}
	for _, name := range model.files {
		name, look := strings.CutPrefix(name, "?")
		if _, err := ask(folder+name, look); err != nil {
			return err
		}
	}
	for _, name := range model.needs {
		if !got[name] && !got[folder+name] {
			where := "the root of the server"
			if own {
				where = folder
			}
			return r.fail("file", fault("is this Pi's serial number "+r.m.piSerial()+" known to the server, and a firmware tree under it?", "there is no %s in %s", name, where))
		}
	}
	kernel := model.needs[len(model.needs)-1]
	r.step(Step{Name: "boot", Verdict: OK, Text: fmt.Sprintf("%s starts, %d bytes in all; %d optional files are not there", kernel, total, missing)})
	return ended(Booted, kernel+" starts", "")
}

// The properties of the simulated switch.
const (
	onieVendor  = "acme"
	onieMachine = "sw1"
	onieArch    = "x86_64"
	onieASIC    = "bcm"
	onieEnt     = 42623
)

// onie looks for an installer in the order of ONIE's discovery: an exact URL,
// then names on the servers that the lease knows.
func (r *run) onie(ctx context.Context, l *lease) error {
	a := l.ack
	if r.src == (netip.Addr{}) {
		if err := r.at(l); err != nil {
			return err
		}
	}
	m := manner{agent: agentONIE, follow: true, quiet: true, header: map[string][]string{
		"ONIE-SERIAL-NUMBER": {r.m.Serial}, "ONIE-ETH-ADDR": {r.m.MAC.String()}, "ONIE-VENDOR-ID": {"0"}, "ONIE-MACHINE": {onieArch + "-" + onieVendor + "_" + onieMachine + "-r0"},
		"ONIE-MACHINE-REV": {"0"}, "ONIE-ARCH": {onieArch}, "ONIE-OPERATION": {"os-install"}, "ONIE-VERSION": {"2023.02"}}}
	var last error
	tried := 0
	try := func(target string) error {
		tried++
		f, err := r.fetch(ctx, "installer", target, m)
		if err != nil {
			last = explained(err, target)
			return nil
		}
		r.step(Step{Name: "boot", Verdict: OK, Text: fmt.Sprintf("the installer of %d bytes would run", f.Bytes)})
		return ended(Booted, "the installer "+shown(short(target))+" was loaded", "")
	}
	var exact []string
	for v := a.vendorID; len(v) >= 5 && len(v) >= 5+int(v[4]); v = v[5+int(v[4]):] {
		if ent := int(v[0])<<24 | int(v[1])<<16 | int(v[2])<<8 | int(v[3]); ent == onieEnt {
			for code, t := range tlvs(v[5 : 5+int(v[4])]) {
				if code == 1 {
					exact = append(exact, untilNUL(t))
				}
			}
		}
	}
	exact = append(exact, a.url114, a.opt67)
	for _, target := range exact {
		if u, err := url.Parse(target); err == nil && u.Host != "" && slices.Contains([]string{"http", "https", "tftp"}, u.Scheme) {
			if err := try(target); err != nil {
				return err
			}
		}
	}
	names := []string{
		fmt.Sprintf("onie-installer-%s-%s_%s-r0", onieArch, onieVendor, onieMachine),
		fmt.Sprintf("onie-installer-%s-%s_%s", onieArch, onieVendor, onieMachine),
		fmt.Sprintf("onie-installer-%s_%s", onieVendor, onieMachine),
		fmt.Sprintf("onie-installer-%s-%s", onieArch, onieASIC),
		"onie-installer-" + onieArch, "onie-installer",
	}
	servers := append(slices.Clone(a.servers), a.next, a.server)
	if h, err := netip.ParseAddr(a.opt66); err == nil {
		servers = append(servers, h)
	}
	var seen []netip.Addr
	for _, s := range servers {
		if !s.IsValid() || slices.Contains(seen, s) || len(seen) >= 8 {
			continue
		}
		seen = append(seen, s)
		for i, n := range names {
			for _, n := range []string{n, n + ".bin"} {
				if err := try("http://" + s.String() + "/" + n); err != nil {
					return err
				}
			}
			var h *httpError
			if i == 0 && last != nil && !errors.As(last, &h) && !strings.Contains(last.Error(), "answers") {
				break // the server is down: ONIE checks that first
			}
		}
	}
	if a.opt67 != "" && !strings.Contains(a.opt67, "://") && a.next.IsValid() {
		if err := try(tftpURL(a.next, a.opt67)); err != nil {
			return err
		}
	}
	if last == nil {
		return r.fail("installer", fault("send its URL in option 114, or in 125 for enterprise 42623", "the lease names neither an installer nor a server to look on"))
	}
	return r.fail("installer", fault("send the installer's URL in option 114, or in 125 for enterprise 42623, or put it on the server under one of ONIE's names", "no installer under %d names; the last: %v", tried, last))
}

// uboot reads the file that the header names, if any, then asks again as UEFI.
// U-Boot's standard boot script does the same.
func (r *run) uboot(ctx context.Context, k *Kind, l *lease, boot *reply) error {
	m := manner{blksize: k.blksize, quiet: true}
	if boot.next.IsValid() {
		var names []string
		if boot.file != "" {
			names = append(names, boot.file)
		} else {
			names = append(names, fmt.Sprintf("%X.img", l.addr.As4()))
		}
		mac := strings.ReplaceAll(r.m.MAC.String(), ":", "-")
		names = append(names, "pxelinux.cfg/01-"+mac, "pxelinux.cfg/default-arm-"+k.cpu, "pxelinux.cfg/default")
		for i, n := range names {
			f, err := r.fetch(ctx, "script", tftpURL(boot.next, n), m)
			var no *tftpRefusal
			switch {
			case err != nil && !errors.As(err, &no):
				return r.fail("script", explained(err, n))
			case err == nil && i == 0 && boot.file != "":
				return ended(Loaded, fmt.Sprintf("%s was loaded, %d bytes: what it does next cannot be told without running it", shown(n), f.Bytes), "")
			case err == nil:
				return ended(Loaded, shown(n)+" was loaded: a boot menu of U-Boot", "")
			}
		}
	}
	next := kindNamed(k.becomes)
	r.step(Step{Name: "script", Verdict: Skipped, Text: "no script for U-Boot: it asks again, as UEFI"})
	r.now = next
	l, boot, err := r.lease(ctx, next, "efi ")
	if err != nil {
		return err
	}
	if err := r.at(l); err != nil {
		return err
	}
	r.boot = boot
	return r.loader(ctx, next, l, boot)
}
