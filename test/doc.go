// Package test tests Muster as a whole: the shipped binary, in network
// namespaces, with clients and servers that others wrote and with real firmware
// in QEMU. It uses the program's commands, as a person would. It imports no
// part of the server, so that it cannot share the server's mistakes.
//
// Every test needs root; internal/nettest/install.sh test installs the rest. If
// something is missing the test is skipped and names it; with CI=true it fails.
// With -short no test runs. To run a single one:
//
//	sudo go test -run 'TestBoot/bios' -v ./test
//
// MUSTER_LONG=1 adds the longest: make long, make kills.
package test
