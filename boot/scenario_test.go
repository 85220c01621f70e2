// scenario_test.go: golden decisions. Each file in testdata/decide is a
// conversation: what the world is, then lines that begin with ">" (somebody
// asks) and, beneath each, lines that begin with "<" (what leaves, why, and
// what was written). MUSTER_GOLDEN=write rewrites the "<" lines.

package boot_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot/engine"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store/mem"
	"github.com/musterboot/muster/store/storetest"
)

var began = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// world is one conversation being played.
type world struct {
	ctx    context.Context
	store  boot.Store
	engine *engine.Engine
	policy boot.Policy
	now    time.Time
	seen   uint64 // last event shown
	token  string // the last one that left
	report string
	saved  map[string]string
	then   string // how bytes end that no line says more of
	mute   bool   // answers are not shown, findings are
}

// plain leaves a store as it is.
func plain(s boot.Store) boot.Store { return s }

// newWorld is empty; its store is what on makes of one in memory.
func newWorld(on func(boot.Store) boot.Store) (*world, func(), error) {
	m, err := mem.Open()
	if err != nil {
		return nil, nil, err
	}
	s := on(m)
	w := &world{ctx: context.Background(), store: s, now: began, saved: map[string]string{}}
	w.engine = engine.New(s, engine.NewRequestLog(nil), slog.New(slog.NewTextHandler(io.Discard, nil)))
	w.policy = boot.Policy{Enroll: boot.Enroll{Policy: boot.EnrollApprove, Hold: 15 * time.Minute, Limit: 100}, Key: boot.Key{1, 2, 3}, Loaders: map[boot.Platform]string{}}
	return w, func() { w.engine.Close(); s.Close() }, nil
}

// fields splits "a b=c d" into words and settings.
func fields(line string) (words []string, kv map[string]string) {
	kv = map[string]string{}
	for _, f := range strings.Fields(line) {
		if k, v, ok := strings.Cut(f, "="); ok {
			kv[k] = v
		} else {
			words = append(words, f)
		}
	}
	return words, kv
}

