// Package script runs what loaders read: scripts of iPXE and configurations of
// GRUB, as far as boot servers use them. What is drawn on a screen is not, and
// nobody is there to press a key.
//
// Of each, reading (ipxe_parse.go, grub_parse.go) and running (ipxe.go, grub.go)
// are apart. What runs has no socket: it asks a World or a Firmware, and ends in a
// Plan to boot or in a Stop (outcome.go). A server may be hostile: steps, depth,
// bytes and waits are bounded.
package script
