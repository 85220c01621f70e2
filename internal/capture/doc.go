// Package capture keeps the last packets of each machine, as our own sockets read
// and sent them, and shows them as a pcap file.
//
// It owns a ring that is bounded whatever comes, and the made-up headers in front
// of each packet. It opens no socket: what is not ours to read is never in it.
package capture
