package simclient

// This file is how firmware chooses among offers: which one gives the address,
// which one the boot file, and whether port 4011 is asked before the file is
// read.

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// choice is the result of the firmware's choice among all offers.
type choice struct {
	addr, boot *reply // boot may be addr itself, a proxy's offer, or nil
	ask4011    bool
	why        string // what is wrong with it, for people
}

// pxe10 reports whether option 43 holds one of the discovery sub-options. Such
// an offer itself says how to go on (edk2).
func (r *reply) pxe10() bool {
	for code := range tlvs(r.vendor) {
		if code >= 6 && code <= 10 {
			return true
		}
	}
	return false
}

// name is the boot file as most firmware reads it: option 67 before the header.
func (r *reply) name() string {
	if r.opt67 != "" {
		return r.opt67
	}
	return r.file
}

// greets reports that option 60 is the word that kind k waits for.
func (k *Kind) greets(class string) bool {
	word, _, _ := strings.Cut(k.class, ":")
	return strings.HasPrefix(class, word) || k.way != byHTTP && strings.HasPrefix(class, "PXEClient")
}

// enough reports whether the machine stops waiting for offers.
func (k *Kind) enough(offers []*reply) bool {
	last := offers[len(offers)-1]
	switch {
	case k.collect == 0:
		return last.addr.IsValid()
	case k.way == asIPXE:
		// iPXE goes on at once when one offer has everything.
		return last.addr.IsValid() && (last.noProxy || strings.HasPrefix(last.class, "PXEClient") && last.next.IsValid() && (last.file != "" || last.opt67 != ""))
	}
	return false
}

// choose is the firmware's choice among the offers, in the order they came.
func (k *Kind) choose(offers []*reply) choice {
	first := func(ok func(*reply) bool) *reply {
		for _, o := range offers {
			if ok(o) {
				return o
			}
		}
		return nil
	}
	full := func(o *reply) bool { return o.addr.IsValid() }
	ours := func(o *reply) bool { return k.greets(o.class) }
	addr := first(full)
	if addr == nil {
		return choice{why: "only boot servers without addresses (proxies) answered: no DHCP server gave an address"}
	}
	pick := func(ok func(*reply) bool, ask bool) *choice {
		if o := first(func(o *reply) bool { return full(o) && ok(o) }); o != nil {
			return &choice{addr: o, boot: o, ask4011: ask}
		}
		if o := first(func(o *reply) bool { return !full(o) && ok(o) }); o != nil {
			return &choice{addr: addr, boot: o, ask4011: ask}
		}
		return nil
	}
	switch k.way {
	case byHTTP:
		if c := pick(func(o *reply) bool { return ours(o) && o.name() != "" }, false); c != nil {
			return *c
		}
		c := choice{addr: addr, why: "no answer has option 60 HTTPClient and a URL in option 67: UEFI HTTP boot ignores all others"}
		if o := first(func(o *reply) bool { return o.name() != "" }); o != nil {
			c.why = fmt.Sprintf("%s names %s, but without option 60 HTTPClient, and UEFI HTTP boot ignores that", o.who(), shown(o.name()))
		}
		return c
	case byTFTP:
		if k.collect == 0 { // U-Boot looks at the header alone
			return choice{addr: addr, boot: addr}
		}
		// A full offer goes before a proxy's, and one that needs no port 4011
		// before one that does (edk2's order; PXE 2.1 leaves it open).
		if c := pick(func(o *reply) bool { return ours(o) && o.pxe10() }, false); c != nil {
			return *c
		}
		if c := pick(func(o *reply) bool { return ours(o) }, true); c != nil {
			return *c
		}
		if o := first(func(o *reply) bool { return full(o) && o.name() != "" }); o != nil {
			return choice{addr: o, boot: o}
		}
	case asIPXE:
		if o := first(func(o *reply) bool { return full(o) && o.ipxeName() != "" }); o != nil {
			return choice{addr: o, boot: o}
		}
		proxy := func(o *reply) bool { return !full(o) && strings.HasPrefix(o.class, "PXEClient") }
		if o := first(func(o *reply) bool { return proxy(o) && o.ipxeName() != "" }); o != nil {
			return choice{addr: addr, boot: o}
		}
		if o := first(proxy); o != nil {
			return choice{addr: addr, boot: o, ask4011: true}
		}
	case asPi:
		words := func(o *reply) bool { return strings.Contains(string(o.vendor), "Raspberry Pi Boot") }
		if c := pick(words, false); c != nil {
			return *c
		}
		if k.pi.rom {
			return choice{addr: addr, why: "no answer has \"Raspberry Pi Boot\" in option 43: the ROM of a Pi 3 ignores all others"}
		}
		if c := pick(func(o *reply) bool { return o.opt66 != "" || o.next.IsValid() }, false); c != nil {
			return *c
		}
	case asONIE, asUBoot:
		return choice{addr: addr, boot: addr}
	}
	return choice{addr: addr, why: "an address, but nothing to boot: no answer names a boot file"}
}

// ipxeName is the boot file as iPXE reads it: the header before option 67.
func (r *reply) ipxeName() string {
	if r.file != "" {
		return r.file
	}
	return r.opt67
}

// who is the server, by the name that it gives itself, or by where the reply
// came from.
func (r *reply) who() string {
	switch {
	case r.server.IsValid():
		return r.server.String()
	case r.from.IsValid():
		return r.from.Addr().String()
	}
	return "a server without a name"
}

// text is an offer in a few words.
func (r *reply) text() string {
	t := r.who() + " offers "
	if r.addr.IsValid() {
		t += r.addr.String()
	} else {
		t += "no address (proxy)"
	}
	if n := r.name(); n != "" {
		t += ", " + shown(short(n))
	}
	return t
}

// tftpServer is the address that edk2 and PXE ROMs load from: the list of boot
// servers if the client must use it, else siaddr, else the server itself.
// Option 66 is ignored.
func (r *reply) tftpServer() netip.Addr {
	ctrl := byte(0)
	var list netip.Addr
	for code, v := range tlvs(r.vendor) {
		switch {
		case code == 6 && len(v) == 1:
			ctrl = v[0]
		case code == 8 && len(v) >= 7:
			list = addrOf(v[3:7])
		}
	}
	if ctrl&4 != 0 && list.IsValid() && ctrl&8 == 0 {
		return list
	}
	if r.next.IsValid() {
		return r.next
	}
	return r.server
}

// menu is the first entry of a PXE menu, if the machine looks at the menu. With
// control bit 3 and a file it does not (PXE 2.1).
func (r *reply) menu() (typ uint16, text string, ok bool) {
	for code, v := range tlvs(r.vendor) {
		switch {
		case code == 6 && len(v) == 1 && v[0]&8 != 0 && r.name() != "":
			return 0, "", false
		case code == 9 && len(v) >= 3 && len(v) >= 3+int(v[2]):
			typ, text, ok = binary.BigEndian.Uint16(v), string(v[3:3+int(v[2])]), true
		}
	}
	return typ, text, ok
}

// menuServer is the server for one type of the menu.
func (r *reply) menuServer(typ uint16) netip.Addr {
	for code, v := range tlvs(r.vendor) {
		for code == 8 && len(v) >= 3 {
			n := 3 + 4*int(v[2])
			if len(v) < n {
				break
			}
			if binary.BigEndian.Uint16(v) == typ && n >= 7 {
				return addrOf(v[3:7])
			}
			v = v[n:]
		}
	}
	return r.server
}
