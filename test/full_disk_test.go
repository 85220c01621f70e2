// full_disk_test.go: a data directory without room.

package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk: on a full disk Muster starts after a kill, with what was acknowledged
// before, says what is wrong, and still keeps what it acknowledges; with room again it
// goes on as ever.
func TestFullDisk(t *testing.T) {
	r := newRig(t)
	disk := t.TempDir()
	must(t, syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=24m"))
	t.Cleanup(func() { syscall.Unmount(disk, syscall.MNT_DETACH) })
	r.data = filepath.Join(disk, "data")
	r.serveConfig(fullNetwork)
	list := filepath.Join(t.TempDir(), "list.csv")
	var b bytes.Buffer
	b.WriteString("name,mac\n")
	for i := range 3000 {
		fmt.Fprintf(&b, "h%d,52:54:00:01:%02x:%02x\n", i, i>>8, i&255)
	}
	must(t, os.WriteFile(list, b.Bytes(), 0o644))
	r.muster("host", "import", list)
	r.stop(true) // what is in the log is not in muster.db
	fill := func() {
		t.Helper()
		f, err := os.Create(filepath.Join(disk, "fill"))
		must(t, err)
		defer f.Close()
		for _, n := range []int{1 << 16, 1} {
			for err = nil; err == nil; _, err = f.Write(make([]byte, n)) {
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
		}
	}
	fill()
	r.serveConfig(fullNetwork)
	if n := len(r.hosts()); n != 3000 {
		t.Errorf("%d hosts", n)
	}
	if s := r.fails("doctor"); !strings.Contains(s, "0 MiB left") {
		t.Errorf("doctor does not say it:\n%s", s)
	}
	r.muster("host", "add", "one-more", "--mac", "52:54:00:99:99:99")
	r.stop(true)
	r.serveConfig(fullNetwork)
	if r.show("one-more").Name != "one-more" || len(r.hosts()) != 3001 {
		t.Errorf("of 3001 hosts %d are there", len(r.hosts()))
	}
	must(t, os.Remove(filepath.Join(disk, "fill")))
	for i := range 3 {
		r.muster("host", "add", fmt.Sprint("later", i), "--serial", fmt.Sprintf("LATER-%04d", i))
	}
	r.stop(false)
	if s := r.muster("store", "check"); !strings.Contains(s, "all whole") {
		t.Error(s)
	}
	r.serveConfig(fullNetwork)
	if n := len(r.hosts()); n != 3004 {
		t.Errorf("%d hosts", n)
	}
}
