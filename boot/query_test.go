package boot

import "testing"

// TestQueryEncoding: iPXE encodes what it puts into a URL, GRUB encodes nothing in a
// name of TFTP.
func TestQueryEncoding(t *testing.T) {
	for via, want := range map[Via]string{HTTP: "A+B", TFTP: "A%2BB"} {
		in := Sighting{Via: via}
		in.ReadQuery("serial=A%2BB")
		if in.ID.Serial != want {
			t.Errorf("%s: %q, want %q", via, in.ID.Serial, want)
		}
	}
}
