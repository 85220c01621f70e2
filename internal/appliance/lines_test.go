// lines_test.go: log lines of machines, through the daemon's own sockets.

package appliance

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/dhcpd"
	"github.com/musterboot/muster/internal/run"
)

// TestLines: a line of a machine that has a lease is kept under its name, and one of a
// stranger is counted.
func TestLines(t *testing.T) {
	r := newRig(t, strings.NewReplacer(quiet, "", "10.77.0.", "127.77.0.", "eth0", "lo").Replace(lab))
	r.c.loopback = true
	r.c.plug("lo", loopAddr+"/24")
	ctx, stop := context.WithCancel(context.Background())
	tasks, err := r.start(ctx)
	must(t, err)
	ended := make(chan error)
	go func() { ended <- run.Group(ctx, tasks...) }()
	defer r.close()
	defer func() { stop(); <-ended }()

	q := dhcpd.Query{MAC: boot.MAC{0x52, 0x54, 0, 0, 0, 1}, Arch: boot.ArchNone}
	w := r.c.dhcp[67]
	for range 2 { // DISCOVER, REQUEST
		w.in <- dhcpd.Packet{Buf: q.Packet(), Meta: dhcpd.Meta{At: time.Now(), Interface: "lo"}}
		reply := <-w.out
		q.Addr, q.Server = yours(reply), by(reply)
	}
	say := func(from, text string) {
		t.Helper()
		c, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}).Dial("udp", r.c.at[5])
		must(t, err)
		defer c.Close()
		_, err = c.Write([]byte(text))
		must(t, err)
	}
	say("127.77.0.99", "<14>stranger: hello")
	say(q.Addr.String(), "<14>anaconda: installing")
	limit := time.After(20 * time.Second)
	for {
		lines, more := r.engine.Lines.Since(0)
		if len(lines) == 1 {
			if l := lines[0]; l.MAC != q.MAC || l.Line == nil || l.Line.Text != "installing" {
				t.Errorf("%+v", l)
			}
			break
		}
		select {
		case <-more:
		case <-limit:
			t.Fatalf("no line came\n%s", &r.said)
		}
	}
	r.figure("muster_syslog_lines_total", "result=kept", 1)
	r.figure("muster_syslog_lines_total", "result=stranger", 1)
	if s, err := r.status(t.Context()); err != nil || s.Dropped["log lines, of strangers"] != 1 || r.engine.Policy().LogPort != 514 {
		t.Errorf("%v, %+v", err, s.Dropped)
	}
}
