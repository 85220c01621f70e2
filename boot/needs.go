// needs.go: machines that a template is not for, whatever names it there: too little
// memory, other firmware, or what it installs is on them already.

package boot

import (
	"fmt"
	"slices"
	"strings"
)

// Needs are facts that a machine must have. One that is not known yet is not missed.
type Needs struct {
	Memory int        `json:"memory,omitempty" toml:"memory"` // MiB, as the machine last reported
	Arch   []Platform `json:"arch,omitempty" toml:"arch"`
}

// runs reports a platform whose machines can run the kernels of an architecture, as images
// name it.
func (p Platform) runs(arch string) bool {
	switch p {
	case BIOS, X64UEFI, IA32UEFI:
		return arch == "x64"
	case ARM64UEFI, ARM64UBoot, PiPlatform:
		return arch == "arm64"
	case SomeUBoot:
		return true
	}
	return false
}

// unfit says what of a host the template cannot do with; nil if nothing is known.
func (h *Host) unfit(x *Template) *Reason {
	// What Linux calls its memory lacks what kernel and firmware keep for themselves.
	if have := h.Memory >> 20; h.Memory > 0 && have < int64(x.Needs.Memory)*85/100 {
		return because(WhyUnfit, x.Name, mib(int64(x.Needs.Memory)), h.Name, mib(have))
	}
	if arches := x.Needs.Arch; h.Platform != "" && len(arches) > 0 && !slices.Contains(arches, h.Platform) {
		return because(WhyUnfit, x.Name, either(arches), h.Name, string(h.Platform))
	}
	return nil
}

// either joins platforms for a sentence.
func either(ps []Platform) string {
	var words []string
	for _, p := range ps {
		words = append(words, string(p))
	}
	return strings.Join(words, " or ")
}

func mib(n int64) string { return fmt.Sprintf("%d MiB of memory", n) }

// same reports a host that has what the template would install.
func (h *Host) same(x *Template) bool {
	return x.Install && x.Installs != "" && h.Installed == x.Installs
}

// skip closes a ticket that would install what is there, unless that is what somebody asked
// for.
func (t *turn) skip(x *Template) {
	h := t.host
	if k := h.Ticket; k != nil && k.State == TicketArmed && k.Boot == 0 && k.Template == x.Name && !k.Again && h.same(x) && !t.in.Want.Head {
		k.close(stageSame, t.in.At)
		t.dirty = true
		t.ended()
	}
}
