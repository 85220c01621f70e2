// rule_loader.go: the boot part of a DHCP answer: which first file, and how
// this kind of client reads it.

package boot

// headerFile is what fits into the BOOTP file field with its NUL.
const headerFile = 127

func ruleLoader(t *turn) (bool, error) {
	if !t.dhcp() {
		return false, nil
	}
	var info *BootInfo
	if t.class != Plain {
		info = t.bootInfo()
	}
	switch r := t.d.Reply.(type) {
	case nil: // no address from us: a proxy's answer is its boot part or nothing
		if info == nil {
			return t.ignore("nothing to boot for it")
		}
		if t.in.Via == Proxy4 || t.in.Step != Discover {
			t.d.Reply = Ack{Boot: info, Options: t.options()}
		} else {
			t.d.Reply = Offer{Boot: info, Options: t.options()}
		}
	case Offer:
		r.Boot = info
		t.d.Reply = r
	case Ack:
		r.Boot = info
		t.d.Reply = r
	}
	return true, nil
}

func (t *turn) bootInfo() *BootInfo {
	if t.barred != "" {
		t.why("no boot answer: %s", t.barred)
		return nil
	}
	info := &BootInfo{Class: t.class, VendorClass: "PXEClient", Server: t.net.Server}
	tok := t.bootToken(BootToken, 0, 0)
	url := t.p.baseURL(t.net.Server) + "/boot/" + tok + "/"

	// An iPXE never gets iPXE again (that is the loop of every forum), except
	// once where the build in the ROM cannot speak HTTP.
	if t.class == IPXE && !t.in.Firmware.NoHTTP {
		info.File = url + scriptFile
		t.why("script for iPXE")
		return fit(t, info)
	}
	loader := t.p.Loaders[t.plat]
	if loader == "" {
		// One cause for all that is unknown: the number is the client's to choose.
		what, cause := string(t.plat), string(t.plat)
		if what == "" {
			what, cause = "architecture "+t.in.Firmware.Arch.String(), "unknown"
		}
		t.why("no loader for %s", what)
		t.notice(cause, LoaderMissing, "%s asked for a loader and there is none for %s: run \"muster doctor\" to see where one is looked for", t.id.MAC, what)
		return nil
	}
	switch t.class {
	case HTTPClient:
		info.VendorClass = "HTTPClient"
		info.File = url + loader
	default:
		info.Class = PXE
		info.File = "boot/" + tok + "/" + loader
		// BlueField takes its own word back, not the standard one.
		if v := t.in.Firmware.VendorClass; len(v) >= 9 && v[:9] != "PXEClient" && Classify(Firmware{Arch: ArchNone, VendorClass: v}) == PXE {
			info.VendorClass = cleanText(v, 64)
		}
	}
	if info.Class == PXE && t.net.BINL && t.in.Via != Proxy4 {
		info.BINL = true
		t.why("%s, by port 4011", loader)
		return fit(t, info)
	}
	t.why("%s", loader)
	return fit(t, info)
}

func fit(t *turn, info *BootInfo) *BootInfo {
	if len(info.File) > headerFile {
		t.why("path of %d bytes is longer than the %d that DHCP holds", len(info.File), headerFile)
		return nil
	}
	return info
}

func (t *turn) options() Options {
	o := Options{Server: t.net.Server, Source: t.net.Server}
	if id := t.in.Link.ServerID; id.IsValid() {
		o.Server = id
	}
	if t.net.Addresses() {
		o.Subnet = t.net.Subnet
		o.Routers = t.net.Routers
		o.DNS = t.net.DNS
		o.Domain = t.net.Domain
		if t.known() {
			o.Name = t.host.Name
		}
	}
	return o
}
