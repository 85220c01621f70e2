package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/seal"
	"github.com/musterboot/muster/store/bolt"
)

// TestRestoreKey: what is sealed stays with the key that opens it, wherever that is kept,
// and is given up with words without it. A key that opens nothing is kept beside.
func TestRestoreKey(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	k, err := seal.New(key)
	must(t, err)
	dir := t.TempDir()
	s, err := bolt.Open(filepath.Join(dir, "muster.db"))
	must(t, err)
	must(t, s.Update(t.Context(), func(tx boot.Tx) error {
		must(t, tx.SetSecret("token-key", k.Seal("token-key", []byte("key of boot paths"))))
		must(t, tx.SetSecret("open", []byte("was never sealed")))
		must(t, tx.SetSecret(boot.Place(boot.HostScope, 1, "pw"), k.Seal(boot.Place(boot.HostScope, 1, "pw"), []byte("x"))))
		for scope, params := range map[boot.Scope]map[string]string{boot.Site: {"disk": "/dev/sda"}, boot.TagScope("db"): nil} {
			at := boot.Place(scope, 0, "pw")
			must(t, tx.SetSecret(at, k.Seal(at, []byte("x"))))
			must(t, tx.PutValues(&boot.Values{Scope: scope, Params: params, Secrets: []string{"pw"}}))
		}
		return tx.PutHost(&boot.Host{ID: 1, Name: "web1", State: boot.Approved, MACs: []boot.MAC{{2}}, Secrets: []string{"pw"}})
	}))
	must(t, s.Close())
	must(t, os.WriteFile(filepath.Join(dir, seal.FileName), key, 0o600))
	file := filepath.Join(t.TempDir(), "muster.tar")
	f, err := os.Create(file)
	must(t, err)
	id, err := age.GenerateX25519Identity()
	must(t, err)
	must(t, backupStore(t.Context(), f, dir, "", false, id.Recipient().String()))
	must(t, f.Close())

	for what, c := range map[string]struct {
		inDir, credential []byte
		opened, keeps     bool
		beside            int
	}{
		"the same key":              {inDir: key, keeps: true},
		"the same, as credential":   {credential: key, keeps: true},
		"none":                      {},
		"another":                   {inDir: bytes.Repeat([]byte{8}, 32)},
		"another, and the backup's": {inDir: bytes.Repeat([]byte{8}, 32), opened: true, keeps: true, beside: 1},
		"none, and the backup's":    {opened: true, keeps: true},
		"another, as a credential":  {credential: bytes.Repeat([]byte{8}, 32)},
	} {
		to, credentials := t.TempDir(), t.TempDir()
		if c.inDir != nil {
			must(t, os.WriteFile(filepath.Join(to, seal.FileName), c.inDir, 0o600))
		}
		if c.credential != nil {
			must(t, os.WriteFile(filepath.Join(credentials, seal.Credential), c.credential, 0o600))
		}
		identity := ""
		if c.opened {
			identity = filepath.Join(credentials, "identity")
			must(t, os.WriteFile(identity, []byte(id.String()+"\n"), 0o600))
		}
		out, err := restoreStore(t.Context(), file, to, credentials, false, identity, "")
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if said := strings.Join(out.Notes, "\n"); strings.Contains(said, "the sealing key of the backup is not here") == c.keeps || strings.Contains(said, "web1 pw") == c.keeps || strings.Contains(said, "tag/db pw") == c.keeps || strings.Contains(said, "site pw") == c.keeps {
			t.Errorf("%s: it says %s", what, said)
		}
		if l, _ := filepath.Glob(filepath.Join(to, seal.FileName+".*")); len(l) != c.beside {
			t.Errorf("%s: %q are kept", what, l)
		}
		if b, _ := os.ReadFile(filepath.Join(to, seal.FileName)); c.opened && !bytes.Equal(b, key) {
			t.Errorf("%s: the key is %x", what, b)
		}
		s, err := bolt.Open(filepath.Join(to, "muster.db"))
		must(t, err)
		must(t, s.View(t.Context(), func(tx boot.ReadTx) error {
			for place, keeps := range map[string]bool{"token-key": c.keeps, boot.Place(boot.HostScope, 1, "pw"): c.keeps, "param/site/pw": c.keeps, "param/tag/db/pw": c.keeps, "open": true} {
				if b, err := tx.Secret(place); err != nil || (len(b) > 0) != keeps {
					t.Errorf("%s: %s is %q, %v", what, place, b, err)
				}
			}
			h, err := tx.HostByName("web1")
			if err != nil || (len(h.Secrets) == 1) != c.keeps {
				t.Errorf("%s: %+v, %v", what, h, err)
			}
			site, err := tx.Values(boot.Site)
			tag, err2 := tx.Values(boot.TagScope("db"))
			if err != nil || err2 != nil || site == nil || site.Params["disk"] != "/dev/sda" || (len(site.Secrets) == 1) != c.keeps || (tag != nil) != c.keeps {
				t.Errorf("%s: the site has %+v, the tag %+v, %v, %v", what, site, tag, err, err2)
			}
			return nil
		}))
		must(t, s.Close())
	}
}
