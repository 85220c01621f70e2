// tftp.go: TFTP reads, by one client at full speed, by one that is as slow as
// firmware, and by many at once.

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/internal/nettest"
)

const (
	thinking  = 300 * time.Microsecond // of firmware, before each ACK
	bigWindow = 16
	alike     = 5 // transfers in a row, because each takes only a moment

	// The name of a loader, because Muster serves loaders by name.
	bigName, smallName = "undionly.kpxe", "ipxe.efi"
)

func (b *bench) tftp(ctx context.Context) (*table, error) {
	crowd, big, small := 200, 32<<20, 4<<20
	if b.short {
		crowd, big, small = 20, 4<<20, 512<<10
	}
	if err := b.addresses(ctx); err != nil {
		return nil, err
	}
	bigFile, bigData, err := b.makeFile("tftp-big", big)
	if err != nil {
		return nil, err
	}
	smallFile, smallData, err := b.makeFile("tftp-small", small)
	if err != nil {
		return nil, err
	}
	files := map[string]string{bigName: bigFile, smallName: smallFile}
	data := map[string][]byte{bigName: bigData, smallName: smallData}
	servers := b.field(b.musterServer("Muster", "udp/69", pool{size: 65000}, "", files), b.tftpdHPA(files), b.atftpd(files), b.dnsmasqTFTP(files))
	t := newTable("TFTP", servers)
	t.best = true
	t.note("blksize %d. One client: %s, where it thinks in lock-step %s. %d clients: %s each, all at once, from %d addresses. A dash: the server does not know the windowsize option.", blockSize, bytesText(big), bytesText(small), crowd, bytesText(small), clientAddrs)
	t.note("The client is this program's own, one thread on raw sockets, and compares every byte. In lock-step one side always waits for the other: on one processor the time is what both compute, on two also what it takes to wake one from idling, which in a virtual machine is most of it. Left to the scheduler it would be now this, now that, so one client and its server are pinned, and Muster is told (GOMAXPROCS) how many processors the machine has: from a pin it would conclude that there are no more. A crowd and its server have all processors.")
	t.note("A client that thinks spends %v before each ACK, as firmware does, on a processor without the server.", thinking)
	t.note("Slowest over median client: 1 is even treatment. A client that hears nothing for %v asks again.", answerTime)
	err = b.each(ctx, servers, func(_ int, p program) (failed error) {
		s, err := b.start(ctx, p)
		if err != nil {
			return err
		}
		defer s.stop()
		all, first, others, err := processors()
		if err != nil {
			return err
		}
		lockStep := 0.0 // of the client that thinks, MB/s
		noWindow := false
		for _, x := range []struct {
			name    string
			clients int
			times   int // one after the other; the median counts
			file    string
			window  int
			think   time.Duration
			server  unix.CPUSet
		}{
			{"one client, lock-step, one processor for both", 1, alike, bigName, 1, 0, first},
			{"one client, lock-step, server on another processor", 1, 1, bigName, 1, 0, others},
			{"one client that thinks, lock-step", 1, 1, smallName, 1, thinking, others},
			{"one client that thinks, windowsize 16", 1, 1, bigName, bigWindow, thinking, others},
			{fmt.Sprintf("%d clients, lock-step", crowd), crowd, 1, smallName, 1, 0, all},
			{fmt.Sprintf("%d clients, windowsize 16", crowd), crowd, 1, smallName, bigWindow, 0, all},
		} {
			if noWindow && x.window > 1 {
				continue
			}
			proto := transfer{name: x.file, want: data[x.file], window: x.window, think: x.think}
			if err := s.pin(x.server); err != nil {
				return errors.Join(failed, err)
			}
			before := s.cpu()
			var took, lasted []time.Duration
			for range x.times {
				if took, err = b.transfers(ctx, proto, x.clients); err != nil {
					break
				}
				lasted = append(lasted, slices.Max(took))
			}
			if noWindow = errors.Is(err, errNoWindow); noWindow {
				continue
			}
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", x.name, err))
				continue
			}
			total := float64(x.clients * len(proto.want))
			slices.Sort(lasted)
			rate := total / 1e6 / lasted[len(lasted)/2].Seconds()
			t.add(x.name, "MB/s", p, rate)
			switch {
			case x.clients > 1:
				t.add("slowest over median, "+x.name, "ratio", p, fairness(took))
				t.add("server CPU, "+x.name, "s/GiB", p, (s.cpu()-before).Seconds()/(total/(1<<30)))
			case x.think > 0 && x.window == 1:
				lockStep = rate
			case x.think > 0 && lockStep > 0:
				t.add("windowsize 16 over lock-step of that client", "times", p, rate/lockStep)
			}
		}
		return failed
	})
	return t, err
}

