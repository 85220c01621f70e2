// Package radv speaks router advertisements (RFC 4861, 4191, 8106): it says on a
// link which prefixes are there, whether addresses come by DHCPv6, and hears what
// other routers say. The codec is mdlayher/ndp's and its types do not leave this
// package; sockets and timers are ours.
//
// It decides nothing about a machine and acts on no advertisement: what others
// say is handed on. What it owns is the bytes of an advertisement (message.go),
// when one leaves and to whom (schedule.go), and that an interface may come and
// go (server.go).
package radv