// play runs one line and returns what to show beneath it.
func (w *world) play(line string) (_ []string, err error) {
	words, kv := fields(strings.TrimPrefix(line, ">"))
	switch {
	case strings.HasPrefix(line, ">"):
		return w.ask(words, kv)
	case words[0] == "network": // network NAME IFACE MODE ADDRESS/LEN [RANGE]
		p := netip.MustParsePrefix(words[4])
		n := boot.Network{Name: words[1], Interface: words[2], Mode: boot.Mode(words[3]), Server: p.Addr(), Subnet: p.Masked(), Lease: time.Hour, BINL: kv["pxe"] == "binl"}
		if len(words) > 5 && strings.Contains(words[5], "-") {
			from, to, _ := strings.Cut(words[5], "-")
			n.Ranges = []boot.Range{{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to)}}
		}
		if kv["subnet"] != "" { // where it is not the one that our address is in
			n.Subnet = netip.MustParsePrefix(kv["subnet"])
		}
		n.Loader, n.HTTPS = kv["loader"], slices.Contains(words, "https")
		n.HTTPHost, n.HTTPSHost = kv["http_host"], kv["https_host"]
		n.Shared, n.RapidCommit, n.ClientID, n.TrustPorts = kv["shared"], slices.Contains(words, "rapid"), slices.Contains(words, "clientid"), slices.Contains(words, "trust_ports")
		n.RelaysOnly, n.NextServer = slices.Contains(words, "relays_only"), slices.Contains(words, "next_server")
		n.UnknownLease, _ = time.ParseDuration(kv["unknown"])
		n.UnknownShare, _ = strconv.Atoi(kv["share"])
		n.NewLeases, _ = strconv.Atoi(kv["new"])
		n.InstallsPerHour, _ = strconv.Atoi(kv["installs"])
		for _, r := range list(kv["relays"]) {
			n.Relays = append(n.Relays, netip.MustParseAddr(r))
		}
		if n.Options, err = options(kv["option"]); err != nil {
			return nil, err
		}
		if kv["menu"] != "" { // TEXT:LOADER,TEXT:
			n.Menu = &boot.Menu{Prompt: "F8", Timeout: 5}
			for _, it := range list(kv["menu"]) {
				text, loader, _ := strings.Cut(it, ":")
				n.Menu.Items = append(n.Menu.Items, boot.MenuItem{Text: text, Loader: loader})
			}
		}
		w.policy.Networks = append(w.policy.Networks, n)
	case words[0] == "range": // range NETWORK FROM-TO [nak]: of one that is there, of the family of FROM
		from, to, _ := strings.Cut(words[2], "-")
		r := boot.Range{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to)}
		ns := w.policy.Networks
		if r.From.Is6() {
			ns = w.policy.Networks6
		}
		ns = slices.Clone(ns) // a policy never changes
		for i := range ns {
			if ns[i].Name == words[1] {
				ns[i].Ranges, ns[i].NakLeaving = []boot.Range{r}, slices.Contains(words, "nak")
			}
		}
		if r.From.Is6() {
			w.policy.Networks6 = ns
		} else {
			w.policy.Networks = ns
		}
	case words[0] == "network6": // network6 NAME IFACE MODE ADDRESS/LEN RANGE [delegate=PREFIX+LEN]
		p := netip.MustParsePrefix(words[4])
		n := boot.Network{Name: words[1], Interface: words[2], Mode: boot.Mode(words[3]), Server: p.Addr(), Subnet: p.Masked(), Lease: time.Hour, DNS: []netip.Addr{p.Addr()}, Domain: "lab.example",
			RapidCommit: slices.Contains(words, "rapid"), HTTPS: slices.Contains(words, "https"), HTTPHost: kv["http_host"], HTTPSHost: kv["https_host"]}
		from, to, _ := strings.Cut(words[5], "-")
		n.Ranges = []boot.Range{{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to)}}
		n.UnknownLease, _ = time.ParseDuration(kv["unknown"])
		for _, r := range list(kv["relays"]) {
			n.Relays = append(n.Relays, netip.MustParseAddr(r))
		}
		if d, l, ok := strings.Cut(kv["delegate"], "+"); ok {
			n.Delegated = netip.MustParsePrefix(d)
			n.DelegatedLen, _ = strconv.Atoi(l)
		}
		w.policy.Networks6, w.policy.DUID = append(w.policy.Networks6, n), "0004beef"
	case words[0] == "class": // class NAME STYLE vendor= user= oui= option=
		c := boot.ClientClass{Name: words[1], Match: boot.ClassMatch{VendorClass: list(kv["vendor"]), UserClass: list(kv["user"]), OUI: list(kv["oui"])}, Echo: slices.Contains(words, "echo")}
		if len(words) > 2 && words[2] != "echo" {
			c.As = boot.Class(words[2])
		}
		c.Platform = boot.Platform(kv["platform"])
		if n, err := strconv.Atoi(kv["arch"]); err == nil {
			c.Match.Arch = []boot.Arch{boot.Arch(n)}
		}
		if c.Options, err = options(kv["option"]); err != nil {
			return nil, err
		}
		w.policy.Classes = append(w.policy.Classes, c)
	case words[0] == "enroll":
		w.policy.Enroll.Policy = boot.EnrollPolicy(words[1])
		if kv["max"] != "" {
			w.policy.Enroll.Limit, _ = strconv.Atoi(kv["max"])
		}
		w.policy.Enroll.Loop, _ = strconv.Atoi(kv["loop"])
		w.policy.Enroll.Shared = list(kv["shared"])
		if kv["hold"] != "" {
			w.policy.Enroll.Hold, _ = time.ParseDuration(kv["hold"])
		}
	case words[0] == "rule": // rule NAME approve|deny [install] CONDITIONS
		r := boot.EnrollRule{Name: words[1], Deny: words[2] == "deny", Install: slices.Contains(words, "install"), Template: kv["template"],
			Match: boot.Selector{MAC: list(kv["mac"]), Serial: list(kv["serial"]), VendorClass: list(kv["class"]), SwitchPort: list(kv["port"]), Network: list(kv["network"])}}
		r.Max, _ = strconv.Atoi(kv["max"])
		r.Tags = list(kv["tags"])
		r.From, _ = time.Parse(time.RFC3339, kv["from"])
		r.Until, _ = time.Parse(time.RFC3339, kv["until"])
		w.policy.Enroll.Rules = append(w.policy.Enroll.Rules, r)
	case words[0] == "signed": // signed PLATFORM SHIM NEXT
		w.policy.Signed = map[boot.Platform]boot.SignedPair{boot.Platform(words[1]): {Shim: words[2], Next: words[3]}}
	case words[0] == "syslog": // syslog PORT: log lines are taken there
		n, err := strconv.ParseUint(words[1], 10, 16)
		w.policy.LogPort = uint16(n)
		return nil, err
	case words[0] == "unmade": // unmade TEMPLATE [parameter that mends it]: rendering it fails
		w.policy.Renders = func(t *boot.Template, _ boot.Dialect, m boot.Machine) error {
			if t.Name == words[1] && (len(words) < 3 || m.Params[words[2]] == "") {
				return fmt.Errorf("user-data of boot %d: no", m.Boot)
			}
			return nil
		}
	case words[0] == "https": // https PORT: it is served there
		n, err := strconv.ParseUint(words[1], 10, 16)
		w.policy.HTTPSPort = uint16(n)
		return nil, err
	case words[0] == "loader":
		w.policy.Loaders[boot.Platform(words[1])] = words[2]
	case words[0] == "then": // then OUTCOME: of every file and script from here on
		w.then = words[1]
	case words[0] == "mute":
		w.mute = true
	case words[0] == "wait":
		d, err := time.ParseDuration(words[1])
		w.now = w.now.Add(d)
		return nil, err
	case words[0] == "flood": // flood NETWORK SERVER FIRST-MAC N: complete exchanges of N strangers
		return w.flood(words)
	case words[0] == "taken": // taken NETWORK ADDRESS MAC: a probe found it there
		m, err := boot.ParseMAC(words[3])
		if err != nil {
			return nil, err
		}
		w.engine.Now = func() time.Time { return w.now }
		if err := w.engine.SetPolicy(w.ctx, w.policy); err != nil {
			return nil, err
		}
		return nil, w.engine.Taken(w.ctx, boot.Check{Network: words[1], Addr: netip.MustParseAddr(words[2])}, m)
	case words[0] == "save": // keeps the last token under a name
		w.saved[words[1]] = w.token
		if len(words) > 2 {
			w.saved[words[1]] = w.report // the report token of the last script
		}
		return nil, nil
	case words[0] == "template":
		return nil, w.template(words, kv)
	case words[0] == "host":
		return nil, w.host(words, kv)
	case words[0] == "image": // image NAME FILE [public]
		i := boot.Image{Name: words[1], Public: slices.Contains(words, "public"), Files: map[string]boot.Blob{}, Tree: kv["tree"]}
		for _, f := range list(words[2]) {
			i.Files[f] = boot.Blob{Digest: "d", Size: 1}
		}
		_, err := w.engine.Do(w.ctx, boot.Actor{Kind: boot.Person}, boot.ImportImage{Image: i})
		return nil, err
	case words[0] == "lease": // lease NETWORK ADDRESS HOLDER FOR
		d, err := time.ParseDuration(words[4])
		if err != nil {
			return nil, err
		}
		l := boot.Lease{Network: words[1], Addr: netip.MustParseAddr(words[2]), Holder: boot.ReadHolder(words[3]), Kind: boot.Dynamic, Starts: w.now, Expires: w.now.Add(d)}
		return nil, w.store.Update(w.ctx, func(tx boot.Tx) error { return tx.PutLease(l) })
	case words[0] == "diagnose": // diagnose MAC|HOST
		w.engine.Now = func() time.Time { return w.now }
		w.engine.Flush()
		var h *boot.Host
		if err := w.engine.View(w.ctx, func(tx boot.ReadTx) (err error) {
			h, err = boot.FindHost(tx, &w.policy, w.now, words[1])
			return err
		}); err != nil {
			return nil, err
		}
		found, err := w.engine.Diagnose(w.ctx, h, words[1])
		out := []string{}
		for _, f := range found {
			out = append(out, fmt.Sprintf("found %s: %s", f.Code, f.Text), "remedy "+f.Remedy.Text)
		}
		if len(found) == 0 {
			out = append(out, "found nothing")
		}
		return out, err
	case words[0] == "rival": // rival NETWORK SERVER
		w.engine.Rival(boot.Rival{Network: words[1], Server: netip.MustParseAddr(words[2])}, w.now)
		return nil, nil
	case words[0] == "order":
		return w.order(words[1:])
	default:
		return nil, fmt.Errorf("no such line: %s", line)
	}
	return nil, nil
}

