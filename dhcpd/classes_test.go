// classes_test.go: one golden for every kind of client that firmware and systems
// are known to be. "ask" lines say what the client sends; beneath each, the whole
// reply, and behind every field the rule that made it so.

package dhcpd

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot/engine"

	"github.com/musterboot/muster/boot"
)

// because says which rule a part of a reply follows.
var because = map[string]string{
	"op": "BOOTREPLY (RFC 2131 4.3.1)", "htype": "echoed", "hlen": "echoed", "hops": "zero (RFC 2131 table 3)", "xid": "echoed", "secs": "zero (RFC 2131 table 3)",
	"flags": "echoed: the client says whether it needs a broadcast", "ciaddr": "in an ACK what the client sent, else zero (RFC 2131 table 3)",
	"yiaddr": "the address; zero where another server gives it", "siaddr": "where the first file is: GRUB before 2.04, U-Boot and ROMs read only this",
	"giaddr": "echoed: the relay finds its client by it", "chaddr": "echoed", "sname": "the same as text, for old ROMs", "file": "the first file: ROMs, U-Boot and GRUB read only this; NUL behind it",
	"cookie": "RFC 1497", "end": "end mark, then zeros to 300 bytes: relays and switches drop less",
	"1": "the network's subnet", "3": "the network's routers", "6": "the network's dns", "12": "the host's name, once it was let in", "15": "the network's domain",
	"43": "PXE: discovery control 8, take the file at once; a Raspberry Pi wants its own words", "51": "the lease time", "53": "message type", "54": "our address; firmware drops an OFFER without it",
	"58": "half of the lease (RFC 2131 4.4.5)", "59": "seven eighths of it (RFC 2131 4.4.5)", "60": "the bare word that the firmware compares; a BlueField its own",
	"61": "echoed, because it was sent (RFC 6842)", "66": "our address, no NUL: a Raspberry Pi 4 dislikes one", "67": "the first file again, with a NUL for old UEFI; a URL has none",
	"80": "rapid commit (RFC 4039)", "82": "the relay's, byte for byte and last (RFC 3046)", "97": "echoed: BIOS ROMs expect it", "114": "a class's option: ONIE's installer", "175": "iPXE: no-pxedhcp, it need not wait for a proxy",
}

// explained prints a reply, a line a field.
func explained(b []byte) (out []string) {
	add := func(name string, v []byte) {
		why := because[name]
		if why == "" {
			why = "NO RULE"
		}
		text := hex.EncodeToString(v)
		if n := len(strings.TrimRight(string(v), "\x00")); len(v) >= 64 {
			text = fmt.Sprintf("%q and %d zeros", v[:n], len(v)-n)
		} else if len(v) > 4 {
			text += fmt.Sprintf(" %q", v)
		}
		out = append(out, fmt.Sprintf("%-6s %s | %s", name, text, why))
	}
	for _, f := range []struct {
		name     string
		from, to int
	}{{"op", 0, 1}, {"htype", 1, 2}, {"hlen", 2, 3}, {"hops", 3, 4}, {"xid", 4, 8}, {"secs", 8, 10}, {"flags", 10, 12}, {"ciaddr", 12, 16}, {"yiaddr", 16, 20},
		{"siaddr", 20, 24}, {"giaddr", 24, 28}, {"chaddr", 28, 44}, {"sname", 44, 108}, {"file", 108, 236}, {"cookie", 236, 240}} {
		add(f.name, b[f.from:f.to])
	}
	for o := b[240:]; len(o) > 0; {
		if o[0] == optEnd {
			out = append(out, fmt.Sprintf("%-6s ff and %d zeros, %d bytes in all | %s", "end", len(o)-1, len(b), because["end"]))
			for _, x := range o[1:] {
				if x != 0 {
					out = append(out, "NOT ZERO BEHIND THE END")
				}
			}
			break
		}
		add(strconv.Itoa(int(o[0])), o[2:2+int(o[1])])
		o = o[2+int(o[1]):]
	}
	return out
}

// client makes a request of an ask line: type, then k=v; values are text, hex:
// bytes, or addresses for ciaddr, giaddr, 50 and 54.
func client(t *testing.T, words []string, last boot.Decision) ([]byte, Meta) {
	t.Helper()
	p := packet{op: bootRequest, htype: 1, hlen: 6, xid: [4]byte{1, 2, 3, 4}, chaddr: [16]byte{0x52, 0x54, 0, 0xaa, 0xbb, 1}}
	kind := map[string]byte{"discover": typeDiscover, "request": typeRequest, "inform": typeInform, "bootp": typeNone}[words[0]]
	if kind != typeNone {
		p.set(optType, []byte{kind})
	}
	m := Meta{At: at, Interface: "eth0", Index: 2}
	if kind == typeRequest {
		if o, ok := last.Reply.(boot.Answer4); ok && o.Type == boot.Offer && o.Grant != nil {
			p.set(optRequested, o.Grant.Addr.AsSlice())
			p.set(optServerID, o.Options.Server.AsSlice())
		}
	}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		var b []byte
		if h, ok := strings.CutPrefix(v, "hex:"); ok {
			var err error
			if b, err = hex.DecodeString(h); err != nil {
				t.Fatal(err)
			}
		} else if a, err := netip.ParseAddr(v); err == nil {
			b = a.AsSlice()
		} else {
			b = []byte(v)
		}
		switch k {
		case "mac":
			mac, err := boot.ParseMAC(v)
			if err != nil {
				t.Fatal(err)
			}
			copy(p.chaddr[:], mac[:])
		case "broadcast":
			p.flags = broadcastFlag
		case "ciaddr":
			copy(p.ciaddr[:], b)
		case "giaddr":
			copy(p.giaddr[:], b)
		case "port":
			m.Proxy = v == "4011"
			m.Source = netip.MustParseAddrPort("10.77.0.50:4011")
		default:
			n, err := strconv.Atoi(k)
			if err != nil {
				t.Fatalf("%q is not understood", w)
			}
			p.set(byte(n), b)
		}
	}
	return p.encode(), m
}

