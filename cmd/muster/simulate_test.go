// simulate_test.go: the words of muster simulate.

package main

import (
	"bytes"
	"testing"
)

// TestSimulateUsage: mistakes at the keyboard are said, before anything is sent.
func TestSimulateUsage(t *testing.T) {
	for _, args := range [][]string{
		{}, {"toaster", "-i", "lo"}, {"bios"}, {"bios", "-i", "lo", "--expect", "toast"}, {"bios", "--relay", "10.0.0.1"}, {"bios", "--relay", "x", "--server", "10.0.0.1"}, {"bios", "-i", "lo", "--mac", "01:00:00:00:00:00"},
		{"bios", "-i", "lo", "--count", "0"}, {"bios", "-i", "lo", "--count", "2", "--serial", "x"}, {"bios", "-i", "lo", "--uuid", "x"}, {"bios", "-i", "lo", "--rate", "-1"},
		{"bios", "-i", "lo", "--ipv6"}, {"uefi-x64", "--relay", "fd00::1", "--server", "10.0.0.1"}, {"uefi-x64", "--ipv6", "--relay", "10.0.0.2", "--server", "10.0.0.1"}, {"onie", "--relay", "fd00::2", "--server", "fd00::1"},
	} {
		var out, errs bytes.Buffer
		if code := execute(t.Context(), append([]string{"simulate"}, args...), func(string) string { return "" }, &out, &errs); code != exitUsage {
			t.Errorf("%q: exit %d, %s", args, code, &errs)
		}
	}
}
