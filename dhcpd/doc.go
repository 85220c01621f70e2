// Package dhcpd speaks DHCPv4 on ports 67 and 4011: sockets, bytes to facts,
// and a Decision back to bytes. The codec is insomniacslk/dhcp's and its types
// do not leave this package; the server is ours.
//
// It decides nothing about a machine. What it owns is how each kind of client
// reads a reply (v4.go), where a reply must go (dest.go), and that no flood of
// packets costs more than a fixed number of slots (server.go).
package dhcpd
