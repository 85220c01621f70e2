// Package script runs what loaders read: iPXE scripts and GRUB configurations,
// as far as boot servers use them. It draws no screen, and nobody presses a
// key.
//
// For each language, reading (ipxe_parse.go, grub_parse.go) and running
// (ipxe.go, grub.go) are separate. The interpreters have no socket: they ask a
// World or a Firmware, and end in a Plan to boot or in a Stop (outcome.go). A
// server may be hostile, so steps, depth, bytes and waits are bounded.
package script
