// How long a preview takes: go test -run '^$' -bench Preview ./internal/admin

package admin

import (
	"fmt"
	"strings"
	"testing"

	"github.com/musterboot/muster/client"
)

// BenchmarkPreview renders two versions, of a script and two files each, for 5,000
// machines with values of their own and inherited ones.
func BenchmarkPreview(b *testing.B) {
	d := newDesk(b)
	push := func(more string) {
		d.push(200, "template.toml", "name = \"deb\"\n[boot]\nkernel = \"k\"\n[params.disk]\n[params.mirror]\n", "k", "kernel", "preseed.cfg", strings.Repeat("d-i a/disk string {{ sh .Params.disk }} {{ sh .Params.mirror }}\n", 40)+more,
			"user-data", "#cloud-config\nhostname: {{ yaml .Name }}\n")
	}
	push("")
	var hosts []string
	for i := range 5000 {
		hosts = append(hosts, fmt.Sprintf(`{"name":"h%d","serial":"SN-%d","template":"deb","params":{"disk":"/dev/disk%d"},"tags":["rack=%d"]}`, i, i, i, i%50))
	}
	d.want(200, "POST", "/api/v1/hosts/import", `{"hosts":[`+strings.Join(hosts, ",")+`]}`)
	d.want(200, "PATCH", "/api/v1/params/site", `{"params":{"mirror":"http://10.0.0.1/debian"}}`)
	push("d-i b/new string x\n")
	for b.Loop() {
		var p client.Previewed
		d.want(200, "POST", "/api/v1/templates/preview", `{"name":"deb","version":1}`).into(&p)
		if p.Changed != 5000 {
			b.Fatalf("%d of %d", p.Changed, p.Machines)
		}
	}
}
