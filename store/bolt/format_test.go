// format_test.go: the bytes on disk. testdata/v1 is a store that version 0.x
// left when it was killed: one Update folded into bbolt, one in the log.

package bolt

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store"
)

// fill writes of everything, in two Updates: what the second finds is folded into
// bbolt, and what it writes is in the log.
func fill(tx boot.Tx, part int) error {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)
	var errs []error
	do := func(err error) { errs = append(errs, err) }
	mac := func(n byte) boot.MAC { return boot.MAC{0x52, 0x54, 0, 0, 0, n} }
	ip := netip.MustParseAddr
	if part == 0 {
		a := &boot.Host{ID: 1, Name: "a", State: boot.Approved, MACs: []boot.MAC{mac(1), mac(2)}, UUID: boot.UUID{1, 2, 3, 4}, Serial: "SN-1", DUID: "0004aa",
			Address: ip("10.0.0.5"), Address6: ip("fd00::5"), BoundPort: "leaf3:Ethernet12", Template: "rescue", Pin: 1,
			Params: map[string]string{"disk": "/dev/sda"}, Options: []boot.Option{{Code: 42, Data: []byte{10, 0, 0, 1}}}, Created: at, Changed: at}
		do(tx.PutHost(a))
		do(tx.PutHost(&boot.Host{ID: 2, Name: "gone", State: boot.Pending, MACs: []boot.MAC{mac(3)}, Created: at, Changed: at}))
		do(tx.PutInventory(1, &boot.Inventory{At: at, Memory: 1 << 30, Disks: []boot.Disk{{Name: "sda"}}}))
		do(tx.PutInventory(2, &boot.Inventory{At: at, Memory: 1}))
		do(tx.PutLease(boot.Lease{Network: "lab", Addr: ip("10.0.0.9"), Holder: boot.HeldBy(mac(1)), MAC: mac(1), Kind: boot.Dynamic, Host: 1, Name: "a", Starts: at, Expires: at.Add(time.Hour)}))
		do(tx.PutLease(boot.Lease{Network: "lab", Addr: ip("10.0.0.10"), Holder: boot.ReadHolder("id:01ff"), MAC: mac(9), Kind: boot.Unknown, Starts: at, Expires: at.Add(time.Hour)}))
		do(tx.PutLease(boot.Lease{Network: "lab", Addr: ip("10.0.1.2"), Holder: boot.HeldBy(mac(4)), MAC: mac(4), Kind: boot.Dynamic, Starts: at, Expires: at.Add(time.Hour)}))
		do(tx.PutLease(boot.Lease{Network: "lab6", Addr: ip("fd00::9"), Holder: boot.ReadHolder("0004aa/1"), MAC: mac(1), Kind: boot.Reserved, Host: 1, Starts: at, Expires: at.Add(time.Hour)}))
		for i := 1; i <= 2; i++ {
			do(tx.PutTemplate(&boot.Template{ID: boot.TemplateID(i), Name: "rescue", Version: i, Pushed: at, Files: map[string]boot.Blob{"vmlinuz": {Digest: "d", Size: 3}}}))
		}
		do(tx.PutTemplate(&boot.Template{ID: 3, Name: "dropped", Version: 1, Pushed: at, Files: map[string]boot.Blob{"vmlinuz": {Digest: "d", Size: 3}}}))
		for _, n := range []string{"debian", "gone"} {
			do(tx.PutImage(&boot.Image{Name: n, Public: true, Imported: at, Files: map[string]boot.Blob{"vmlinuz": {Digest: "e", Size: 4}}}))
		}
		for _, c := range []boot.Counter{boot.LastHost, boot.LastTemplate, boot.PendingHosts, boot.AutoHosts, boot.NextInstall("lab"), boot.InstallSlot("lab", 0),
			boot.ApprovedBy("racks"), boot.Delivered("webhook chat"), boot.Undelivered("webhook chat")} {
			do(tx.SetCounter(c, uint64(len(c.Key()))))
		}
		do(tx.SetSecret("key", []byte{0, 1, 2}))
		for i := range 4 {
			_, err := tx.Append(boot.Event{At: at, Kind: boot.HostAdded, Host: 1, Text: fmt.Sprint("event ", i)})
			do(err)
		}
	} else {
		h, err := tx.Host(1)
		do(err)
		h.Name, h.MACs, h.Address = "renamed", h.MACs[:1], ip("10.0.0.6")
		do(tx.PutHost(h))
		h, err = tx.Host(2)
		do(err)
		do(tx.DeleteHost(h))
		do(tx.PutLease(boot.Lease{Network: "lab", Addr: ip("10.0.0.9"), Holder: boot.HeldBy(mac(7)), MAC: mac(7), Kind: boot.Dynamic, Starts: at, Expires: at.Add(2 * time.Hour)}))
		do(tx.PutLease(boot.Lease{Network: "lab", Addr: ip("10.0.1.2"), Holder: boot.HeldBy(mac(4)), MAC: mac(4), Kind: boot.Declined, Starts: at, Expires: at.Add(time.Hour)}))
		do(tx.DropTemplate("dropped"))
		do(tx.DeleteImage("gone"))
		do(tx.SetCounter(boot.PendingHosts, 7))
		do(tx.SetSecret("key", []byte{3}))
		_, err = tx.DropEvents(2, 10)
		do(err)
		_, err = tx.Append(boot.Event{At: at, Kind: boot.HostAdded, Host: 1, Text: "the last"})
		do(err)
	}
	return errors.Join(errs...)
}