func TestClientClasses(t *testing.T) {
	names, _ := filepath.Glob("testdata/class/*.txt")
	if len(names) < 14 {
		t.Fatalf("only %d classes", len(names))
	}
	seen := map[string]bool{}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var e *engine.Engine
			var out strings.Builder
			var last boot.Decision
			mode := boot.Full
			for line := range strings.Lines(string(want)) {
				line = strings.TrimSuffix(line, "\n")
				if strings.HasPrefix(line, "<") {
					continue
				}
				out.WriteString(line + "\n")
				words := strings.Fields(line)
				if len(words) == 0 || words[0] == "#" {
					continue
				}
				if words[0] == "mode" {
					mode = boot.Mode(words[1])
					continue
				}
				if e == nil {
					var done func()
					if e, done, err = newEngine(mode, false); err != nil {
						t.Fatal(err)
					}
					defer done()
					p := *e.Policy()
					p.Classes = []boot.ClientClass{{Name: "onie-url", Match: boot.ClassMatch{VendorClass: []string{"onie_vendor:*"}}, Options: []boot.Option{{Code: 114, Data: []byte("http://10.77.0.1/onie.bin")}}}}
					if err := e.SetPolicy(context.Background(), p); err != nil {
						t.Fatal(err)
					}
				}
				raw, meta := client(t, words[1:], last)
				d, reply, to, err := Dry(raw, meta, func(in boot.Sighting) (boot.Decision, error) { return e.Next(context.Background(), in) })
				if err != nil {
					t.Fatal(err)
				}
				last = d
				seen[strings.Split(d.Kind, " ")[0]] = true
				fmt.Fprintf(&out, "< class %s, after %s: %s\n", d.Kind, d.Delay, d.Why.String())
				if reply == nil {
					out.WriteString("< no reply\n")
					continue
				}
				if err := checkReply(raw, reply); err != nil {
					t.Error(err)
				}
				fmt.Fprintf(&out, "< %s %s\n", to.How, to.Addr)
				for _, s := range explained(reply) {
					if strings.Contains(s, "NO RULE") || strings.Contains(s, "NOT ZERO") {
						t.Errorf("%s: %s", line, s)
					}
					out.WriteString("< " + s + "\n")
				}
				if binary.BigEndian.Uint16(reply[8:]) != 0 {
					t.Error("secs")
				}
			}
			golden(t, name, out.String(), string(want))
		})
	}
	for _, c := range boot.StandardClasses() {
		if !seen[c.Name] {
			t.Errorf("no golden for class %s", c.Name)
		}
	}
}

// TestLeftOut: a client is one kind through one exchange, whichever of its options its
// REQUEST leaves out.
func TestLeftOut(t *testing.T) {
	files, err := filepath.Glob("testdata/class/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	tried := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "ask" || words[1] != "discover" {
				continue
			}
			// exchange returns the class of the REQUEST and of what is booted.
			exchange := func(request []string) string {
				e, done, err := newEngine(boot.Full, false)
				if err != nil {
					t.Fatal(err)
				}
				defer done()
				var d boot.Decision
				for _, ask := range [][]string{append([]string{"discover"}, words[2:]...), append([]string{"request"}, request...)} {
					p, m := client(t, ask, d)
					r, err := parse4(p, m)
					if err != nil {
						t.Fatal(err)
					}
					if d, err = e.Next(context.Background(), r.in); err != nil {
						t.Fatal(err)
					}
				}
				if d.Host == nil {
					return d.Kind + ", no host"
				}
				return d.Kind + ", " + string(d.Host.Platform) + ", " + d.Host.UUID.String()
			}
			want := exchange(words[2:])
			for i, w := range words[2:] {
				if k, _, _ := strings.Cut(w, "="); k == "mac" || k == "giaddr" || k == "82" || k == "broadcast" || k == "ciaddr" || k == "61" {
					continue // these say where it is, and not what
				}
				less := slices.Delete(slices.Clone(words[2:]), i, i+1)
				tried++
				if got := exchange(less); got != want {
					t.Errorf("%s without %s: %s, want %s", filepath.Base(f), w, got, want)
				}
			}
			bare := slices.DeleteFunc(slices.Clone(words[2:]), func(w string) bool {
				k, _, _ := strings.Cut(w, "=")
				return !slices.Contains([]string{"mac", "giaddr", "82", "broadcast", "61"}, k)
			})
			if got := exchange(bare); got != want {
				t.Errorf("%s with none of them: %s, want %s", filepath.Base(f), got, want)
			}
		}
	}
	if tried < 50 {
		t.Errorf("only %d were tried", tried)
	}
}
