// pcap.go: packets as a pcap file (draft-ietf-opsawg-pcap), which tcpdump and
// Wireshark read. Our sockets see only UDP payloads. The IP and UDP headers are
// made from the addresses that the socket reports; there is no link-layer
// header.

package capture

import (
	"bufio"
	"encoding/binary"
	"io"
)

const (
	magic   = 0xa1b23c4d // times in nanoseconds
	linkRaw = 101        // LINKTYPE_RAW: begins with IP
	ip4Len  = 20
	ip6Len  = 40
	udpLen  = 8
	udp     = 17
)

// Write writes a whole file.
func Write(w io.Writer, ps []Packet) error {
	out := bufio.NewWriter(w)
	b := binary.BigEndian.AppendUint32(nil, magic)
	b = binary.BigEndian.AppendUint16(b, 2)
	b = binary.BigEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = binary.BigEndian.AppendUint32(b, 0xffff)
	b = binary.BigEndian.AppendUint32(b, linkRaw)
	out.Write(b)
	for _, p := range ps {
		d := datagram(p)
		b = binary.BigEndian.AppendUint32(b[:0], uint32(p.At.Unix()))
		b = binary.BigEndian.AppendUint32(b, uint32(p.At.Nanosecond()))
		b = binary.BigEndian.AppendUint32(b, uint32(len(d)))
		b = binary.BigEndian.AppendUint32(b, uint32(len(d)-len(p.Data)+p.Full))
		out.Write(b)
		out.Write(d)
	}
	return out.Flush()
}

// Count returns how many packets a file written by Write has.
func Count(file []byte) (n int) {
	const global, each = 24, 16
	for b := file[min(global, len(file)):]; len(b) >= each; n++ {
		b = b[min(each+int(binary.BigEndian.Uint32(b[8:])), len(b)):]
	}
	return n
}

// datagram is a packet with its headers. The checksum of a packet that was cut
// cannot be computed, so its UDP header says that it has none (RFC 768).
func datagram(p Packet) []byte {
	full := min(udpLen+p.Full, 0xffff-ip4Len)
	header := header4
	if p.From.Addr().Is6() {
		header = header6
	}
	b, addrs := header(p, full)
	at := len(b)
	b = binary.BigEndian.AppendUint16(b, p.From.Port())
	b = binary.BigEndian.AppendUint16(b, p.To.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(full))
	b = append(b, 0, 0)
	b = append(b, p.Data...)
	if len(p.Data) == p.Full {
		sum := checksum(b[addrs:], uint32(udp)+uint32(udpLen+len(p.Data))) // the pseudo-header, then the payload
		if sum == 0 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(b[at+6:], sum)
	}
	return b
}

// header4 is the header of RFC 791, and the offset of its addresses, which are
// at its end.
func header4(p Packet, payload int) ([]byte, int) {
	const addrs = ip4Len - 2*4
	b := make([]byte, ip4Len, ip4Len+udpLen+len(p.Data))
	from, to := p.From.Addr().As4(), p.To.Addr().As4()
	b[0], b[8], b[9] = 0x45, 64, udp
	binary.BigEndian.PutUint16(b[2:], uint16(ip4Len+payload))
	copy(b[addrs:], from[:])
	copy(b[addrs+4:], to[:])
	binary.BigEndian.PutUint16(b[10:], checksum(b, 0))
	return b, addrs
}

// header6 is RFC 8200's.
func header6(p Packet, payload int) ([]byte, int) {
	const addrs = ip6Len - 2*16
	b := make([]byte, ip6Len, ip6Len+udpLen+len(p.Data))
	from, to := p.From.Addr().As16(), p.To.Addr().As16()
	b[0], b[6], b[7] = 0x60, udp, 64
	binary.BigEndian.PutUint16(b[4:], uint16(payload))
	copy(b[addrs:], from[:])
	copy(b[addrs+16:], to[:])
	return b, addrs
}

// checksum is RFC 1071's.
func checksum(b []byte, sum uint32) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
