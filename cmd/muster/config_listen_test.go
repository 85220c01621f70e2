// config_listen_test.go: the addresses that services listen on.

package main

import (
	"strings"
	"testing"
)

// TestListenErrors: an address that cannot be meant is told of before the start.
func TestListenErrors(t *testing.T) {
	for listen, want := range map[string]string{
		":69": "", "[::]:69": "", "10.77.0.1:69": "", "[fd77::1]:69": "", "[fe80::1%eth1]:69": "",
		"[fe80::1]:69": `"[fe80::1%eth1]:69"`, "fd77::1:69": `"[fd77::1]:80"`, "fd77::1": `"[fd77::1]:80"`, "[fd77::1]": `"[fd77::1]:80"`,
	} {
		c, err := parseConfig("muster.toml", []byte("[tftp]\nlisten = \""+listen+"\"\n"))
		switch {
		case want == "" && (err != nil || c.TFTP != listen):
			t.Errorf("%q: %v", listen, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want a word of %s", listen, err, want)
		}
	}
}
