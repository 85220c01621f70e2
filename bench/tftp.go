// tftp.go: TFTP reads with a small client of its own, in lock-step and in
// windows. It is RFC 1350, 2347, 2348 and 7440 from the receiving side, shares
// no code with the server, and compares every byte.

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/musterboot/muster/internal/nettest"
)

const (
	blockSize = 1468 // one Ethernet frame
	crowd     = 50   // clients at once
	hpa       = "tftpd-hpa"
)

func (b *bench) tftp(ctx context.Context) (*table, error) {
	big, small := 32<<20, 4<<20
	if b.short {
		big, small = 4<<20, 512<<10
	}
	bigFile, bigData, err := b.makeFile("tftp-big", big)
	if err != nil {
		return nil, err
	}
	smallFile, smallData, err := b.makeFile("tftp-small", small)
	if err != nil {
		return nil, err
	}
	files := map[string]string{"undionly.kpxe": bigFile, "ipxe.efi": smallFile}
	servers := []program{b.musterServer("Muster", "udp/69", pool{size: 65000}, "", files), b.tftpdHPA(files), b.atftpd(files), b.dnsmasqTFTP(files)}
	t := newTable("TFTP", servers)
	t.note("blksize %d. One client: %s. %d clients: %s each, all at once. A dash: the server does not know the windowsize option; or, for the CPU of tftpd-hpa, it cannot be told, because each transfer is a process that ends unseen.", blockSize, bytesText(big), crowd, bytesText(small))
	mb := func(n int, d time.Duration) float64 { return float64(n) / 1e6 / d.Seconds() }
	err = b.each(ctx, servers, func(_ int, p program) error {
		s, err := b.start(ctx, p)
		if err != nil {
			return err
		}
		defer s.stop()
		for _, window := range []int{1, 16} {
			name := "lock-step"
			if window > 1 {
				name = fmt.Sprintf("windowsize %d", window)
			}
			start := time.Now()
			if err := fetch(ctx, b.client, "undionly.kpxe", bigData, window); errors.Is(err, errNoWindow) {
				continue
			} else if err != nil {
				return fmt.Errorf("one client, %s: %w", name, err)
			}
			t.add("one client, "+name, "MB/s", p, mb(big, time.Since(start)))

			g, gctx := errgroup.WithContext(ctx)
			before := s.cpu()
			start = time.Now()
			for range crowd {
				g.Go(func() error { return fetch(gctx, b.client, "ipxe.efi", smallData, window) })
			}
			if err := g.Wait(); err != nil {
				return fmt.Errorf("%d clients, %s: %w", crowd, name, err)
			}
			t.add(fmt.Sprintf("%d clients, %s", crowd, name), "MB/s", p, mb(crowd*small, time.Since(start)))
			if p.name == hpa {
				continue // its children end unseen, and their time with them
			}
			t.add(fmt.Sprintf("server CPU, %d clients, %s", crowd, name), "s/GiB", p, (s.cpu()-before).Seconds()/(float64(crowd*small)/(1<<30)))
		}
		return nil
	})
	return t, err
}

var errNoWindow = errors.New("server does not take the windowsize option")

const (
	answerTime = time.Second
	maxSilence = 5 // answerTimes
)

