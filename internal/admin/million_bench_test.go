// How long a machine waits for its script and its answers where the roll is long:
// go test -run '^$' -bench Million -benchtime 2000x ./internal/admin

package admin

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/engine"
	"github.com/musterboot/muster/store/mem"
	"github.com/musterboot/muster/templates"
)

// BenchmarkMillion boots machines of a roll of a million, with tags, values of their own and
// inherited ones, among 10,000 templates: the choice, the script and an answer file, made
// and read to the end.
func BenchmarkMillion(b *testing.B) {
	const hosts, kinds = 1_000_000, 10_000
	s, err := mem.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	files := fileStore()
	put := func(text string) boot.Blob {
		x, err := files.Put(b.Context(), strings.NewReader(text), "")
		if err != nil {
			b.Fatal(err)
		}
		return x
	}
	kernel, preseed := put("kernel"), put(strings.Repeat("d-i a/disk string {{ sh .Params.disk }} {{ sh .Params.mirror }} {{ sh .Name }}\n", 40))
	update := func(fn func(boot.Tx) error) {
		if err := s.Update(b.Context(), fn); err != nil {
			b.Fatal(err)
		}
	}
	mac := func(i int) boot.MAC { return boot.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)} }
	update(func(tx boot.Tx) error {
		for i := range kinds {
			spec := fmt.Sprintf("name = \"t%d\"\n[match]\nserial = [\"RIG-%05d*\"]\ntag = [\"rack=*\"]\n[boot]\nkernel = \"k\"\n[params.disk]\n[params.mirror]\n", i, i)
			p, err := templates.ParseSpec(templates.SpecFile, []byte(spec))
			if err != nil {
				return err
			}
			t := p.Template()
			t.ID, t.Version, t.Files = boot.TemplateID(i+1), 1, map[string]boot.Blob{templates.SpecFile: put(spec), "k": kernel, "preseed.cfg": preseed}
			if err := tx.PutTemplate(&t); err != nil {
				return err
			}
		}
		return tx.PutValues(&boot.Values{Scope: boot.Site, Params: map[string]string{"mirror": "http://10.0.0.1/debian"}})
	})
	for at := 0; at < hosts; at += 10_000 {
		update(func(tx boot.Tx) error {
			for i := at; i < at+10_000; i++ {
				h := &boot.Host{ID: boot.HostID(i + 1), Name: fmt.Sprintf("h%d", i), State: boot.Approved, MACs: []boot.MAC{mac(i)}, Serial: fmt.Sprintf("RIG-%05d-%d", i%kinds, i), Platform: boot.BIOS, Network: "lab", Tags: []string{fmt.Sprintf("rack=%d", i%500)}, Params: map[string]string{"disk": fmt.Sprintf("/dev/d%d", i)}}
				if err := tx.PutHost(h); err != nil {
					return err
				}
			}
			return nil
		})
	}
	e := engine.New(s, engine.NewRequestLog(nil), slog.New(slog.DiscardHandler))
	defer e.Close()
	key := boot.Key{7}
	server := netip.MustParsePrefix("10.0.0.1/8")
	if err := e.SetPolicy(b.Context(), boot.Policy{Key: key, Networks: []boot.Network{{Name: "lab", Interface: "eth0", Mode: boot.Full, Server: server.Addr(), Subnet: server.Masked()}}}); err != nil {
		b.Fatal(err)
	}
	set, err := templates.NewSet(files)
	if err != nil {
		b.Fatal(err)
	}
	read := func(ref boot.Ref) int {
		o, err := set.Open(context.Background(), ref)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, o.Body)
		if err != nil {
			b.Fatal(err)
		}
		return int(n)
	}
	b.ResetTimer()
	for i := range b.N {
		n := i * 7919 % hosts
		in := boot.Sighting{At: e.Now(), Via: boot.HTTP, Step: boot.Fetch, Source: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), 4000), Firmware: boot.Firmware{Arch: boot.ArchNone, IPXE: true, PlatformHint: boot.BIOS}}
		in.Link.Local = server.Addr()
		in.Want.Path, in.Want.Query = "boot/"+key.Sign(boot.Token{Kind: boot.BootToken, Host: boot.HostID(n + 1), MAC: mac(n), Issued: in.At})+"/boot.ipxe", boot.Query{Asked: true, MAC: mac(n)}
		d, err := e.Next(b.Context(), in)
		if err != nil {
			b.Fatal(err)
		}
		x, ok := d.Reply.(boot.Script)
		if !ok || x.Ref.Template == nil || x.Ref.Template.Name != fmt.Sprintf("t%d", n%kinds) {
			b.Fatalf("%+v, %s", d.Reply, d.Why)
		}
		if read(x.Ref) == 0 || read(boot.Ref{Kind: boot.RefTemplate, Name: "preseed.cfg", Template: x.Ref.Template, Machine: x.Ref.Machine}) < 2000 {
			b.Fatal("an empty file")
		}
	}
}
