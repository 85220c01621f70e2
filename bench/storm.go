// storm.go: a thousand machines switched on together, each from DHCP to its
// report, against dnsmasq with nginx doing the same work. A second run has ten
// times as many machines, for addresses and scripts alone. The machines are
// those of "muster simulate", which share no code with the server.

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// stormMemory is what Muster may take at most while a storm lasts, in MB.
const stormMemory = 250 << 20 / 1e6

// stormFirst is the first machine's MAC; the others count up from it.
const stormFirst = "52:54:00:00:00:01"

// stormed is the result of a run of simulated machines.
type stormed struct {
	Count int            `json:"count"`
	Ends  map[string]int `json:"ends"`
	Twice int            `json:"addresses_twice"`
	Bytes float64        `json:"bytes"`
	MS    float64        `json:"ms"`
	Whole struct {
		P50 float64 `json:"p50_ms"`
		P90 float64 `json:"p90_ms"`
		Max float64 `json:"max_ms"`
	} `json:"whole"`
	Failures []struct {
		Text  string `json:"text"`
		Count int    `json:"count"`
	} `json:"failures"`
}

func (b *bench) storm(ctx context.Context) ([]*table, error) {
	n, many, kernel, initrd := 1000, 10000, 8<<20, 12<<20
	if b.short {
		n, many, kernel, initrd = 100, 500, 1<<20, 1<<20
	}
	loader, _, err1 := b.makeFile("storm-loader", 300<<10)
	vmlinuz, _, err2 := b.makeFile("storm-kernel", kernel)
	rd, _, err3 := b.makeFile("storm-initrd", initrd)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	restore, err := roomForNeighbours()
	if err != nil {
		return nil, err
	}
	defer restore()
	// Each script is a connection of its own from one address, and its port
	// cannot be reused for a minute. Three rounds of 20,000 need all ports.
	if _, err := b.client.Run(ctx, "sh", "-c", "echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range"); err != nil {
		return nil, err
	}
	room := pool{size: 65000}
	muster := b.musterServer("Muster", "udp/67", room, b.noLimits, map[string]string{"undionly.kpxe": loader})
	servers := []program{muster, b.dnsmasqNginx(room, loader, vmlinuz, rd)}
	full := newTable(fmt.Sprintf("%s machines switched on together", thousands(n)), servers)
	full.note("Each machine: DHCP as a BIOS ROM, a loader of 300 KiB by TFTP, DHCP as iPXE, its script, %s of kernel and initrd by HTTP, a report, RELEASE. All are new to the server. `muster simulate bios --count %d --rate 500 --parallel 1000`: a ROM waits two seconds for further offers, and asks again after 4, 8, 16 and 32.", bytesText(kernel+initrd), n)
	full.note("Muster enrols each machine, renders its script and writes its timeline; dnsmasq and nginx give all the same static one. Machines and servers run on the same processors, and one network stack carries both ends. Receive windows are iPXE's. The kernel may know 16,384 neighbours (net.ipv4.neigh.default.gc_thresh3), not the usual 1,024: each machine has an address of its own.")
	full.note("Peak memory: of the server's processes together. Muster's must stay under %.0f MB.%s", float64(stormMemory), b.limitsNote())
	err = b.each(ctx, servers, func(_ int, p program) error {
		return b.stormRun(ctx, full, p, vmlinuz, rd, n, false, "bios", "--rate", "500", "--parallel", "1000")
	})
	if err != nil {
		return []*table{full}, err
	}
	scripts := newTable(fmt.Sprintf("%s machines: addresses and scripts alone", thousands(many)), servers[:1])
	scripts.note("`muster simulate ipxe --count %d --rate 1000 --parallel 100 --no-address --no-kernel --no-report`: DHCP, the script that asks who it is, the script that boots, RELEASE. The machines were imported and approved before: of strangers Muster enrols 20 a second for long. Files are fetched from one address, of which Muster takes 128 connections.", many)
	err = b.each(ctx, servers[:1], func(_ int, p program) error {
		return b.stormRun(ctx, scripts, p, vmlinuz, rd, many, true, "ipxe", "--rate", "1000", "--parallel", "100", "--no-address", "--no-kernel", "--no-report")
	})
	return []*table{full, scripts}, err
}

// stormRun boots n machines from p on fresh state; known ones were approved before.
func (b *bench) stormRun(ctx context.Context, t *table, p program, kernel, initrd string, n int, known bool, kind string, args ...string) error {
	s, err := b.start(ctx, p)
	if err != nil {
		return err
	}
	defer s.stop()
	if p.name == "Muster" {
		if err := b.pushStorm(ctx, s, kernel, initrd); err != nil {
			return err
		}
		if known {
			if err := b.importStorm(ctx, s, n); err != nil {
				return err
			}
		}
	}
	line := append([]string{"simulate", kind, "--interface", "eth0", "--count", strconv.Itoa(n), "--no-digest", "--json", "--brief", "--mac", stormFirst}, args...)
	cmd := b.client.Command(ctx, b.muster, line...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	peak, before := s.watch(), s.cpu()
	failed := cmd.Run()
	cpu := s.cpu() - before
	memory, anon := peak()
	var r stormed
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return fmt.Errorf("%w: %s", errors.Join(failed, err), said.String())
	}
	t.add("all done", "s", p, r.MS/1000)
	t.add("one machine, p50", "s", p, r.Whole.P50/1000)
	t.add("one machine, p90", "s", p, r.Whole.P90/1000)
	t.add("one machine, slowest", "s", p, r.Whole.Max/1000)
	t.add("machines that did not boot", "of "+thousands(n), p, float64(n-r.Ends["boot"]))
	t.add("loaded", "MB/s", p, r.Bytes/1e6/(r.MS/1000))
	t.add("server CPU per machine", "ms", p, cpu.Seconds()*1000/float64(n))
	t.add("peak memory", "MB", p, memory)
	t.add("peak memory without pages of files", "MB", p, anon)
	if failed != nil {
		why := "?"
		if len(r.Failures) > 0 {
			why = fmt.Sprintf("%d times %s", r.Failures[0].Count, r.Failures[0].Text)
		}
		err = fmt.Errorf("%d machines did not boot, %d addresses were given twice: %s", n-r.Ends["boot"], r.Twice, why)
	}
	if p.name == "Muster" && memory > stormMemory {
		err = errors.Join(err, fmt.Errorf("it took %.0f MB, more than %.0f", memory, float64(stormMemory)))
	}
	return err
}

