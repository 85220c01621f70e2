// Package test proves Muster as a whole: the binary as it ships, in network
// namespaces, with clients and servers that others wrote and with real firmware
// in QEMU. It asks the program by its commands, as a person would, and imports no
// part of the server, so that it cannot share the server's mistakes.
//
// Every test needs root; internal/nettest/install.sh test brings the rest. What
// is missing skips the test by name, and fails it where CI=true. With -short no
// test runs. One alone:
//
//	sudo go test -run 'TestBoot/bios' -v ./test
//
// MUSTER_LONG=1 adds the longest: make long, make kills.
package test
