// Package capture keeps the last packets of each machine, as our own sockets read
// and sent them, and shows them as a pcap file.
//
// It owns a ring of bounded size, and the made-up headers in front of each
// packet. It opens no socket, so it never has a packet that was not sent to us
// or by us.
package capture
