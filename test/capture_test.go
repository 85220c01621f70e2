// capture_test.go: what is kept of a machine's packets, read by tshark and held
// against what tcpdump saw on the line.

package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

// fields has tshark take a pcap file apart.
func fields(t *testing.T, file, filter string, names ...string) (out []string) {
	t.Helper()
	args := []string{"-n", "-r", file, "-Y", filter, "-T", "fields", "-E", "separator=|", "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"}
	for _, n := range names {
		args = append(args, "-e", n)
	}
	cmd := exec.Command("tshark", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark %s: %v: %s", file, err, stderr.String())
	}
	for l := range strings.Lines(string(b)) {
		out = append(out, strings.TrimSuffix(l, "\n"))
	}
	return out
}

func TestCapture(t *testing.T) {
	nettest.Need(t, "tshark", "tcpdump", "curl", "udhcpc")
	r := newRig(t)
	r.serveConfig(fullNetwork)
	cli, quiet := r.host("cli", ""), r.host("quiet", "")
	mac := r.mac(cli)
	if said := r.fails("host", "capture", mac); !strings.Contains(said, "no packets of "+mac) {
		t.Errorf("before it asked: %s", said)
	}
	dir := t.TempDir()
	line := filepath.Join(dir, "line.pcap")
	stop, err := r.srv.Capture("eth0", line)
	must(t, err)
	r.leased(cli)
	r.leased(quiet)
	// Not there, and there: an unknown machine gets its loader.
	out, _ := cli.Run(r.ctx, "curl", "-sS", "-m", "10", "-o", "/dev/null", "tftp://"+serverAddr+"/missing.efi")
	if !strings.Contains(out, "curl: (68)") { // file not found
		t.Errorf("curl said: %s", out)
	}
	if out, err := cli.Run(r.ctx, "curl", "-sS", "-m", "20", "-o", filepath.Join(dir, "loader"), "tftp://"+serverAddr+"/undionly.kpxe"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	st, err := os.Stat(filepath.Join(dir, "loader"))
	must(t, err)
	blocks := st.Size()/512 + 1
	// curl is gone when its last ACK may still be on its way to tcpdump: a UDP header with
	// a length of 12, then opcode and block.
	ack := []byte{0, 4, byte(blocks >> 8), byte(blocks)}
	r.wait("tcpdump to see the last ACK", 10*time.Second, func() error {
		b, err := os.ReadFile(line)
		must(t, err)
		for at := range b {
			if at >= 8 && bytes.HasPrefix(b[at:], ack) && b[at-4] == 0 && b[at-3] == 12 {
				return nil
			}
		}
		return fmt.Errorf("it is not in %d bytes", len(b))
	})
	must(t, stop())

	kept := filepath.Join(dir, "kept.pcap")
	if said := r.muster("host", "capture", mac, "-o", kept); !strings.Contains(said, " packets of "+mac) {
		t.Errorf("it said %q", said)
	}
	name := r.show(mac).Name
	cmd := exec.CommandContext(r.ctx, r.binary, "--data-dir", r.data, "host", "capture", name, "-o", "-")
	b, err := cmd.Output()
	must(t, err)
	if file, err := os.ReadFile(kept); err != nil || string(file) != string(b) {
		t.Errorf("the output has %d bytes and the file %d", len(b), len(file))
	}

	if bad := fields(t, kept, `ip.checksum.status == "Bad" or udp.checksum.status == "Bad" or _ws.malformed or not (dhcp or tftp)`, "frame.number", "_ws.col.info"); len(bad) > 0 {
		t.Errorf("tshark finds fault with %q", bad)
	}
	var types []string
	for _, f := range fields(t, kept, "dhcp", "dhcp.option.dhcp", "ip.src", "udp.srcport", "udp.dstport", "dhcp.hw.mac_addr") {
		types = append(types, strings.SplitN(f, "|", 2)[0])
		if !strings.HasSuffix(f, mac) || !strings.Contains(f, "|68|67|") && !strings.Contains(f, "|"+serverAddr+"|67|68|") {
			t.Errorf("DHCP packet %s", f)
		}
	}
	if s := strings.Join(types, " "); s != "1 2 3 5" { // DISCOVER OFFER REQUEST ACK
		t.Errorf("DHCP messages %s", s)
	}
	var tftp []string
	for _, f := range fields(t, kept, "tftp", "tftp.opcode", "tftp.block", "tftp.error.code", "tftp.source_file") {
		tftp = append(tftp, strings.Trim(f, "|"))
	}
	last := fmt.Sprint(blocks)
	want := []string{"1|||missing.efi", "5||1", "1|||undionly.kpxe", "6", "4|0", "3|1", "4|1", "3|" + last, "4|" + last}
	if strings.Join(tftp, "\n") != strings.Join(want, "\n") {
		t.Errorf("TFTP packets\n%s\nwant\n%s", strings.Join(tftp, "\n"), strings.Join(want, "\n"))
	}

	// What is kept whole is what was on the line, byte for byte.
	const whole = `udp.payload and frame.cap_len == frame.len`
	seen := map[string]int{}
	for _, f := range fields(t, line, whole, "ip.src", "ip.dst", "udp.srcport", "udp.dstport", "udp.payload") {
		seen[f]++
	}
	n := 0
	for _, f := range fields(t, kept, whole, "ip.src", "ip.dst", "udp.srcport", "udp.dstport", "udp.payload") {
		if n++; seen[f] == 0 {
			t.Errorf("this was not on the line: %s", f)
		}
	}
	if n < 11 {
		t.Errorf("only %d packets were compared", n)
	}
}
