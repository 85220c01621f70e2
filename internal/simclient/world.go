package simclient

// This file is the part of its machine that an iPXE script sees.

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/musterboot/muster/internal/simclient/script"
)

// ipxeWorld is a machine as its scripts see it.
type ipxeWorld struct {
	r     *run
	k     *Kind
	stage string
}

func (w *ipxeWorld) lease(ctx context.Context) error {
	l, boot, err := w.r.lease(ctx, w.k, w.stage)
	if err != nil {
		return err
	}
	w.r.boot = boot
	return w.r.at(l)
}

func (w *ipxeWorld) DHCP(ctx context.Context) error {
	if w.r.l != nil {
		return nil // it has a lease, and a second one would be the same
	}
	return w.lease(ctx)
}

func (w *ipxeWorld) Load(ctx context.Context, step, uri string, form url.Values) (*script.File, error) {
	m := w.r.firmwareAgent(w.k)
	m.form = form
	if w.r.h.cfg.OnlyHead && (step == "kernel" || step == "initrd") {
		w.r.step(Step{Name: step, Verdict: Skipped, Text: shown(short(uri)), File: shown(uri)})
		return &script.File{URI: uri}, nil
	}
	f, err := w.r.fetch(ctx, step, uri, m)
	if err == nil && !f.Script() {
		f.Head = nil // with many machines, many kernels need not stay in memory
	}
	return f, err
}

func (w *ipxeWorld) Exists(ctx context.Context, step, uri string) error {
	if !strings.HasPrefix(uri, "http") {
		w.r.step(Step{Name: step, Verdict: Skipped, Text: shown(short(uri)) + ": only discs by HTTP are looked at"})
		return nil
	}
	start := time.Now()
	c := newWeb(w.r.src, w.r.h.dev, w.r.l.dns, w.r.h.cfg.Roots, true)
	defer c.close()
	n, err := c.sized(ctx, uri)
	if err != nil {
		return w.r.fail(step, explained(err, uri))
	}
	w.r.step(Step{Name: step, Verdict: OK, Text: shown(short(uri)) + " is there, " + strconv.FormatInt(n, 10) + " bytes", File: shown(uri), Took: time.Since(start)})
	return nil
}

func (w *ipxeWorld) Pause(ctx context.Context, d time.Duration) { w.r.pause(ctx, d) }

// pause waits as long as a script asks for, in the machine's time.
func (r *run) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(r.wait(d))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// setting is a value as iPXE stores it: raw, with the type in which it is
// shown.
func (w *ipxeWorld) Setting(name string) ([]byte, string, bool) {
	r, text := w.r, func(t string) ([]byte, string, bool) { return []byte(t), "string", t != "" }
	switch name {
	case "mac":
		return r.m.MAC[:], "hex", true
	case "uuid":
		return r.m.UUID[:], "uuid", true
	case "serial", "board-serial":
		return text(r.m.Serial)
	case "manufacturer":
		return text("Muster")
	case "product":
		return text("Simulated machine")
	case "asset":
		return text("")
	case "buildarch":
		return text(w.k.cpu)
	case "platform":
		return text(w.k.platform)
	case "version":
		return text("1.21.1 (simulated)")
	case "busid":
		return []byte{1, 0x1a, 0xf4, 0x10, 0}, "hex", true
	case "ifname":
		return text("net0")
	case "linktype":
		return text("Ethernet")
	case "user-class":
		return text("iPXE")
	}
	if r.l == nil {
		return nil, "", false
	}
	ack := r.l.ack
	addr := func(b []byte) ([]byte, string, bool) { return b, "ipv4", len(b) > 0 }
	switch name {
	case "ip":
		if r.l.addr.Is4() {
			return addr(r.l.addr.AsSlice())
		}
	case "ip6":
		if r.l.addr.Is6() {
			return r.l.addr.AsSlice(), "ipv6", true
		}
	case "next-server":
		if r.six != nil {
			return nil, "", false
		}
		if r.boot != nil && r.boot.next.IsValid() {
			return addr(r.boot.next.AsSlice())
		}
		return addr(ack.next.AsSlice())
	case "filename":
		if r.boot != nil {
			return text(r.boot.ipxeName())
		}
		return text(ack.ipxeName())
	}
	if r.six != nil {
		if v := ack.options[23]; name == "dns6" && len(v) >= 16 {
			return v[:16], "ipv6", true
		}
		return nil, "", false
	}
	code := map[string]uint8{"netmask": 1, "gateway": 3, "dns": 6, "hostname": 12, "domain": 15, "root-path": 17, "mtu": 26, "dhcp-server": 54}[name]
	typ := map[uint8]string{1: "ipv4", 3: "ipv4", 6: "ipv4", 54: "ipv4", 26: "uint16"}[code]
	if n, err := strconv.ParseUint(name, 10, 8); err == nil {
		code = uint8(n)
	}
	v := ack.options[code]
	if code == 0 || len(v) == 0 {
		return nil, "", false
	}
	if typ == "" {
		typ = "string"
	}
	if typ == "ipv4" && len(v) > 4 {
		v = v[:4]
	}
	return v, typ, true
}
