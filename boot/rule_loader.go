// rule_loader.go: the boot part of a DHCP answer: which file comes first, and in
// which form this kind of client reads it.

package boot

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// headerFile is the longest name that fits into the BOOTP file field with its NUL.
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
	case nil: // no address from us: without a boot part a proxy sends no answer
		if info == nil {
			return t.ignore("loader.nothing")
		}
		a := Answer4{Type: Ack, Boot: info, Options: t.options()}
		if t.in.Via != Proxy4 && t.in.Step == Discover {
			a.Type = Offer
		}
		t.d.Reply = a
	case Answer4:
		r.Boot = info
		t.d.Reply = r
	case Answer6:
		if t.in.Step != Release && t.in.Step != Decline && t.in.Step != Confirm {
			r.Boot = info
			t.d.Reply = r
		}
	}
	return true, nil
}

func (t *turn) bootInfo() *BootInfo {
	if t.barred != nil {
		t.why(WhyBarred, t.barred)
		return nil
	}
	info := &BootInfo{Class: t.class, VendorClass: "PXEClient", Server: t.net.Server}
	tok := t.bootToken(BootToken, 0, 0)
	own := t.ownLoaders()
	if own != nil {
		// The version says from which template shim, GRUB and files come. It is no
		// boot's path: the first script begins one.
		tok = t.bootToken(BootToken, 0, own.ID)
	}
	path := bootPrefix + tok + "/"

	// An iPXE never gets iPXE again, which would be an endless loop. The exception: a
	// build in the ROM that cannot speak HTTP gets it once.
	if t.class == IPXE && !t.in.Firmware.NoHTTP {
		info.File = t.bootURL(false, path+scriptFile)
		t.why("loader.script")
		return fit(t, info)
	}
	if t.plat == PiPlatform && t.six() {
		info.Class, info.File = PXE, "tftp://["+t.net.Server.String()+"]/"
		t.why("loader.pi")
		return info
	}
	if t.plat == PiPlatform {
		// Its firmware reads no file name: it asks for files by serial number over TFTP.
		info.Class = PXE
		t.why("loader.pi")
		return info
	}
	if t.plat.UBoot() && !t.six() {
		// It asks for this name whatever it is told, and takes the folder of what it is
		// told for the folder of all that its PXE command asks for.
		info.Class, info.File = PXE, ubootScript
		t.why("loader.uboot", info.File)
		return info
	}
	loader := t.firstLoader(own)
	if it, ok := t.net.Menu.Item(t.in.Want.Item); ok && t.class == PXE && it.Loader != "default" {
		if it.Loader == "" {
			t.why("loader.menu-disk", it.Text)
			return nil
		}
		loader, info.Item = it.Loader, t.in.Want.Item
		t.why("loader.menu-line", it.Text)
	} else if ok {
		info.Item = t.in.Want.Item
	}
	if loader == "" {
		// One cause for all unknown numbers: a client can send any number.
		what, cause := string(t.plat), string(t.plat)
		if what == "" {
			what, cause = "architecture "+t.in.Firmware.Arch.String(), "unknown"
		}
		t.why(WhyNoLoader, what)
		mend := "run \"muster doctor\" to see where one is looked for"
		if plain := t.p.Loaders[t.plat]; t.kind.Simple && plain != "" {
			mend = fmt.Sprintf("%s hangs in U-Boot's UEFI; put %s or a signed GRUB among the loaders", plain, loaderNames[t.plat][0])
		} else if !slices.Contains(LoaderPlatforms(), t.plat) {
			// Some firmware has a number of its own, or one of a list that was corrected later.
			mend = fmt.Sprintf("no loader is made for that; if it is another kind of machine, a [[class]] with arch = [%d] and platform = \"%s\" says so", uint16(t.in.Firmware.Arch), X64UEFI)
		}
		t.notice(cause, LoaderMissing, "%s asked for a loader and there is none for %s: %s", t.id.MAC, what, mend)
		return nil
	}
	switch t.class {
	case HTTPClient:
		info.VendorClass = "HTTPClient"
		if own != nil && own.Direct != "" {
			loader = refPath(own.Direct)
		}
		info.File = t.bootURL((t.net.HTTPS || t.kind.HTTPS) && t.p.HTTPSPort != 0, path+loader)
	default:
		info.Class = PXE
		info.File = path + loader
		if t.kind.Echo {
			info.VendorClass = CleanText(t.in.Firmware.VendorClass, 64)
		}
	}
	if t.six() {
		if info.Class == PXE {
			info.File = "tftp://[" + t.net.Server.String() + "]/" + info.File
		}
		t.why("loader.file", loader)
		return info
	}
	if info.Class == PXE && t.net.Menu != nil && t.in.Via != Proxy4 {
		// Never to iPXE: it asks for its menu again and again.
		info.Menu = t.net.Menu
		t.why("loader.menu", len(info.Menu.Items))
		return fit(t, info)
	}
	if info.Class == PXE && t.net.BINL && t.in.Via != Proxy4 {
		info.BINL = true
		t.why(WhyPort4011, loader)
		return fit(t, info)
	}
	t.why("loader.file", loader)
	return fit(t, info)
}

