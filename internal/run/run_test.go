package run

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestGroup(t *testing.T) {
	boom := errors.New("boom")
	wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, c := range []struct {
		name string
		run  func(context.Context) error
		want string
	}{
		{"an error stops the rest", func(context.Context) error { return boom }, "bad: boom"},
		{"ending by itself is an error", func(context.Context) error { return nil }, "bad ended by itself"},
	} {
		err := Group(t.Context(), Task{"good", wait}, Task{"bad", c.run})
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		if err := Group(ctx, Task{"a", wait}, Task{"b", wait}); err != nil {
			t.Errorf("a stop from outside is no error: %v", err)
		}
	})
}

func TestBindErrorNamesTheHolder(t *testing.T) {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	port := c.LocalAddr().(*net.UDPAddr).Port
	_, err = net.ListenPacket("udp4", c.LocalAddr().String())
	if err == nil {
		t.Fatal("bound twice")
	}
	msg := BindError("udp", port, err).Error()
	if !strings.Contains(msg, "is taken by run.test (pid ") {
		t.Errorf("%s", msg)
	}
}

func TestFirewall(t *testing.T) {
	const drop = `table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		iifname "lo" accept
		tcp dport 22 accept
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
`
	udp, tcp := []int{67, 69, 4011}, []int{80}
	for _, c := range []struct{ name, rules, want string }{
		{"drops what it does not know", drop, "sudo nft insert rule inet filter input iifname eth1 udp dport { 67, 69, 4011 } accept"},
		{"knows the interface", strings.Replace(drop, "tcp dport 22", `iifname "eth1"`, 1), ""},
		{"knows the port", strings.Replace(drop, "tcp dport 22", "udp dport { 53, 67, 69 }", 1), ""},
		{"accepts by default", strings.Replace(drop, "policy drop", "policy accept", 1), ""},
		{"drops the port by name", strings.Replace(strings.Replace(drop, "policy drop", "policy accept", 1), "tcp dport 22 accept", "udp dport 69 drop", 1), "drops UDP port 69"},
		{"empty", "", ""},
	} {
		got := nftAdvice(c.rules, "eth1", udp, tcp)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestUnit(t *testing.T) {
	for cgroup, want := range map[string]string{
		"0::/system.slice/isc-dhcp-server.service\n":                           "isc-dhcp-server.service",
		"0::/system.slice/docker-abc.scope\n":                                  "",
		"0::/user.slice/user-1000.slice/session-3.scope\n":                     "",
		"12:pids:/system.slice/tftpd-hpa.service\n0::/\n":                      "tftpd-hpa.service",
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n": "",
		"": "",
	} {
		if got := unitIn(cgroup); got != want {
			t.Errorf("%q: %q, want %q", cgroup, got, want)
		}
	}
}
