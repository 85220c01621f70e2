// table.go: samples to a Markdown table of medians and ratios, and the line
// that says where they were measured.

package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// table collects samples. The first server is the one that the others are
// compared with.
type table struct {
	title   string
	servers []string
	notes   []string
	rows    []*row
	growth  bool // a ratio is the other server's value to the first one's, not the reverse
	best    bool // one ratio, to the best of the other servers in that row
}

type row struct {
	name, unit string
	values     map[string][]float64
}

func newTable(title string, ps []program) *table {
	t := &table{title: title}
	for _, p := range ps {
		t.servers = append(t.servers, p.name)
	}
	return t
}

func (t *table) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// add notes one sample. Rows appear in the order of their first.
func (t *table) add(name, unit string, p program, v float64) {
	i := slices.IndexFunc(t.rows, func(r *row) bool { return r.name == name })
	if i < 0 {
		i = len(t.rows)
		t.rows = append(t.rows, &row{name, unit, map[string][]float64{}})
	}
	t.rows[i].values[p.name] = append(t.rows[i].values[p.name], v)
}

// delays notes one run's mean, median, 99th percentile and worst, in
// milliseconds.
func (t *table) delays(name string, p program, v []float64) {
	if len(v) == 0 {
		return
	}
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	s := slices.Sorted(slices.Values(v))
	t.add(name+", mean", "ms", p, sum/float64(len(s)))
	t.add(name+", p50", "ms", p, median(s))
	t.add(name+", p99", "ms", p, s[(99*len(s)+99)/100-1])
	t.add(name+", worst", "ms", p, s[len(s)-1])
}

func (t *table) print(w io.Writer) {
	first, peers := t.servers[0], t.servers[1:]
	if t.best {
		peers = []string{"best of the others"}
	}
	fmt.Fprintf(w, "\n### %s\n\n| |", t.title)
	for _, s := range t.servers {
		fmt.Fprintf(w, " %s |", s)
	}
	for _, s := range peers {
		if t.growth {
			fmt.Fprintf(w, " %s/%s |", s, first)
		} else {
			fmt.Fprintf(w, " %s/%s |", first, s)
		}
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---:|", len(t.servers)+len(peers)))
	for _, r := range t.rows {
		fmt.Fprintf(w, "| %s, %s |", r.name, r.unit)
		for _, s := range t.servers {
			fmt.Fprintf(w, " %s |", spread(r.values[s]))
		}
		if t.best {
			fmt.Fprintf(w, " %s |\n", r.toBest(first, t.servers[1:]))
			continue
		}
		for _, s := range peers {
			over, under := r.values[first], r.values[s]
			if t.growth {
				over, under = under, over
			}
			fmt.Fprintf(w, " %s |", ratio(over, under))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	for _, n := range t.notes {
		fmt.Fprintf(w, "- %s\n", n)
	}
}

// toBest is a row's ratio to the best of the other servers, and that server's
// name.
func (r *row) toBest(first string, peers []string) string {
	best := ""
	for _, p := range peers {
		switch v := r.values[p]; {
		case len(v) == 0:
		case best == "",
			r.more() && median(v) > median(r.values[best]),
			!r.more() && median(v) < median(r.values[best]):
			best = p
		}
	}
	if best == "" || len(r.values[first]) == 0 {
		return "–"
	}
	return ratio(r.values[first], r.values[best]) + " (" + best + ")"
}

// more reports whether a higher value is better: for rates and gains it is.
func (r *row) more() bool { return strings.HasSuffix(r.unit, "/s") || r.unit == "times" }

// spread is "median (least–most)".
func spread(v []float64) string {
	if len(v) == 0 {
		return "–"
	}
	if len(v) == 1 {
		return digits(v[0])
	}
	return fmt.Sprintf("%s (%s–%s)", digits(median(v)), digits(slices.Min(v)), digits(slices.Max(v)))
}

// ratio is the quotient of the medians.
func ratio(a, b []float64) string {
	if len(a) == 0 || len(b) == 0 || median(b) == 0 {
		return "–"
	}
	return digits(median(a) / median(b))
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// digits rounds to three figures; the noise hides any further ones.
func digits(x float64) string {
	if x == 0 {
		return "0"
	}
	return fmt.Sprintf("%.*f", max(0, 2-int(math.Floor(math.Log10(math.Abs(x))))), x)
}

// thousands writes 50000 as 50,000.
func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

func bytesText(n int) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	if n < 1<<30 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}

// machine describes where the figures come from.
func machine(dir string) string {
	var u syscall.Utsname
	kernel := "?"
	if syscall.Uname(&u) == nil {
		var b []byte
		for _, c := range u.Release {
			if c == 0 {
				break
			}
			b = append(b, byte(c))
		}
		kernel = string(b)
	}
	model := "processor unknown"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	fs := said("findmnt", "-no", "FSTYPE,SOURCE", "-T", dir)
	s := fmt.Sprintf("Machine: %d cores (%s), Linux %s, %s, data on %s.", runtime.NumCPU(), model, kernel, runtime.Version(), fs)
	var have []string
	for _, p := range []string{"kea-dhcp4-server", "kea-dhcp6-server", "dnsmasq-base", "nginx"} {
		if v := said("dpkg-query", "-W", "-f", "${Version}", p); v != "?" {
			have = append(have, p+" "+v)
		}
	}
	for _, p := range []string{"in.tftpd", "atftpd"} {
		if bin, err := unpacked(p); err == nil {
			have = append(have, said(bin, "-V"))
		}
	}
	return s + "\nPeers: " + strings.Join(have, ", ") + "."
}

// said is the first line that a command prints.
func said(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	if err != nil && len(line) == 0 {
		return "?"
	}
	return strings.Join(strings.Fields(string(line)), " ")
}
