// strip_test.go: a boot on one line.

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

func TestStrip(t *testing.T) {
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.Local)
	var tl []client.Entry
	add := func(after time.Duration, r boot.Request) {
		at = at.Add(after)
		r.At = at
		tl = append(tl, client.Entry{Request: &r})
	}
	draw := func(stage string) string {
		var b strings.Builder
		printer{out: &b}.strip(tl, stage)
		return strings.TrimSpace(b.String())
	}
	if got := draw(""); got != "" {
		t.Errorf("a machine that never asked: %q", got)
	}
	add(0, boot.Request{Via: boot.DHCP4, Step: boot.Discover, Class: boot.PXE, Reply: "offer"})
	if got := draw(""); got != "asked 12:00:00 > address - > loader - > iPXE - > script - > files - > report -" {
		t.Error(got)
	}
	add(4*time.Second, boot.Request{Via: boot.DHCP4, Step: boot.Selecting, Class: boot.PXE, Reply: "ack"})
	add(time.Second, boot.Request{Via: boot.TFTP, Step: boot.Fetch, Reply: "file", Bytes: 1 << 20})
	add(time.Second, boot.Request{Via: boot.HTTP, Step: boot.Fetch, Reply: "script", Got: "ask script"})
	add(time.Second, boot.Request{Via: boot.HTTP, Step: boot.Fetch, Reply: "script", Got: "boot.ipxe", Boot: 1})
	add(time.Second, boot.Request{Via: boot.HTTP, Step: boot.Fetch, Reply: "file", Boot: 1, Bytes: 10 << 20})
	add(time.Second, boot.Request{Via: boot.HTTP, Step: boot.Fetch, Reply: "file", Boot: 1, Bytes: 20 << 20})
	add(20*time.Second, boot.Request{Via: boot.HTTP, Step: boot.Fetch, Reply: "done", Boot: 1})
	if got := draw("installed"); got != "asked 12:00:00 > address +4s > loader +5s "+size(1<<20)+" > script +7s > files +8s "+size(30<<20)+" > installed +29s" {
		t.Error(got)
	}
	// It is on again.
	add(time.Hour, boot.Request{Via: boot.DHCP4, Step: boot.Discover, Class: boot.PXE, Reply: "offer"})
	if got := draw(""); !strings.HasPrefix(got, "asked 13:00:29 > address -") {
		t.Error(got)
	}
}