// fetch reads a file in windows of that many blocks and checks it against want.
func fetch(ctx context.Context, ns *nettest.NS, name string, want []byte, window int) error {
	pc, err := ns.ListenPacket("udp4", clientAddr+":0")
	if err != nil {
		return err
	}
	defer pc.Close()
	c := pc.(*net.UDPConn)
	to := netip.MustParseAddrPort(serverAddr + ":69")
	out := fmt.Appendf([]byte{0, 1}, "%s\x00octet\x00blksize\x00%d\x00", name, blockSize)
	if window > 1 {
		out = fmt.Appendf(out, "windowsize\x00%d\x00", window)
	}
	if _, err := c.WriteToUDPAddrPort(out, to); err != nil {
		return err
	}
	ack := make([]byte, 4)
	ack[1] = 4
	var (
		in     = make([]byte, blockSize+4)
		opened bool
		got    int  // blocks in order
		acked  int  // the last of them that was acknowledged
		gap    bool // a block is missing and was asked for
		silent int
	)
	say := func() error {
		acked, out = got, ack
		binary.BigEndian.PutUint16(ack[2:], uint16(got))
		_, err := c.WriteToUDPAddrPort(out, to)
		return err
	}
	for {
		c.SetReadDeadline(time.Now().Add(answerTime))
		n, from, err := c.ReadFromUDPAddrPort(in)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if silent++; silent == maxSilence {
				return fmt.Errorf("silence after block %d", got)
			}
			if opened {
				binary.BigEndian.PutUint16(ack[2:], uint16(got))
			}
			if _, err := c.WriteToUDPAddrPort(out, to); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if n < 4 || opened && from != to {
			continue
		}
		switch binary.BigEndian.Uint16(in) {
		case 5:
			return fmt.Errorf("server says: %s", bytes.Trim(in[4:n], "\x00"))
		case 6: // OACK
			if opened && got > 0 {
				continue
			}
			if !bytes.Contains(in[:n], fmt.Appendf(nil, "blksize\x00%d\x00", blockSize)) {
				return errors.New("server does not take the blksize")
			}
			opened, to = true, from
			if window > 1 && !bytes.Contains(in[:n], fmt.Appendf(nil, "windowsize\x00%d\x00", window)) {
				c.WriteToUDPAddrPort([]byte{0, 5, 0, 8, 0}, to)
				return errNoWindow
			}
			if err := say(); err != nil {
				return err
			}
		case 3: // DATA
			if !opened {
				return errors.New("server ignores options")
			}
			if binary.BigEndian.Uint16(in[2:]) != uint16(got+1) {
				if window > 1 && !gap {
					gap = true
					if err := say(); err != nil {
						return err
					}
				}
				continue
			}
			off := got * blockSize
			if data := in[4:n]; off+len(data) > len(want) || !bytes.Equal(data, want[off:off+len(data)]) {
				return fmt.Errorf("block %d is not the file's", got+1)
			}
			got++
			gap, silent = false, 0
			last := n-4 < blockSize
			if last && off+n-4 != len(want) {
				return fmt.Errorf("file ends after %d of %d bytes", off+n-4, len(want))
			}
			if last || got-acked == window {
				if err := say(); err != nil {
					return err
				}
			}
			if last {
				return nil
			}
		}
	}
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

// unpacked is a server that is not installed, only unpacked in the lab's cache.
func unpacked(name string) (string, error) { return nettest.CachePath("tftpd/usr/sbin/" + name) }

func (b *bench) tftpdHPA(files map[string]string) program {
	return program{hpa, "udp/69", func(dir string) ([]string, []string, error) {
		root, err1 := tree(dir, files)
		bin, err2 := unpacked("in.tftpd")
		return []string{bin, "--foreground", "--address", serverAddr + ":69", "--user", "root", "--secure", root}, nil, errors.Join(err1, err2)
	}}
}

func (b *bench) atftpd(files map[string]string) program {
	return program{"atftpd", "udp/69", func(dir string) ([]string, []string, error) {
		root, err1 := tree(dir, files)
		bin, err2 := unpacked("atftpd")
		return []string{bin, "--daemon", "--no-fork", "--user", "root", "--bind-address", serverAddr, "--logfile", filepath.Join(dir, "log"), root}, nil, errors.Join(err1, err2)
	}}
}

func (b *bench) dnsmasqTFTP(files map[string]string) program {
	return program{"dnsmasq", "udp/69", func(dir string) ([]string, []string, error) {
		root, err := tree(dir, files)
		return dnsmasq(dir, "--enable-tftp", "--tftp-root="+root, "--tftp-max=200", "--quiet-tftp"), nil, err
	}}
}
