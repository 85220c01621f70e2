// attack_audit_test.go: a machine that may boot has so much to tell that everything else
// would be forgotten.

package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/simclient"
)

var (
	reportURL = regexp.MustCompile(`http://\S+/report`)
	kernelURL = regexp.MustCompile(`http://\S+/vmlinuz`)
	initrdURL = regexp.MustCompile(`http://(\S+?)(/\S+/initrd.gz)`)
)

// TestAttackAudit: a machine that may boot tells more than all the events that are kept,
// and breaks off its installation again and again. What people decided is still there.
func TestAttackAudit(t *testing.T) {
	s := besiege(t, "[events]\nmax=1000\n", 1)
	s.settle("uefi-x64")
	s.decides()
	web := &http.Client{Transport: &http.Transport{DialContext: s.foe.Dial}, Timeout: 10 * time.Second}
	fetch := func(url string) (string, error) {
		a, err := web.Get(url)
		if err != nil {
			return "", err
		}
		defer a.Body.Close()
		b, err := io.ReadAll(a.Body)
		if err == nil && a.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s %s", url, a.Status, b)
		}
		return string(b), err
	}
	get := func(url string) string {
		t.Helper()
		text, err := fetch(url)
		must(t, err)
		return text
	}
	// joins puts a machine on the roll, and returns the URL of its scripts.
	joins := func(name, mac, template string) string {
		s.muster("host", "add", name, "--mac", mac, "--template", template, "--approved")
		var tr simclient.Transcript
		if code, said := s.simulate(s.good, &tr, "ipxe", "-i", "eth0", "--mac", mac, "--no-kernel", "--no-report", "--json"); code != 0 {
			t.Fatalf("exit %d: %s", code, said)
		}
		for _, x := range tr.Steps {
			if x.Name == "script" {
				return x.File + "?arch=x86_64&platform=efi&mac=" + strings.ReplaceAll(mac, ":", "-")
			}
		}
		t.Fatal("it got no script")
		return ""
	}

	script := joins("loud", "52:54:00:00:0b:02", "linux")
	stop := s.during(func(ctx context.Context) {
		for i := 0; i < 600 && ctx.Err() == nil; i++ {
			text, err := fetch(script)
			if err == nil {
				_, err = fetch(reportURL.FindString(text) + fmt.Sprintf("?stage=running&text=%d", i))
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	s.stands("a machine that tells all the time")
	s.wait("600 boots", 30*time.Second, func() error {
		if n := s.show("loud").Boots; n < 600 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	stop()
	report := reportURL.FindString(get(script))
	before := len(s.events())
	for i := range 300 {
		get(report + fmt.Sprintf("?stage=running&text=%d", i))
	}
	if n := len(s.events()) - before; n != 64 {
		t.Errorf("300 reports of one boot are %d events", n)
	}

	s.pushInstaller("debian", "")
	script = joins("restless", "52:54:00:00:0b:03", "debian")
	s.muster("host", "install", "restless")
	text := get(script)
	get(kernelURL.FindString(text))
	initrd := initrdURL.FindStringSubmatch(text)
	const times = 20
	for range times {
		var c net.Conn
		must(t, s.foe.Do(func() (err error) {
			c, err = (&net.Dialer{Control: narrow}).DialContext(s.ctx, "tcp", net.JoinHostPort(initrd[1], "80"))
			return err
		}))
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", initrd[2])
		_, err := c.Read(make([]byte, 1))
		must(t, err)
		must(t, c.(*net.TCPConn).SetLinger(0))
		c.Close()
		s.wait("the ticket to come back", 10*time.Second, func() error {
			if st := s.show("restless").Ticket.State; st != "armed" {
				return fmt.Errorf("it is %s", st)
			}
			return nil
		})
	}
	audit := s.muster("event", "list", "--audit")
	if spent, back := strings.Count(audit, "on its way"), strings.Count(audit, "may try again"); spent+back > times || back == 0 {
		t.Errorf("the audit trail has that the ticket was spent %d times and came back %d times, of %d:\n%s", spent, back, times, audit)
	}

	s.stop(false)
	s.serveConfig(s.config)
	s.wait("old events to be removed", 20*time.Second, func() error {
		if n := len(s.events()); n > 1000 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	if strings.Contains(s.muster("event", "list"), "guest approved") {
		t.Error("the events are still those of the beginning")
	}
	s.decided()
}
