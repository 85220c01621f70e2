package journal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

func entry(mac byte, why string) boot.Request {
	return boot.Request{At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), MAC: boot.MAC{0x52, 0, 0, 0, 0, mac}, Via: boot.TFTP, Why: why}
}

func readAll(t *testing.T, path string) (out []boot.Request) {
	t.Helper()
	if err := Read(path, func(r boot.Request) { out = append(out, r) }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWrittenAndReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests.log")
	for i := range 2 {
		j, err := Open(path, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if !j.Add(entry(1, strings.Repeat("x", i+1))) {
			t.Fatal("entry dropped")
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		// A crash in mid-line.
		f, _ := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		f.WriteString(`{"seq":1,"at":"20`)
		f.Close()
	}
	got := readAll(t, path)
	if len(got) != 2 || got[0].Why != "x" || got[1].Why != "xx" {
		t.Fatalf("read back %+v", got)
	}
}

func TestFileIsCapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests.log")
	for range 20 {
		j, err := Open(path, 20_000)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			j.Add(entry(byte(i), strings.Repeat("y", 200)))
		}
		j.Close()
	}
	var total int64
	for _, p := range []string{path, path + ".1"} {
		st, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		total += st.Size()
	}
	if total > 40_000 {
		t.Fatalf("both files hold %d bytes, the cap is 40000", total)
	}
}

func TestOneMachineCannotOwnTheFile(t *testing.T) {
	j, err := Open(filepath.Join(t.TempDir(), "requests.log"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	took := 0
	for range 2000 {
		if j.Add(entry(1, "")) {
			took++
		}
	}
	if took != machineBudget {
		t.Fatalf("one machine wrote %d lines in a minute, the budget is %d", took, machineBudget)
	}
	if !j.Add(entry(2, "")) {
		t.Fatal("another machine has no budget left")
	}
}
