package nettest

// This file proves the rig itself, with dnsmasq in the place of the product:
// each kind of machine boots over the lab's network up to the guest's report.

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestGuestsBoot(t *testing.T) {
	for _, c := range []struct {
		firmware Firmware
		loader   string // iPXE, or empty where the firmware has it
		always   bool   // the others repeat much of it: only on demand
	}{
		{UEFI, "/usr/lib/ipxe/ipxe.efi", true},
		{UEFIHTTP, "/usr/lib/ipxe/ipxe.efi", false},
		{BIOS, "", false},
		{ARM64, cachePath("ipxe-13/usr/lib/ipxe/ipxe-arm64.efi"), false},
	} {
		t.Run(c.firmware.String(), func(t *testing.T) {
			if !c.always && os.Getenv("MUSTER_LAB_ALL") == "" {
				t.Skip("proves more of the rig than of Muster: set MUSTER_LAB_ALL=1 to run it")
			}
			Need(t, "dnsmasq")
			Need(t, c.firmware.Needs()...)
			if c.loader != "" {
				Need(t, c.loader)
			}
			bootGuest(t, c.firmware, c.loader)
		})
	}
}

func bootGuest(t *testing.T, firmware Firmware, loader string) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	lab := NewT(t)
	sw := lab.Switch()
	srv := lab.Host("srv", sw, "10.77.0.1/24", "fd77::1/64")

	// The boot server: dnsmasq for DHCP and TFTP, HTTP for all that iPXE loads.
	root := lab.Dir
	arch := firmware.Arch()
	kernel, err := Kernel(arch)
	check(t, err)
	initrd, err := Initrd(arch, root)
	check(t, err)
	if loader != "" {
		_, err = copyFile(filepath.Join(root, "ipxe.efi"), loader)
		check(t, err)
	}
	script := fmt.Sprintf("#!ipxe\nkernel http://10.77.0.1/kernel initrd=initrd %s quiet"+
		" muster.report=http://10.77.0.1/report?mac=${net0/mac} muster.poweroff\n"+
		"initrd --name initrd http://10.77.0.1/initrd\nboot\n", ConsoleArg(arch))
	reports := make(chan string, 1)
	seen := func(name string, serve http.HandlerFunc) http.HandlerFunc {
		start := time.Now()
		return func(w http.ResponseWriter, r *http.Request) {
			t.Logf("%5.1f s: %s %s", time.Since(start).Seconds(), r.Method, name)
			serve(w, r)
		}
	}
	file := func(path string) http.HandlerFunc {
		return seen(filepath.Base(path), func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) })
	}
	mux := http.NewServeMux()
	mux.Handle("/script", seen("script", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, script) }))
	mux.Handle("/kernel", file(kernel))
	mux.Handle("/initrd", file(initrd))
	mux.Handle("/ipxe.efi", file(filepath.Join(root, "ipxe.efi")))
	mux.Handle("/report", seen("report", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "thank you")
		select {
		case reports <- r.URL.RawQuery:
		default:
		}
	}))
	listener, err := srv.Listen("tcp", "10.77.0.1:80")
	check(t, err)
	server := &http.Server{Handler: mux}
	go server.Serve(listener)
	defer server.Close()

	dnsmasq := srv.Command(ctx, "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null",
		"--user=root", "--port=0", "--interface=eth0", "--leasefile-ro", "--no-ping",
		// iPXE configures IPv6 too; with no router to answer it waits 16 s for one.
		"--enable-ra", "--dhcp-range=fd77::,ra-only",
		"--dhcp-range=10.77.0.100,10.77.0.200,255.255.255.0", "--dhcp-option=3", "--dhcp-option=6",
		"--enable-tftp", "--tftp-root="+root,
		"--dhcp-match=set:ipxe,175", "--dhcp-match=set:http,option:client-arch,16",
		"--dhcp-boot=tag:ipxe,http://10.77.0.1/script",
		"--dhcp-boot=tag:!ipxe,tag:http,http://10.77.0.1/ipxe.efi",
		"--dhcp-option-force=tag:!ipxe,tag:http,60,HTTPClient",
		"--dhcp-boot=tag:!ipxe,tag:!http,ipxe.efi")
	said := new(strings.Builder)
	dnsmasq.Stdout, dnsmasq.Stderr = said, said
	check(t, dnsmasq.Start())
	defer func() {
		cancel()
		_ = dnsmasq.Wait() // it was killed
		if t.Failed() {
			t.Logf("dnsmasq said:\n%s", said)
		}
	}()

	vm := lab.Boot(ctx, sw, Guest{Firmware: firmware, Serial: "LAB-1"})
	check(t, vm.WaitConsole(ctx, "MUSTER-GUEST: running"))
	t.Logf("%5.1f s: running", time.Since(vm.Started).Seconds())
	want := "mac=" + vm.MAC + "&stage=running"
	if got := strings.ReplaceAll(<-reports, "%3A", ":"); got != want {
		t.Errorf("report said %q, want %q", got, want)
	}
	select {
	case <-vm.Done():
	case <-ctx.Done():
		t.Error("guest does not power off")
	}
}

