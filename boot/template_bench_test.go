// How long the choice of a template takes: go test -run '^$' -bench Choose ./boot

package boot_test

import (
	"fmt"
	"testing"

	"github.com/musterboot/muster/boot"
)

// BenchmarkChoose chooses among 10,000 templates, of which one has a condition on the
// machine's serial number and the others on others'.
func BenchmarkChoose(b *testing.B) {
	var ts []*boot.Template
	for i := range 10_000 {
		ts = append(ts, &boot.Template{Name: fmt.Sprintf("t%d", i), Match: boot.Selector{Serial: []string{fmt.Sprintf("RIG-%05d*", i)}, Tag: []string{"rack=*"}}})
	}
	boot.SortTemplates(ts)
	f := boot.Facts{ID: boot.Identity{Serial: "RIG-09999-A"}, Platform: boot.X64UEFI, Known: true, Tags: []string{"db", "rack=12"}, Complete: true}
	for b.Loop() {
		if c := boot.Choose(ts, f); c.Template == nil || c.Template.Name != "t9999" {
			b.Fatal(c.Template)
		}
	}
}
