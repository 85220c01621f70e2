// Package tftpd is a read-only TFTP server: RFC 1350 with options (2347),
// blksize (2348), tsize and timeout (2349) and windowsize (7440).
//
// It owns the protocol and its limits. What a name means is boot's to decide
// and boot.Content's to open; this package opens no file by name.
package tftpd