// pushStorm stores the template that approves all machines.
func (b *bench) pushStorm(ctx context.Context, s *process, kernel, initrd string) error {
	dir := filepath.Join(s.dir, "storm")
	err := errors.Join(os.Mkdir(dir, 0o755), os.Link(kernel, filepath.Join(dir, "vmlinuz")), os.Link(initrd, filepath.Join(dir, "initrd.gz")),
		os.WriteFile(filepath.Join(dir, "template.toml"), []byte(`name = "storm"
auto_approve = true
[match]
mac = ["52:54:00:*"]
[boot]
kernel = "vmlinuz"
initrd = ["initrd.gz"]
cmdline = "muster.report={{ .ReportURL }}"
`), 0o644))
	if err != nil {
		return err
	}
	return b.order(ctx, s, "template", "push", dir)
}

// importStorm adds n machines to the roll.
func (b *bench) importStorm(ctx context.Context, s *process, n int) error {
	text := []byte("name,mac\n")
	for i := range n {
		x := i + 1 // stormFirst is the first
		text = fmt.Appendf(text, "s%05d,52:54:00:%02x:%02x:%02x\n", x, byte(x>>16), byte(x>>8), byte(x))
	}
	file := filepath.Join(s.dir, "machines.csv")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return err
	}
	return b.order(ctx, s, "host", "import", "--from", "csv", "--approved", "--template", "storm", file)
}

// order gives Muster a command.
func (b *bench) order(ctx context.Context, s *process, args ...string) error {
	out, err := exec.CommandContext(ctx, b.muster, append([]string{"--data-dir", filepath.Join(s.dir, "data")}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("muster %s: %w: %.500s", strings.Join(args, " "), err, out)
	}
	return nil
}

// dnsmasqNginx is the pair that people set up by hand: dnsmasq for addresses
// and the loader, nginx for script and files.
func (b *bench) dnsmasqNginx(p pool, loader, kernel, initrd string) program {
	web := nginx("tcp/80", map[string]string{"vmlinuz": kernel, "initrd.gz": initrd}, "listen "+serverAddr+":80; location = /report { return 200 \"ok\"; }")
	return program{"dnsmasq and nginx", "udp/67", func(dir string) ([]string, []string, error) {
		tftp := filepath.Join(dir, "tftp")
		url := "http://" + serverAddr
		err := errors.Join(os.Mkdir(tftp, 0o755), os.Link(loader, filepath.Join(tftp, "undionly.kpxe")))
		argv, _, err2 := web.prepare(dir)
		script := "#!ipxe\nkernel " + url + "/vmlinuz muster.report=" + url + "/report || exit 1\ninitrd " + url + "/initrd.gz || exit 1\nboot\n"
		err = errors.Join(err, err2, os.WriteFile(filepath.Join(dir, "files", "boot.ipxe"), []byte(script), 0o644))
		names := dnsmasq(dir, "--dhcp-range="+p.first()+","+p.last()+","+netmask+",1h", "--dhcp-authoritative", "--no-ping", "--quiet-dhcp", "--dhcp-lease-max=200000", "--dhcp-leasefile="+filepath.Join(dir, "leases"),
			"--enable-tftp", "--tftp-root="+tftp, "--tftp-max=2000", "--quiet-tftp", "--dhcp-userclass=set:ipxe,iPXE", "--dhcp-boot=tag:!ipxe,undionly.kpxe", "--dhcp-boot=tag:ipxe,"+url+"/boot.ipxe")
		// nginx in the background: both end with their group.
		line := strings.Join(quoted(argv), " ") + " & exec " + strings.Join(quoted(names), " ")
		return []string{"sh", "-c", line}, nil, err
	}}
}

// quoted quotes words for a shell.
func quoted(words []string) (out []string) {
	for _, w := range words {
		out = append(out, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
	}
	return out
}

// roomForNeighbours raises the kernel's limit on neighbours above the number of
// machines, until restore is called. The limit is for the whole host.
func roomForNeighbours() (restore func(), err error) {
	const name = "/proc/sys/net/ipv4/neigh/default/gc_thresh3"
	old, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(name, []byte("16384"), 0o644); err != nil {
		return nil, err
	}
	return func() { _ = os.WriteFile(name, old, 0o644) }, nil
}