// bootURL is the URL of a path here. A name gives way to our address if the URL is then
// too long for the BOOTP header.
func (t *turn) bootURL(secure bool, path string) string {
	host := t.urlHost(secure)
	u := t.p.origin(secure, host) + "/" + path
	if own := hostLiteral(t.net.Server); len(u) > headerFile && !t.six() && host != own {
		t.why("loader.address", host, len(u), headerFile)
		return t.p.origin(secure, own) + "/" + path
	}
	return u
}

// urlHost is the host of this machine's URLs: the name of ours that its name servers
// know, else our address.
func (t *turn) urlHost(secure bool) string {
	name := t.net.HTTPHost
	if secure {
		name = t.net.HTTPSHost
	}
	if name == "" || t.otherResolvers() {
		return hostLiteral(t.net.Server)
	}
	return name
}

// otherResolvers reports a machine that is given name servers other than the network's.
func (t *turn) otherResolvers() bool {
	sets := func(l []Option) bool {
		return slices.ContainsFunc(l, func(o Option) bool { return o.Code == optDNSServers })
	}
	if !t.net.Server.Is4() {
		return false
	}
	l := t.lends()
	return sets(l.site) || sets(l.network) || sets(l.agreed()) || t.kind != nil && sets(t.kind.Options) || t.template != nil && sets(t.template.Options) || t.host != nil && sets(t.host.Options)
}

func fit(t *turn, info *BootInfo) *BootInfo {
	if len(info.File) > headerFile && !t.six() {
		t.why("loader.too-long", len(info.File), headerFile)
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
		if t.admitted() {
			o.Name = t.host.Name
		}
	}
	o.Extra = t.extra()
	if t.logs() && !slices.ContainsFunc(o.Extra, func(x Option) bool { return x.Code == optLogServers }) {
		o.Log = t.net.Server
	}
	return o
}

// syslogPort is the port that option 7 implies: the option has no room for a port.
const (
	syslogPort    = 514
	optLogServers = 7
	optDNSServers = 6
)

// logs reports a boot client that wants to know where its log may go (RFC 2132
// 3.9). Where another server gives the addresses, that server must tell it.
func (t *turn) logs() bool {
	return t.p.LogPort == syslogPort && t.class != Plain && t.net.Addresses() && bytes.IndexByte(t.in.Want.Options, optLogServers) >= 0
}