// processors returns three sets: all of them, the first one, on which a single
// client runs, and the others, if there are any.
func processors() (all, first, others unix.CPUSet, err error) {
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return all, first, others, err
	}
	others = all
	for i := 0; first.Count() == 0; i++ {
		if all.IsSet(i) {
			first.Set(i)
			others.Clear(i)
		}
	}
	if others.Count() == 0 {
		others = all
	}
	return all, first, others, nil
}

// transfers has n clients read the same file, one of them on the first processor.
func (b *bench) transfers(ctx context.Context, proto transfer, n int) (took []time.Duration, err error) {
	s, err := b.sockets(n, unix.SOCK_DGRAM)
	defer s.close()
	if err != nil {
		return nil, err
	}
	cs := make([]client, n)
	for i, fd := range s {
		t := proto
		t.fd = fd
		cs[i] = &t
	}
	if n == 1 {
		all, first, _, err := processors()
		if err != nil {
			return nil, err
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.SchedSetaffinity(0, &first); err != nil {
			return nil, fmt.Errorf("pin the client: %w", err)
		}
		defer unix.SchedSetaffinity(0, &all)
		d, err := alone(ctx, cs[0])
		return []time.Duration{d}, err
	}
	return together(ctx, cs)
}

// tree links files under their names into a folder that a server may serve.
func tree(dir string, files map[string]string) (string, error) {
	root := filepath.Join(dir, "files")
	err := os.Mkdir(root, 0o755)
	for name, from := range files {
		err = errors.Join(err, os.Link(from, filepath.Join(root, name)))
	}
	return root, errors.Join(err, os.Chmod(dir, 0o755))
}

// unpacked is a server that is only unpacked in the lab's cache, not installed.
func unpacked(name string) (string, error) { return nettest.CachePath("tftpd/usr/sbin/" + name) }

func (b *bench) tftpdHPA(files map[string]string) program {
	return program{"tftpd-hpa", "udp/69", func(dir string) ([]string, []string, error) {
		root, err1 := tree(dir, files)
		bin, err2 := unpacked("in.tftpd")
		return []string{bin, "--foreground", "--address", serverAddr + ":69", "--user", "root", "--secure", root}, nil, errors.Join(err1, err2)
	}}
}

// By default atftpd and dnsmasq serve at most 100 and 50 transfers at once.

func (b *bench) atftpd(files map[string]string) program {
	return program{"atftpd", "udp/69", func(dir string) ([]string, []string, error) {
		root, err1 := tree(dir, files)
		bin, err2 := unpacked("atftpd")
		return []string{bin, "--daemon", "--no-fork", "--user", "root", "--bind-address", serverAddr, "--maxthread", "1000", "--logfile", filepath.Join(dir, "log"), root}, nil, errors.Join(err1, err2)
	}}
}

func (b *bench) dnsmasqTFTP(files map[string]string) program {
	return program{"dnsmasq", "udp/69", func(dir string) ([]string, []string, error) {
		root, err := tree(dir, files)
		return dnsmasq(dir, "--enable-tftp", "--tftp-root="+root, "--tftp-max=1000", "--quiet-tftp"), nil, err
	}}
}