// options reads "name=value;name=value".
func options(s string) (out []boot.Option, err error) {
	for _, x := range strings.FieldsFunc(s, func(r rune) bool { return r == ';' }) {
		o, err := boot.ParseOptionText(x)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// flood has strangers ask and take what they are offered; it tells how many got
// a lease.
func (w *world) flood(words []string) ([]string, error) {
	if err := w.engine.SetPolicy(w.ctx, w.policy); err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(words[3])
	if err != nil {
		return nil, err
	}
	server := netip.MustParseAddr(words[2])
	got := 0
	for i := range n {
		in := boot.Sighting{At: w.now, Via: boot.DHCP4, Step: boot.Discover, Link: boot.Link{Interface: words[1]}, Firmware: boot.Firmware{Arch: boot.ArchNone},
			ID: boot.Identity{MAC: boot.MAC{2, 0xf0, 0, byte(i >> 16), byte(i >> 8), byte(i)}}}
		d, err := w.engine.Next(w.ctx, in)
		if err != nil {
			return nil, err
		}
		o, _ := d.Reply.(boot.Answer4)
		if o.Type != boot.Offer {
			continue
		}
		in.Step, in.Want = boot.Selecting, boot.Want{Addr: o.Grant.Addr, Server: server}
		if d, err = w.engine.Next(w.ctx, in); err != nil {
			return nil, err
		}
		if a, _ := d.Reply.(boot.Answer4); a.Type == boot.Ack {
			got++
		}
	}
	return []string{fmt.Sprintf("flood %d of %d", got, n)}, nil
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func (w *world) template(words []string, kv map[string]string) error {
	t := boot.Template{Name: words[1], AutoApprove: slices.Contains(words, "auto_approve"), Files: map[string]boot.Blob{"template.toml": {}, "vmlinuz": {}}}
	t.Priority, _ = strconv.Atoi(kv["priority"])
	for _, a := range list(kv["arch"]) {
		t.Match.Arch = append(t.Match.Arch, boot.Platform(a))
	}
	t.Match.MAC, t.Match.Serial, t.Match.Network = list(kv["mac"]), list(kv["serial"]), list(kv["network"])
	t.Match.VendorClass, t.Match.SwitchPort = list(kv["class"]), list(kv["port"])
	t.Match.Tag = list(kv["tag"])
	t.Installs = kv["installs"]
	if n, err := strconv.Atoi(kv["memory"]); err == nil {
		t.Needs.Memory = n
	}
	if p := kv["needs"]; p != "" {
		t.Needs.Arch = []boot.Platform{boot.Platform(p)}
	}
	t.GRUBBoots, t.Firmware, t.Direct = !slices.Contains(words, "ipxe_only"), kv["firmware"], kv["direct"]
	t.UBootBoots = t.GRUBBoots
	t.Shim, t.GRUB, _ = strings.Cut(kv["shim"], "+")
	for _, f := range list(kv["files"]) {
		t.Files[f] = boot.Blob{}
	}
	t.Boots = list(kv["boots"])
	if _, says := kv["params"]; says { // NAME:TYPE[:VALUE|VALUE], with ! behind the type where it is required
		t.Params = map[string]boot.Param{}
		for _, p := range list(kv["params"]) {
			name, typ, _ := strings.Cut(p, ":")
			typ, values, some := strings.Cut(typ, ":")
			typ, required := strings.CutSuffix(typ, "!")
			x := boot.Param{Type: typ, Required: required}
			if some {
				x.Enum = strings.Split(values, "|")
			}
			t.Params[name] = x
		}
	}
	at, ref, places := strings.Cut(kv["placed"], "=")
	if places {
		t.Placed = map[string]string{at: ref}
	}
	if slices.Contains(words, "this_run") {
		t.ThisRun, t.ID, t.Version = true, 1<<31|7, 1
		w.policy.Templates = append(w.policy.Templates, &t)
		return nil
	}
	if slices.Contains(words, "install") {
		t.Install, t.FirstInstall, t.Media = true, slices.Contains(words, "first_install"), []string{"vmlinuz", "initrd.gz"}
		if k := kv["kernel"]; k != "" {
			t.Media = []string{k}
		}
		if places {
			t.Media = append(t.Media, boot.PlacedPath(at))
		}
		t.Files["initrd.gz"], t.Files["preseed.cfg"] = boot.Blob{}, boot.Blob{}
	}
	_, err := w.engine.Do(w.ctx, boot.Actor{Kind: boot.Person}, boot.PushTemplate{Template: t})
	return err
}

func (w *world) host(words []string, kv map[string]string) error {
	h := boot.NewHost{Name: words[1], State: boot.State(words[2]), Template: kv["template"], Serial: kv["serial"], Tags: list(kv["tags"])}
	for _, s := range list(kv["mac"]) {
		m, err := boot.ParseMAC(s)
		if err != nil {
			return err
		}
		h.MACs = append(h.MACs, m)
	}
	if kv["uuid"] != "" {
		h.UUID, _ = boot.ParseUUID(kv["uuid"])
	}
	h.BoundPort = kv["bound"]
	var err error
	if h.Options, err = options(kv["option"]); err != nil {
		return err
	}
	if kv["address"] != "" {
		h.Address = netip.MustParseAddr(kv["address"])
	}
	if kv["address6"] != "" {
		h.Address6 = netip.MustParseAddr(kv["address6"])
	}
	if err := w.engine.SetPolicy(w.ctx, w.policy); err != nil {
		return err
	}
	_, err = w.engine.Do(w.ctx, boot.Actor{Kind: boot.Person}, boot.AddHost{Host: h})
	return err
}

func (w *world) order(words []string) ([]string, error) {
	var o boot.Order
	switch words[0] {
	case "restart": // what was in memory is gone
		w.engine.Close()
		w.engine = engine.New(w.store, engine.NewRequestLog(nil), slog.New(slog.NewTextHandler(io.Discard, nil)))
		w.engine.Now, w.engine.Started = func() time.Time { return w.now }, w.now
		return nil, w.engine.SetPolicy(w.ctx, w.policy)
	case "approve":
		o = boot.Approve{Name: words[1]}
	case "install":
		o = boot.Install{Name: words[1]}
	case "again":
		o = boot.Install{Name: words[1], Again: true}
	case "rescue":
		o = boot.Rescue{Name: words[1], Template: words[2]}
	case "local":
		o = boot.Local{Name: words[1]}
	case "protect":
		yes := true
		o = boot.SetHost{Name: words[1], Protected: &yes}
	case "deny":
		o = boot.Deny{Name: words[1]}
	case "update":
		o = boot.Update{Name: words[1]}
	case "remove":
		o = boot.RemoveHost{Name: words[1]}
	case "set": // set NAME [PARAM:VALUE | +TAG | -TAG …], with KEY:VALUE for a tag's =
		x := boot.SetHost{Name: words[1], Params: map[string]*string{}}
		for _, p := range words[2:] {
			if tag, ok := strings.CutPrefix(p, "+"); ok {
				x.Tags = append(x.Tags, strings.Replace(tag, ":", "=", 1))
			} else if tag, ok := strings.CutPrefix(p, "-"); ok {
				x.NoTags = append(x.NoTags, strings.Replace(tag, ":", "=", 1))
			} else {
				k, v, _ := strings.Cut(p, ":")
				x.Params[k] = &v
			}
		}
		o = x
	case "pin": // pin TEMPLATE ID; 0 is the newest
		n, err := strconv.Atoi(words[2])
		if err != nil {
			return nil, err
		}
		o = boot.PinTemplate{Name: words[1], ID: boot.TemplateID(n)}
	case "give": // give SCOPE PARAM:VALUE … option:NAME:VALUE option:-NAME; one without a value is removed
		x := boot.SetParams{Scope: boot.Scope(strings.Replace(words[1], ":", "=", 1)), Params: map[string]*string{}}
		for _, p := range words[2:] {
			k, v, _ := strings.Cut(p, ":")
			if name, no := strings.CutPrefix(v, "-"); k == "option" && no {
				x.NoOption = append(x.NoOption, name)
				continue
			} else if k == "option" {
				o, err := boot.ParseOptionText(strings.Replace(v, ":", "=", 1))
				if err != nil {
					return nil, err
				}
				x.Options = append(x.Options, o)
				continue
			}
			if x.Params[k] = nil; v != "" {
				x.Params[k] = &v
			}
		}
		o = x
	case "serial":
		o = boot.SetHost{Name: words[1], Serial: &words[2]}
	case "merge":
		o = boot.Merge{Name: words[1], Other: words[2]}
	case "split": // split NAME NEW MAC…
		x := boot.Split{Name: words[1], New: words[2]}
		for _, m := range words[3:] {
			mac, err := boot.ParseMAC(m)
			if err != nil {
				return nil, err
			}
			x.MACs = append(x.MACs, mac)
		}
		o = x
	default:
		return nil, fmt.Errorf("no such order: %v", words)
	}
	w.engine.Now = func() time.Time { return w.now }
	if err := w.engine.SetPolicy(w.ctx, w.policy); err != nil {
		return nil, err
	}
	c, err := w.engine.Do(w.ctx, boot.Actor{Kind: boot.Person}, o)
	if boot.FaultOf(err) != nil {
		return []string{"refused " + err.Error()}, nil
	}
	var out []string
	if words[0] == "set" || words[0] == "give" {
		for _, x := range c.Warnings {
			out = append(out, "warning "+x)
		}
	}
	if err != nil || !slices.Contains([]string{"install", "again", "local", "approve", "merge", "split", "pin"}, words[0]) {
		return out, err
	}
	for _, e := range c.Events {
		if strings.HasPrefix(string(e.Kind), "ticket.") || words[0] == "merge" || words[0] == "split" {
			out = append(out, fmt.Sprintf("event %s %s", e.Kind, e.Text))
		}
	}
	return out, nil
}

var (
	tokenRE = regexp.MustCompile(`boot/([0-9a-z]{60,70})`)
	shortRE = regexp.MustCompile(`[0-9a-hj-km-np-tv-z]{8}…`)
)

// ask turns "> dhcp4 discover mac=…" into a Sighting, asks, and shows.
func (w *world) ask(words []string, kv map[string]string) ([]string, error) {
	if err := w.engine.SetPolicy(w.ctx, w.policy); err != nil {
		return nil, err
	}
	w.now = w.now.Add(time.Second)
	in := boot.Sighting{At: w.now, Via: boot.Via(words[0]), Firmware: boot.Firmware{Arch: boot.ArchNone}}
	addr := func(k string) netip.Addr {
		a, _ := netip.ParseAddr(kv[k])
		return a
	}
	mac, _ := boot.ParseMAC(kv["mac"])
	uuid, _ := boot.ParseUUID(kv["uuid"])
	in.ID.UUID, in.ID.Serial = uuid, kv["serial"]
	in.Link.Interface, in.Link.Relay, in.Link.Subnet, in.Link.Port = "eth0", addr("relay"), addr("relay"), kv["port"]
	if kv["iface"] != "" {
		in.Link.Interface = kv["iface"]
	}
	if n, err := strconv.ParseUint(kv["xid"], 10, 32); err == nil {
		in.XID = uint32(n)
	}
	if kv["select"] != "" { // link selection
		in.Link.Subnet = addr("select")
	}
	switch in.Via {
	case boot.DHCP6:
		in.Step, in.ID.MAC, in.ID.DUID = boot.Step(words[1]), mac, kv["duid"]
		in.Link.Subnet = addr("link")
		f := &in.Firmware
		f.VendorClass, f.IPXE = kv["class"], slices.Contains(words, "ipxe")
		if kv["arch"] != "" {
			n, err := strconv.Atoi(kv["arch"])
			if err != nil {
				return nil, err
			}
			f.Arch = boot.Arch(n)
		}
		in.Want.Rapid = slices.Contains(words, "rapid")
		if in.Want.ServerID = kv["server"]; kv["server"] == "ours" {
			in.Want.ServerID = w.policy.DUID
		}
		for _, k := range []string{"ia", "pd"} { // ID[:ADDRESS[+ADDRESS]],…
			for _, x := range list(kv[k]) {
				id, has, _ := strings.Cut(x, "=")
				n, err := strconv.ParseUint(id, 16, 32)
				if err != nil {
					return nil, err
				}
				ia := boot.IA{ID: uint32(n), Prefix: k == "pd"}
				for _, a := range strings.FieldsFunc(has, func(r rune) bool { return r == '+' }) {
					p, err := netip.ParsePrefix(a)
					if err != nil {
						p = netip.PrefixFrom(netip.MustParseAddr(a), 128)
					}
					ia.Has = append(ia.Has, p)
				}
				in.Want.IAs = append(in.Want.IAs, ia)
			}
		}
	case boot.DHCP4, boot.Proxy4:
		in.Step, in.ID.MAC = boot.Step(words[1]), mac
		in.Want.Addr, in.Want.Server = addr("want"), addr("server")
		in.Source = netip.AddrPortFrom(addr("from"), 68)
		if in.Step == boot.Renew || in.Step == boot.Release || in.Step == boot.Inform {
			in.Link.Client = in.Want.Addr
		} else if from := in.Source.Addr(); from.IsValid() && !from.IsUnspecified() && !in.Link.Relay.IsValid() {
			in.Link.Client = from
		}
		in.Link.ServerID, in.Want.ClientID, in.Want.Rapid = addr("serverid"), kv["clientid"], slices.Contains(words, "rapid")
		if slices.Contains(words, "unicast") {
			in.Link.Local = in.Want.Server
			if !in.Link.Local.IsValid() {
				in.Link.Local = w.policy.Networks[0].Server
			}
		}
		if kv["item"] != "" {
			n, err := strconv.ParseUint(kv["item"], 0, 16)
			if err != nil {
				return nil, err
			}
			in.Want.Item = uint16(n)
		}
		if kv["asks"] != "" { // option 55
			for _, x := range list(kv["asks"]) {
				n, err := strconv.Atoi(x)
				if err != nil {
					return nil, err
				}
				in.Want.Options = append(in.Want.Options, byte(n))
			}
		}
		if kv["lease"] != "" {
			in.Want.Lease, _ = time.ParseDuration(kv["lease"])
		}
		f := &in.Firmware
		f.UserClass = kv["user"]
		f.UBoot = slices.Contains(words, "uboot")
		f.VendorClass, f.IPXE, f.Proxied, f.NoHTTP = kv["class"], slices.Contains(words, "ipxe"), in.Via == boot.Proxy4, slices.Contains(words, "nohttp")
		if kv["arch"] != "" {
			n, err := strconv.Atoi(kv["arch"])
			if err != nil {
				return nil, err
			}
			f.Arch = boot.Arch(n)
		}
	default:
		in.Step = boot.Fetch
		tok := w.token
		for name, saved := range w.saved {
			words[1] = strings.ReplaceAll(words[1], "$"+name, saved)
		}
		in.Want.Path = strings.ReplaceAll(words[1], "$token", tok)
		in.Source = netip.AddrPortFrom(addr("from"), 1024)
		networks := w.policy.Networks
		if in.Source.Addr().Is6() {
			networks = w.policy.Networks6
		}
		in.Link.Local = networks[0].Server
		for _, n := range networks {
			if n.Interface == in.Link.Interface {
				in.Link.Local = n.Server
				break
			}
		}
		in.Want.Query = boot.Query{Asked: slices.Contains(words, "asked"), MAC: mac, Stage: kv["stage"], Step: kv["at"], Errno: kv["errno"], Version: kv["version"], Progress: kv["progress"]}
		if n, err := strconv.ParseInt(kv["memory"], 10, 64); err == nil { // MiB
			in.Facts = &boot.Inventory{Memory: n << 20}
		}
		in.Firmware.PlatformHint = boot.Platform(kv["platform"])
		in.Firmware.IPXE = in.Via == boot.TFTP && slices.Contains(words, "ipxe")
		in.Want.Head = slices.Contains(words, "head")
		if in.Via == boot.Syslog { // > syslog SEVERITY TEXT … from= app= facility=
			in.Step, in.Want, in.Line = boot.LogLine, boot.Want{}, &boot.Line{Facility: kv["facility"], App: kv["app"], Text: strings.Join(words[2:], " ")}
			if err := in.Line.Severity.UnmarshalText([]byte(words[1])); err != nil {
				return nil, err
			}
		}
		if in.Want.Path == "handshake" {
			in.Step, in.Want.Path, in.Fault = boot.Handshake, "", &boot.TLSFault{Cause: boot.TLSCause(kv["fault"]), Text: "say why; say what to do", Detail: "alert"}
		}
	}
	d, err := w.engine.Next(w.ctx, in)
	if err != nil {
		return nil, err
	}
	out, err := w.show(d)
	if o := cmp.Or(kv["then"], w.then); o != "" && err == nil { // how the reply's bytes ended
		switch d.Reply.(type) {
		case boot.File, boot.Script:
			err = w.engine.Done(w.ctx, in, d, boot.Outcome{Result: boot.Result(o), Bytes: 4096})
		}
	}
	if w.mute {
		out = nil
	}
	return out, err
}

func (w *world) show(d boot.Decision) ([]string, error) {
	out := []string{w.reply(d)}
	out = append(out, "why "+d.Why.String())
	for _, h := range d.Holds {
		out = append(out, fmt.Sprintf("hold %s for %s", h.Addr, h.Holder))
	}
	for _, n := range d.Notices {
		out = append(out, fmt.Sprintf("notice %s %s", n.Kind, n.Text))
	}
	if err := w.engine.View(w.ctx, func(tx boot.ReadTx) error {
		for {
			es, err := tx.Events(w.seen, 100)
			if err != nil || len(es) == 0 {
				return err
			}
			for _, e := range es {
				w.seen = e.Seq
				if !slices.ContainsFunc(d.Writes.Events, func(x boot.Event) bool { return x.Seq == e.Seq }) {
					continue // a person's, or a notice's
				}
				out = append(out, fmt.Sprintf("event %s %s", e.Kind, e.Text))
			}
		}
	}); err != nil {
		return nil, err
	}
	if h := d.Writes.Host; h != nil {
		line := fmt.Sprintf("host %s %s", h.Name, h.State)
		if h.Pin != 0 {
			line += fmt.Sprintf(" pinned %s#%d", h.Template, h.Pin)
		}
		if h.Boots != 0 {
			line += fmt.Sprintf(" boots %d", h.Boots)
		}
		if h.Stage != "" {
			line += " stage " + h.Stage
		}
		if k := h.Ticket; k != nil {
			line += " ticket " + string(k.State)
			if len(k.Files) > 0 {
				line += " " + strings.Join(slices.Sorted(maps.Keys(k.Files)), "+")
			}
		}
		out = append(out, line)
	}
	for _, l := range d.Writes.Leases {
		out = append(out, fmt.Sprintf("lease %s %s %s for %s", l.Kind, l.Addr, l.Holder, l.Expires.Sub(w.now)))
	}
	for i := range out {
		out[i] = shortRE.ReplaceAllString(tokenRE.ReplaceAllString(out[i], "boot/TOKEN"), "TOKEN")
	}
	return out, nil
}

func (w *world) note(s string) string {
	if m := tokenRE.FindStringSubmatch(s); m != nil {
		w.token = m[1]
	}
	return s
}

func (w *world) reply(d boot.Decision) string {
	dhcp := func(g *boot.Grant, b *boot.BootInfo, o boot.Options) string {
		var s string
		if g != nil {
			s += fmt.Sprintf(" %s for %s", g.Addr, g.Lease)
		}
		if b != nil {
			s += fmt.Sprintf(", %s %q: %s", b.Class, b.VendorClass, w.note(b.File))
			if b.BINL {
				s += " (by 4011)"
			}
			if b.Menu != nil {
				s += fmt.Sprintf(" (menu of %d)", len(b.Menu.Items))
			}
			if b.Item != 0 {
				s += fmt.Sprintf(" (item %#x)", b.Item)
			}
		}
		if o.Server != o.Source {
			s += fmt.Sprintf(", as server %s", o.Server)
		}
		if o.Log.IsValid() {
			s += fmt.Sprintf(", log to %s", o.Log)
		}
		for _, x := range o.Extra {
			s += ", " + x.String()
		}
		if d.Delay != 0 {
			s += fmt.Sprintf(", after %s", d.Delay)
		}
		return s
	}
	switch x := d.Reply.(type) {
	case boot.Answer4:
		switch {
		case x.Type == boot.Nak:
			return "nak " + x.Message
		case x.Rapid:
			return "rapid ack" + dhcp(x.Grant, x.Boot, x.Options)
		}
		return string(x.Type) + dhcp(x.Grant, x.Boot, x.Options)
	case boot.Answer6:
		s := map[bool]string{true: "advertise", false: "reply"}[x.Advertise]
		if x.Rapid {
			s = "rapid reply"
		}
		if x.Status != nil {
			s += fmt.Sprintf(", status %d: %s", x.Status.Code, x.Status.Text)
		}
		for _, b := range x.IAs {
			s += fmt.Sprintf(", %s%x", map[bool]string{true: "pd ", false: "ia "}[b.Prefix], b.ID)
			for _, l := range b.Leases {
				s += fmt.Sprintf(" %s for %s", strings.TrimSuffix(l.Prefix.String(), "/128"), l.Valid)
			}
			if b.Status != nil {
				s += fmt.Sprintf(" status %d (%s)", b.Status.Code, b.Status.Text)
			}
		}
		if x.Boot != nil {
			s += fmt.Sprintf(", %s: %s", x.Boot.Class, w.note(x.Boot.File))
		}
		return s
	case boot.File:
		s := fmt.Sprintf("file %s %s", x.Ref.Kind, x.Ref.Name)
		if x.Ref.Placed != "" {
			s += " as " + x.Ref.Placed
		}
		if x.Ref.Template != nil {
			s += fmt.Sprintf(" of %s version %d", x.Ref.Template.Name, x.Ref.Template.Version)
		}
		return s
	case boot.Script:
		w.note(x.Ref.Machine.BaseURL)
		if m := tokenRE.FindStringSubmatch(x.Ref.Machine.ReportURL); m != nil {
			w.report = m[1]
		}
		s := fmt.Sprintf("script %s %s", x.Ref.Kind, x.Ref.Name)
		if x.Ref.Template != nil {
			s += fmt.Sprintf(" of %s version %d", x.Ref.Template.Name, x.Ref.Template.Version)
		}
		if u, err := url.Parse(x.Ref.Machine.BaseURL); err == nil && !strings.ContainsAny(u.Host[:1], "[0123456789") {
			s += " under " + u.Host
		}
		return s
	case boot.Refuse:
		return fmt.Sprintf("%s: %s", boot.Verb(x), x.Reason)
	case boot.Done:
		return "done " + x.Text
	}
	return boot.Verb(d.Reply)
}

// perform plays a file and returns it with fresh "<" lines.
func perform(text string, on func(boot.Store) boot.Store) (string, error) {
	w, done, err := newWorld(on)
	if err != nil {
		return "", err
	}
	defer done()
	var out strings.Builder
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if strings.HasPrefix(line, "<") {
			continue
		}
		out.WriteString(line + "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		shown, err := w.play(line)
		if err != nil {
			return "", fmt.Errorf("line %d: %s: %w", i+1, line, err)
		}
		for _, s := range shown {
			out.WriteString("< " + s + "\n")
		}
	}
	return out.String(), nil
}

func scenarios(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("testdata/decide/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	out := map[string]string{}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		out[n] = string(b)
	}
	return out
}

func TestDecide(t *testing.T) {
	for name, want := range scenarios(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			got, err := perform(want, plain)
			if err != nil {
				t.Fatal(err)
			}
			if os.Getenv("MUSTER_GOLDEN") == "write" && got != want {
				if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			same(t, got, want)
		})
	}
}

// TestDecideTwice plays the same on a store that runs every function twice: a
// decision that is thrown away leaves no trace.
func TestDecideTwice(t *testing.T) {
	for name, want := range scenarios(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			got, err := perform(want, storetest.Twice)
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, want)
		})
	}
}

func same(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			t.Fatalf("line %d\n got %s\nwant %s", i+1, a, b)
		}
	}
}

// TestEveryRuleMatters takes one rule out at a time: some scenario must notice.
func TestEveryRuleMatters(t *testing.T) {
	files := scenarios(t)
	for _, rule := range boot.RuleNames() {
		restore := boot.WithoutRule(rule)
		noticed := false
		for _, want := range files {
			noticed = noticed || func() (differs bool) {
				defer func() {
					if recover() != nil {
						differs = true
					}
				}()
				got, err := perform(want, plain)
				return err != nil || got != want
			}()
			if noticed {
				break
			}
		}
		restore()
		if !noticed {
			t.Errorf("no scenario notices when rule %s is gone", rule)
		}
	}
}
