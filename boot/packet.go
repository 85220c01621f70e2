// packet.go: packets as our sockets received and sent them, for a person who
// examines a boot that stopped.

package boot

import "net/netip"

// Packet is one UDP datagram of a machine.
type Packet struct {
	MAC      MAC
	From, To netip.AddrPort
	Data     []byte // the caller's: it is copied
	Full     int    // length of the datagram, where Data is only its beginning; 0 is len(Data)
}

// Recorder keeps packets. It is called for each and must be quick.
type Recorder interface{ Packet(Packet) }
