package main

import (
	"fmt"
	"testing"

	"github.com/musterboot/muster/boot"
)

// TestPlans: an order on many machines is shown, asked about where many disks are
// meant, and run.
func TestPlans(t *testing.T) {
	d := newDesk(t)
	d.do(boot.PushTemplate{Template: boot.Template{Name: "deb", Install: true, Media: []string{"k"}, Files: map[string]boot.Blob{"template.toml": {}, "k": {}}}})
	for i := range 12 {
		d.says(0, []string{"host", "add", fmt.Sprintf("web%02d", i), "--mac", fmt.Sprintf("52:54:00:00:00:%02d", i), "--serial", fmt.Sprintf("RIG-%d", i), "--approved", "--template", "deb"})
	}
	d.says(0, []string{"host", "set", "web00", "--protected"})
	d.says(0, []string{"host", "list", "serial:RIG-1*"}, "web01 .*\n.*web10 .*\n.*web11")
	d.says(0, []string{"host", "list", "nobody"}, "no machine matches")
	d.says(1, []string{"host", "list", "stat:x"}, "no key is called")
	d.says(0, []string{"host", "list", "--armed"}, "nothing would be installed by a power cut now")

	d.says(0, []string{"host", "install", "--match", "template:deb", "--dry-run"}, `install, 11 machines: arm one ticket`, `web01, web02`, `left out, 1: is protected from installation: muster host set NAME`, `  web00`)
	d.says(0, []string{"host", "list", "--armed"}, "nothing would")
	d.says(2, []string{"host", "install", "--match", "template:deb"}, `install 11 machines: --yes says that this is meant`)
	d.says(0, []string{"host", "install", "--match", "template:deb", "--yes"}, `web01: approved; install of deb armed until`, `install: 11 machines done`)
	d.says(0, []string{"host", "list", "--armed", "--wide"}, "TICKET", "PROTECTED", "web01 .* armed .*RIG-1")
	d.says(0, []string{"host", "local", "RIG-1", "52-54-00-00-00-02"}, `local: 2 machines done`)
	d.says(0, []string{"host", "install", "web01", "--expires", "24h"}, "web01: install of deb armed until")
	d.says(1, []string{"host", "install", "web01", "--expires", "soon"}, `want a time like 24h or 7d`)
	d.says(0, []string{"host", "set", "--match", "web0", "--protected", "--json"}, `"done": 10`)
	d.says(1, []string{"host", "set", "--match", "web0", "--name", "x"}, `are one machine's`)
	d.says(2, []string{"host", "rm", "web01", "--match", "web0"}, "not both")
	d.says(2, []string{"host", "rm"}, "wants a machine")
	d.says(0, []string{"host", "deny", "--match", "web1"}, "deny: 2 machines done")
	d.says(0, []string{"host", "rm", "--match", "state:denied"}, "rm: 2 machines done")
	d.says(1, []string{"host", "rm", "--match", "state:denied"}, "there is nothing to do")
	d.says(0, []string{"host", "show", "RIG-3"}, "^web03 ")
}
