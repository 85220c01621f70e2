package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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

// TestPushOfMany: a version that many machines boot next is asked about, and tags and
// values are seen where they are used.
func TestPushOfMany(t *testing.T) {
	d := newDesk(t)
	spec := d.file("template.toml", "name = \"live\"\n[match]\ntag = [\"db\"]\n[boot]\nkernel = \"k\"\ncmdline = \"disk={{ .Params.disk }}\"\n[params.disk]\ndefault = \"/dev/sda\"\n")
	dir := filepath.Dir(spec)
	must(t, os.WriteFile(filepath.Join(dir, "k"), []byte("kernel"), 0o644))
	d.says(0, []string{"template", "push", dir}, "live version 1 stored")
	for i := range 11 {
		d.says(0, []string{"host", "add", fmt.Sprintf("web%02d", i), "--serial", fmt.Sprintf("RIG-%d", i), "--approved", "--tag", "db", "--tag", fmt.Sprintf("rack=%d", i)})
	}
	d.says(2, []string{"template", "push", dir}, "live is what 11 machines boot next; muster template preview "+regexp.QuoteMeta(dir), "push a template for 11 machines: --yes says that this is meant")
	d.says(0, []string{"template", "push", dir, "--yes"}, "live version 2 stored")
	d.says(0, []string{"host", "set", "web01", "--drop-tag", "rack"})
	d.says(0, []string{"host", "list", "tag:rack=1"}, "no machine matches")
	d.says(0, []string{"param", "set", "tag/rack=3", "disk=/dev/sdb"}, "tag/rack=3 set: 1 parameter")
	d.says(0, []string{"param", "list"}, `tag/rack=3 +disk +/dev/sdb`)
	d.says(0, []string{"param", "show", "web03"}, `disk +/dev/sdb +tag/rack=3`)
	d.says(0, []string{"param", "show", "web04"}, `disk +/dev/sda +template/live`)
	d.says(0, []string{"host", "show", "web03"}, `tags +db rack=3`, `param +disk=/dev/sdb \(tag/rack=3\)`)
	d.says(2, []string{"param", "set", "rack=3", "disk=x"}, "is no scope")
	d.says(0, []string{"template", "rollback", "live"}, `1 .* pinned`)
	d.says(0, []string{"template", "history", "live"}, `2 .* 0`)
	d.says(0, []string{"template", "unpin", "live"}, `2 .* yes`)
	d.says(0, []string{"template", "diff", "live"}, "the files are the same")
}
