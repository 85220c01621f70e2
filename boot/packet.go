// packet.go: packets as our own sockets read and sent them, for whoever looks
// into a boot that stopped.

package boot

import "net/netip"

// Packet is one UDP datagram of a machine.
type Packet struct {
	MAC      MAC
	From, To netip.AddrPort
	Data     []byte // the caller's: it is copied
	Full     int    // bytes there were, where Data is only how it begins; 0 is len(Data)
}

// Recorder keeps packets. It is called for each and must be quick.
type Recorder interface{ Packet(Packet) }
