package appliance

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/seal"
)

// TestSealed: the appliance's own keys are sealed in the store, one from before is
// sealed at the start, and a store without its key is refused in words.
func TestSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab)
		r.run()
		stored := func() (b []byte) {
			must(t, r.store.View(t.Context(), func(tx boot.ReadTx) (err error) { b, err = tx.Secret("token-key"); return err }))
			return b
		}
		if b := stored(); !seal.Sealed(b) || bytes.Contains(b, r.key[:]) {
			t.Errorf("%q", b)
		}
		old := bytes.Repeat([]byte{5}, len(r.key))
		must(t, r.store.Update(t.Context(), func(tx boot.Tx) error { return tx.SetSecret("token-key", old) }))
		if k, err := r.tokenKey(t.Context()); err != nil || !bytes.Equal(k[:], old) || !seal.Sealed(stored()) {
			t.Errorf("one from before: %x, %v", k, err)
		}
		if k, err := r.tokenKey(t.Context()); err != nil || !bytes.Equal(k[:], old) {
			t.Errorf("again: %x, %v", k, err)
		}
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, seal.FileName), bytes.Repeat([]byte{1}, 32), 0o600))
		other, _, err := seal.Open(dir, "")
		must(t, err)
		r.seal = other
		if _, err := r.tokenKey(t.Context()); err == nil || !strings.Contains(err.Error(), "put the") || !strings.Contains(err.Error(), seal.FileName) {
			t.Errorf("without its key: %v", err)
		}
		if _, err := (vault{r.daemon}).Load("token-key"); err == nil {
			t.Error("the vault opens what another key sealed")
		}
	})
}

// TestExplainShowsNoSecret: whoever may ask for an explanation sees stars.
func TestExplainShowsNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab)
		r.run()
		ref := boot.Ref{Machine: boot.Machine{Name: "web1", Sealed: map[string]boot.Sealed{"rootpw": {Place: "param/7/rootpw", Data: r.seal.Seal("param/7/rootpw", []byte("correct horse"))}}}}
		var got string
		for _, with := range []*seal.Key{r.seal, nil} {
			c := r.content()
			c.Seal = with
			m, err := c.Unsealed(ref.Machine)
			must(t, err)
			got += m.Params["rootpw"] + " "
		}
		if got != "correct horse ******** " {
			t.Errorf("%q", got)
		}
		moved := ref.Machine.Sealed["rootpw"]
		moved.Place = "param/8/rootpw"
		ref.Machine.Sealed["rootpw"] = moved
		if _, err := r.content().Unsealed(ref.Machine); err == nil || !strings.Contains(err.Error(), "give it again") {
			t.Errorf("another host's: %v", err)
		}
	})
}