// dump is every key and value; records in JSON as they are, the others in hex.
func dump(t *testing.T, path string) string {
	t.Helper()
	b, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var out strings.Builder
	if err := b.View(func(s store.Snapshot) error {
		for _, tab := range store.Tables() {
			s.Range(tab, nil, nil, func(k, v []byte) bool {
				text := hex.EncodeToString(v)
				if v[0] == 'j' {
					text = string(v)
				}
				fmt.Fprintf(&out, "%s %q %s\n", tab, k, text)
				return true
			})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// differ compares dumps line by line, in whatever order the tables are.
func differ(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	slices.Sort(g)
	slices.Sort(w)
	for _, l := range g {
		if !slices.Contains(w, l) {
			t.Errorf("more: %s", l)
		}
	}
	for _, l := range w {
		if !slices.Contains(g, l) {
			t.Errorf("gone: %s", l)
		}
	}
}

func golden(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("testdata/v1/muster.txt")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestOlderStoreOpens: what an older version left, in its file and in its log,
// is all there, is read, and may be written to.
func TestOlderStoreOpens(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "muster.db")
	for _, name := range []string{"muster.db", "muster.db-log0", "muster.db-log1"} {
		in, err := os.Open(filepath.Join("testdata/v1", name+".gz"))
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		z, err := gzip.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, z); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
	}
	differ(t, dump(t, path), golden(t))
	if _, err := os.Stat(path + ".older"); err != nil {
		t.Errorf("the older version's file is not kept: %v", err)
	}

	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Update(context.Background(), func(tx boot.Tx) error {
		h, err := tx.HostByName("renamed")
		if err != nil || h == nil || h.Serial != "SN-1" || h.Revision != 0 {
			return fmt.Errorf("host: %+v, %v", h, err)
		}
		if err := tx.PutHost(h); err != nil || h.Revision != 1 {
			return fmt.Errorf("host put: revision %d, %v", h.Revision, err)
		}
		if gone, err := tx.HostByName("gone"); gone != nil || err != nil {
			return fmt.Errorf("removed host: %+v, %v", gone, err)
		}
		l, err := tx.LeaseByHolder("lab", boot.ReadHolder("52:54:00:00:00:07"))
		if err != nil || l == nil || l.Addr.String() != "10.0.0.9" {
			return fmt.Errorf("lease: %+v, %v", l, err)
		}
		x, err := tx.TemplateByName("rescue")
		if err != nil || x == nil || x.Version != 2 {
			return fmt.Errorf("template: %+v, %v", x, err)
		}
		if n, err := tx.Counter(boot.Undelivered("webhook chat")); n != 17 || err != nil {
			return fmt.Errorf("counter: %d, %v", n, err)
		}
		if n, err := tx.Counter(boot.NamedBy("rescue")); n != 1 || err != nil {
			return fmt.Errorf("%d hosts name the template, %v", n, err)
		}
		if b, err := tx.Secret("key"); string(b) != "\x03" || err != nil {
			return fmt.Errorf("secret: %x, %v", b, err)
		}
		seq, err := tx.Append(boot.Event{Kind: boot.HostAdded})
		if seq != 6 || err != nil {
			return fmt.Errorf("next event: %d, %v", seq, err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// TestBytesOnDisk: this version writes what the older one wrote, but for the
// revisions and the counts of hosts that it adds, and for its number.
func TestBytesOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "muster.db")
	for part := range 2 {
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Update(context.Background(), func(tx boot.Tx) error { return fill(tx, part) }); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.Replace(golden(t), `meta "schema" 0000000000000001`, "meta \"schema\" 0000000000000004\ncounter \"hosts of template rescue\" 0000000000000001", 1)
	differ(t, strings.ReplaceAll(dump(t, path), `,"revision":2}`, "}"), want)
}
