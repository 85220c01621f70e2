// pcap.go: packets as a pcap file (draft-ietf-opsawg-pcap), which tcpdump and
// Wireshark read. Our sockets see no header below UDP's, so IP's and UDP's are
// made of the addresses they told, and there is none below.

package capture

import (
	"bufio"
	"encoding/binary"
	"io"
)

const (
	magic   = 0xa1b23c4d // times in nanoseconds
	linkRaw = 101        // LINKTYPE_RAW: begins with IP
	ipLen   = 20
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

// Count says how many packets a file of ours has.
func Count(file []byte) (n int) {
	const global, each = 24, 16
	for b := file[min(global, len(file)):]; len(b) >= each; n++ {
		b = b[min(each+int(binary.BigEndian.Uint32(b[8:])), len(b)):]
	}
	return n
}

// datagram is a packet with its headers. What is not there cannot be summed: a
// packet that was cut says that it has no UDP checksum (RFC 768).
func datagram(p Packet) []byte {
	b := make([]byte, ipLen+udpLen, ipLen+udpLen+len(p.Data))
	from, to := p.From.Addr().As4(), p.To.Addr().As4()
	full := min(ipLen+udpLen+p.Full, 0xffff)
	b[0], b[8], b[9] = 0x45, 64, udp
	binary.BigEndian.PutUint16(b[2:], uint16(full))
	copy(b[12:], from[:])
	copy(b[16:], to[:])
	binary.BigEndian.PutUint16(b[10:], checksum(b[:ipLen], 0))
	u := b[ipLen:]
	binary.BigEndian.PutUint16(u[0:], p.From.Port())
	binary.BigEndian.PutUint16(u[2:], p.To.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(full-ipLen))
	b = append(b, p.Data...)
	if len(p.Data) == p.Full {
		sum := checksum(b[12:], uint32(udp)+uint32(udpLen+len(p.Data)))
		if sum == 0 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(b[ipLen+6:], sum)
	}
	return b
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
