//go:build !linux

package simclient

// This file takes the place of the wire on systems other than Linux. There a
// machine has no wire, and says so.

import (
	"errors"
	"net"
	"net/netip"
)

var errElsewhere = errors.New("machines are simulated on Linux only: they send frames of their own; run this there, or in a virtual machine on the network to prove")

func openLink(*net.Interface) (wire, error)   { return nil, errElsewhere }
func openLink6(*net.Interface) (wire6, error) { return nil, errElsewhere }
func openAgent(Relay) (wire, error)           { return nil, errElsewhere }
func openAgent6(Relay) (wire6, error)         { return nil, errElsewhere }

type addresses struct{ relay netip.Addr }

func newAddresses(*net.Interface, bool, bool) (*addresses, error) { return nil, errElsewhere }

func (*addresses) source(*lease, bool) (netip.Addr, func(), error) {
	return netip.Addr{}, nil, errElsewhere
}
func (*addresses) reach(*lease, netip.Addr, netip.Addr) error { return errElsewhere }
func (*addresses) close() error                               { return nil }

func dialFrom(uintptr, string) error { return errElsewhere }
