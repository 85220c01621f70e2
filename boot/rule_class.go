// rule_class.go: what kind of client asks.

package boot

func ruleClass(t *turn) (bool, error) {
	if !t.dhcp() {
		t.plat = t.in.Firmware.PlatformHint
		if t.plat == "" {
			t.plat = loaderPlatform(t.file)
		}
		return false, nil
	}
	t.class = Classify(t.in.Firmware)
	if t.class == Plain {
		t.why("not a boot client")
		if t.net.Mode == Proxy {
			// The address is the other server's affair, and so is the client.
			return t.ignore("proxy answers boot clients only")
		}
		return false, nil
	}
	t.plat = t.in.Firmware.Platform()
	if t.plat == "" {
		t.why("%s, architecture %s", t.class, t.in.Firmware.Arch)
	} else {
		t.why("%s, %s", t.class, t.plat)
	}
	return false, nil
}
