// Package dhcpd speaks DHCPv4 on ports 67 and 4011: sockets, bytes to facts,
// and a Decision back to bytes. The codec is insomniacslk/dhcp's and its types
// do not leave this package; the server is ours.
//
// It decides nothing about a machine. It owns three things: how each kind of
// client reads a reply (v4.go), where a reply must go (dest.go), and a fixed
// number of slots for packets in flight, so that a flood cannot cost more than
// that (front.go).
package dhcpd