// A lab must not outlive its process, and one that is alive must be left alone.
func TestSweep(t *testing.T) {
	lab := NewT(t)
	mine := lab.Host("mine", lab.Switch())
	stale := "muster-1.0-1-left" // process 1 was not started at tick 0 of this name's maker
	if start, _ := startTime(1); start == "0" {
		stale = "muster-1.1-1-left"
	}
	check(t, ip("netns", "add", stale))
	sleep := (&NS{Name: stale}).Command(context.Background(), "sleep", "60")
	check(t, sleep.Start())
	time.Sleep(100 * time.Millisecond) // for the sleep to be inside

	check(t, Sweep())
	if err := sleep.Wait(); err == nil {
		t.Error("the process in the stale lab was not killed")
	}
	names := strings.Join(dirNames(netnsDir), " ")
	if strings.Contains(names, stale) {
		t.Errorf("stale namespace is still there: %s", names)
	}
	if !strings.Contains(names, mine.Name) {
		t.Errorf("a living lab was swept: %s", names)
	}
}

// Two hosts reach each other over the switch with full-size frames whose
// checksums are right, which a capture by a third shows.
func TestWire(t *testing.T) {
	Need(t, "tcpdump")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	lab := NewT(t)
	sw := lab.Switch()
	a := lab.Host("a", sw, "10.77.0.1/24")
	b := lab.Host("b", sw, "10.77.0.2/24", "fd77::2/64")
	file := filepath.Join(lab.Dir, "wire.pcap")
	stop, err := sw.Capture(BridgeName, file)
	check(t, err)

	server, err := a.ListenPacket("udp", "10.77.0.1:7")
	check(t, err)
	defer server.Close()
	client, err := b.Dial(ctx, "udp", "10.77.0.1:7")
	check(t, err)
	defer client.Close()
	_, err = client.Write(make([]byte, 1472))
	check(t, err)
	_ = server.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, from, err := server.ReadFrom(make([]byte, 2000))
	check(t, err)
	if n != 1472 || !strings.HasPrefix(from.String(), "10.77.0.2:") {
		t.Errorf("%d bytes from %s", n, from)
	}

	time.Sleep(200 * time.Millisecond)
	check(t, stop())
	text, err := a.Run(ctx, "tcpdump", "-n", "-vv", "-r", file, "udp")
	check(t, err)
	if !strings.Contains(text, "10.77.0.2") || !strings.Contains(text, "[udp sum ok]") {
		t.Errorf("the capture shows no sound datagram:\n%s", text)
	}
}

// The reset button starts the firmware again, and the console with it.
func TestReset(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	lab := NewT(t)
	vm := lab.Boot(ctx, lab.Switch(), Guest{Firmware: BIOS})
	check(t, vm.WaitConsole(ctx, "Booting from ROM"))
	check(t, vm.Reset())
	check(t, vm.WaitConsole(ctx, "Booting from ROM"))
	vm.Kill()
	whole, err := os.ReadFile(vm.Guest.Console)
	check(t, err)
	const banner = "SeaBIOS (version"
	if all, now := strings.Count(string(whole), banner), strings.Count(vm.Console(), banner); all != 2 || now != 1 {
		t.Errorf("%d starts in the console's file and %d since the reset, want 2 and 1", all, now)
	}
	if err := vm.WaitConsole(ctx, "never shown"); err == nil || !strings.Contains(err.Error(), "machine ended") {
		t.Errorf("waiting for a machine that is off: %v", err)
	}
}
