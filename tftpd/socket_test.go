package tftpd

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

// TestControlMessage: what the kernel reads of a control message, whose length has the
// size of a pointer. Run it for GOARCH=386 or arm too.
func TestControlMessage(t *testing.T) {
	b := make([]byte, 64)
	n := putControl(b, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, []byte("12 bytes and"))
	got, err := unix.ParseSocketControlMessage(b[:n])
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Header.Level != unix.IPPROTO_IPV6 || got[0].Header.Type != unix.IPV6_PKTINFO || !bytes.HasPrefix(got[0].Data, []byte("12 bytes and")) {
		t.Errorf("%+v", got)
	}
}
