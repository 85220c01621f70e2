// Package radv speaks router advertisements (RFC 4861, 4191, 8106). It tells a
// link which prefixes it has and whether addresses come by DHCPv6, and it hears
// what other routers tell. The codec is mdlayher/ndp's and its types do not
// leave this package; sockets and timers are ours.
//
// It decides nothing about a machine and acts on no advertisement of another
// router; it only reports it. It owns the bytes of an advertisement
// (message.go), when one leaves and to whom (schedule.go), and interfaces that
// come and go (server.go).
package radv
