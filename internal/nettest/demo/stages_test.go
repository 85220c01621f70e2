// stages_test.go: the steps as muster's own JSON lines tell them.

package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func entries(t *testing.T, text string) (out []entry) {
	t.Helper()
	for line := range strings.Lines(text) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		out = append(out, e)
	}
	return out
}

const firstHalf = `{"request":{"via":"dhcp4","step":"discover","class":"pxe","reply":"offer","got":"10.77.0.100"}}
{"event":{"kind":"host.enrolled","text":"enrolled"}}
{"request":{"via":"tftp","step":"fetch","reply":"file","got":"snponly.efi","outcome":"probe"}}
{"request":{"via":"tftp","step":"fetch","reply":"file","got":"snponly.efi","outcome":"complete"}}
{"request":{"via":"dhcp4","step":"discover","class":"ipxe","reply":"offer","got":"10.77.0.100"}}
`

func TestWholeBoot(t *testing.T) {
	s, reached := newStages(), 0
	all := len(s.list)
	for _, e := range entries(t, firstHalf+`{"event":{"kind":"boot.script"}}
{"request":{"via":"http","step":"fetch","reply":"file","got":"vmlinuz","outcome":"complete"}}
{"event":{"kind":"boot.report"}}
`) {
		texts, trouble := s.see(e)
		if reached += len(texts); trouble {
			t.Errorf("trouble at %+v: %s", e, s.why())
		}
	}
	if s.next() != nil || reached != all {
		t.Errorf("reached %d of %d stages", reached, all)
	}
}

func TestWhy(t *testing.T) {
	for _, c := range []struct{ name, text, stopped, why string }{
		{"silence", "", "asks for an address", "has not come to its network boot"},
		{"ignored", `{"request":{"via":"dhcp4","step":"discover","reply":"ignore","why":"network: off"}}`, "offers an address", "network: off"},
		{"no loader", `{"request":{"via":"dhcp4","step":"discover","class":"pxe","reply":"offer"}}
{"event":{"kind":"loader.missing","text":"none for x64-uefi"}}`, "takes the address", "none for x64-uefi"},
		{"broken transfer", firstHalf + `{"event":{"kind":"boot.script"}}
{"request":{"via":"http","step":"fetch","reply":"file","got":"vmlinuz","outcome":"short: gone"}}`, "loads the kernel", "short: gone"},
		{"no report", firstHalf + `{"request":{"via":"http","step":"fetch","reply":"file","got":"vmlinuz","outcome":"complete"}}`, "Linux starts", "did not report"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStages()
			for _, e := range entries(t, c.text) {
				s.see(e)
			}
			if !strings.Contains(s.next().name, c.stopped) || !strings.Contains(s.why(), c.why) {
				t.Errorf("stopped at %q because %q; want %q because %q", s.next().name, s.why(), c.stopped, c.why)
			}
		})
	}
}

func TestReadable(t *testing.T) {
	got := strings.Join(readable("\x1b[2J\x1b[01;01H\x1b[=3hBdsDxe: loading\r\n\r\n>>Start PXE over IPv4.\r\n\x1b[0m  \x1b[0m>>Start PXE over IPv4.\r\n"), "|")
	if want := "BdsDxe: loading|>>Start PXE over IPv4."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