// extra are the options that operators add. Those of the site and of the whole network go
// only to clients that ask for them (option 55), because a packet has little room. Those
// for this client are always sent.
func (t *turn) extra() []Option {
	var general, class, template, host []Option
	l := t.lends()
	all := t.net.Options
	if len(l.site)+len(l.network) > 0 {
		all = mergeOptions(l.site, all, l.network)
	}
	for _, o := range all {
		if t.in.Want.Options == nil || bytes.IndexByte(t.in.Want.Options, o.Code) >= 0 {
			general = append(general, o)
		}
	}
	tags := l.agreed()
	if t.kind != nil {
		class = t.kind.Options
	}
	if t.template != nil {
		template = t.template.Options
	}
	if t.host != nil {
		host = t.host.Options
	}
	t.tellDiffer(l)
	if len(general)+len(class)+len(template)+len(tags)+len(host) == 0 {
		return nil
	}
	out := mergeOptions(general, class, template, tags, host)
	if !t.net.Addresses() {
		// A proxy sends only options about booting.
		out = slices.DeleteFunc(out, func(o Option) bool { return !bootOption(o.Code) })
	}
	if len(out) > 0 {
		names := make([]string, len(out))
		for i, o := range out {
			names[i] = o.Name()
		}
		t.why("loader.options", strings.Join(names, ", "))
	}
	return out
}

// bootOption reports a code that is about booting rather than the network.
func bootOption(code uint8) bool {
	switch code {
	case 17, 43, 60, 66, 67, 114, 125, 150, 175, 208, 209, 210, 211:
		return true
	}
	return false
}

// ownLoaders is the template, if it replaces the common loader: by its own shim and
// GRUB, or by a file that UEFI HTTP boot starts itself. Only machines that may boot
// the template get these.
func (t *turn) ownLoaders() *Template {
	x := t.template
	if t.host == nil || t.host.State != Approved || t.clash != nil || t.doubt || x == nil || x.Install && t.mayInstall(x) != nil {
		return nil
	}
	if _, ok := templatePair(t.plat); t.class == PXE && x.Shim != "" && ok || t.class == HTTPClient && x.Direct != "" && !x.Install {
		return x
	}
	return nil
}

// triedLong is how long an unsigned loader may take from its first byte to its
// first script before it counts as refused by the firmware.
const triedLong = 30 * time.Second

// firstLoader is the first file of a platform. DHCP does not tell whether Secure Boot
// is on, so UEFI gets the signed pair where there is one: GRUB then tells what the
// firmware allows. A machine that was seen without Secure Boot gets iPXE, which is
// faster. If that iPXE asks for nothing, the machine gets the signed pair again.
func (t *turn) firstLoader(own *Template) string {
	pair, signed := t.p.Signed[t.plat]
	if plain := t.p.Loaders[t.plat]; t.kind.Simple && !strings.HasPrefix(plain, "snponly") {
		if signed && !strings.Contains(pair.Next, "-sb/") {
			t.why("loader.simple", pair.Next)
			return pair.Next // its shim wants more of UEFI's PXE than there is
		}
		return ""
	}
	if t.class == HTTPClient && signed && !strings.Contains(pair.Next, "-sb/") {
		signed = false // the distribution's GRUB, when started by HTTP, sends no requests at all
	}
	if own != nil && t.class == PXE {
		p, _ := templatePair(t.plat)
		t.why("loader.signed-of", own.Name)
		return p.Shim
	}
	plain := t.p.Loaders[t.plat]
	if t.doubt || t.clash != nil || t.maybe != nil {
		return plain // GRUB says neither UUID nor serial number: only iPXE's script can tell who this is
	}
	if t.net.Loader == LoaderShim && signed {
		return pair.Shim
	}
	if !signed || t.net.Loader == LoaderIPXE {
		return plain
	}
	if h := t.host; h != nil && h.Secure == SecureOff && plain != "" {
		if h.Tried.IsZero() || Age(t.in.At, h.Tried) < triedLong {
			return plain
		}
		t.why("loader.lost", h.Name, plain, h.Tried.Format(time.TimeOnly))
		if t.writes() {
			h.Secure, h.Tried, t.dirty = "", time.Time{}, true
		}
	}
	return pair.Shim
}
