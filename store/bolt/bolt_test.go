package bolt

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opener {
		path := filepath.Join(t.TempDir(), "muster.db")
		t.Cleanup(func() {
			if _, damage, err := Check(path); err != nil || len(damage) > 0 {
				t.Errorf("after the test: %q, %v", damage, err)
			}
		})
		return func() (boot.Store, error) { return Open(path) }
	})
}

func TestSecondOpenerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "muster.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := Open(path); !errors.Is(err, boot.ErrInUse) {
		t.Fatalf("second open: %v, want ErrInUse", err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "muster.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		k, v := []byte("schema"), []byte{0, 0, 0, 0, 0, 0, 0, 99}
		return tx.Bucket([]byte("meta")).Put(k, seal(nil, "meta", k, v))
	}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := Open(path); !errors.Is(err, boot.ErrTooNew) {
		t.Fatalf("open of schema 99: %v, want ErrTooNew", err)
	}
}

func TestDamagedFileIsAnError(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		"text":  []byte(strings.Repeat("this is no database\n", 1000)),
		"short": {1, 2, 3},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(path); err == nil {
			s.Close()
			t.Errorf("%s: opened", name)
		}
	}
}

// TestKilledWriter kills a process in the middle of its commits and asks that
// everything it acknowledged is there.
func TestKilledWriter(t *testing.T) {
	if path := os.Getenv("MUSTER_TEST_WRITER"); path != "" {
		writeForEver(path)
	}
	path := filepath.Join(t.TempDir(), "muster.db")
	acked := 0
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
		cmd.Env = append(os.Environ(), "MUSTER_TEST_WRITER="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var first, last int
		for lines := 0; lines < 40*(round+1); lines++ {
			if _, err := fmt.Fscanln(out, &last); err != nil {
				t.Fatal(err)
			}
			if first == 0 {
				first = last
			}
		}
		cmd.Process.Kill()
		for { // what was still in the pipe was acknowledged too
			var n int
			if _, err := fmt.Fscanln(out, &n); err != nil {
				break
			}
			last = n
		}
		cmd.Wait()
		if _, damage, err := Check(path); err != nil || len(damage) > 0 {
			t.Fatalf("round %d: %q, %v", round, damage, err)
		}
		acked = last
		s, err := Open(path)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		err = s.View(context.Background(), func(tx boot.ReadTx) error {
			for i := 1; i <= acked; i++ {
				if l, err := tx.Lease("lab", addr(i)); err != nil || l == nil {
					return fmt.Errorf("acknowledged lease %d is gone: %v", i, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		s.Close()
	}
	t.Logf("%d acknowledged leases over five kills", acked)
}

func addr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func writeForEver(path string) {
	s, err := Open(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	start := 1
	s.View(context.Background(), func(tx boot.ReadTx) error {
		for ; ; start++ {
			if l, _ := tx.Lease("lab", addr(start)); l == nil {
				return nil
			}
		}
	})
	for i := start; ; i++ {
		if err := s.Update(context.Background(), func(tx boot.Tx) error {
			return tx.PutLease(boot.Lease{Network: "lab", Addr: addr(i), Holder: boot.ReadHolder(fmt.Sprint(i)), Kind: boot.Dynamic, Expires: time.Now().Add(time.Hour)})
		}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}
