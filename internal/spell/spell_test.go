package spell

import "testing"

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		written, want string
		list          []string
	}{
		{"enp1so", "enp1s0", []string{"lo", "enp1s0", "enp2s0"}},
		{"apporve", "approve", []string{"add", "approve", "deny"}},
		{"eth", "eth1", []string{"wlan0", "eth1"}},
		{"ls", "", []string{"list", "show"}},
		{"hsot", "host", []string{"host", "hook"}},
		{"zz", "", []string{"eth0"}},
		{"", "", []string{"a", "eth0"}},
		{"usb0", "", nil},
	} {
		if got := Nearest(c.written, c.list); got != c.want {
			t.Errorf("%q of %q: %q, want %q", c.written, c.list, got, c.want)
		}
	}
}
