// report.go: reads a machine's report in the forms that installers send: a
// query, a form (cloud-init's phone_home, curl -d), a multipart form (curl -F)
// or JSON. Facts are the output of lscpu, lsblk, lspci and ip as those programs
// print it. A rescue system has these programs, so it needs no agent of ours.

package httpboot

import (
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/musterboot/muster/boot"
)

// maxFields bounds the fields of one report.
const maxFields = 64

// readReport adds what the body says. A body that cannot be read adds nothing,
// but the report itself still counts.
func readReport(r *http.Request, in *boot.Sighting) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Header.Get("Content-Type") == "" {
		kind, err = "application/json", nil // cloud-init's webhook says nothing
	}
	if err != nil {
		return
	}
	fields := map[string]string{}
	switch kind {
	case "application/x-www-form-urlencoded":
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		in.ReadQuery(string(b)) // first, because in a query '+' is a plus; older reports rely on it
		if v, err := url.ParseQuery(string(b)); err == nil && len(v) <= maxFields {
			for k := range v {
				fields[k] = v.Get(k)
			}
		}
	case "multipart/form-data":
		mr := multipart.NewReader(r.Body, params["boundary"])
		for range maxFields {
			p, err := mr.NextPart()
			if err != nil {
				break
			}
			b, err := io.ReadAll(p)
			if err != nil {
				break
			}
			if _, has := fields[p.FormName()]; !has {
				fields[p.FormName()] = string(b)
			}
		}
	case "application/json":
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var v map[string]json.RawMessage
		if json.Unmarshal(b, &v) != nil || len(v) > maxFields {
			return
		}
		for k, raw := range v {
			var s string
			if json.Unmarshal(raw, &s) != nil {
				s = string(raw) // lsblk -J as it is
			}
			fields[k] = s
		}
	}
	q := &in.Want.Query
	if q.Stage == "" {
		q.Stage = fields["stage"]
	}
	if q.Text == "" {
		q.Text = fields["text"]
	}
	if q.Version == "" {
		q.Version = fields["version"]
	}
	// cloud-init's phone_home names the running system in its form.
	if h := fields["hostname"]; h != "" && q.Text == "" && fields["instance_id"] != "" {
		q.Text = "cloud-init of " + h
	}
	q.Progress = progress(fields)
	in.Facts = facts(fields)
}

// progress is a step as cloud-init's and subiquity's webhooks tell it: what begins, what
// fails, and the end of a whole stage. The smallest steps, of which there are a hundred, are left out.
func progress(f map[string]string) string {
	name, what := f["name"], f["description"]
	if name == "" || f["event_type"] != "start" && f["event_type"] != "finish" {
		return ""
	}
	if what == "" || what == name {
		what = name
	} else {
		what = name + ": " + what
	}
	failed := f["result"] == "FAIL" || f["result"] == "WARN"
	deep := 1
	if strings.HasPrefix(name, "subiquity/Install/") {
		deep = 4 // curtin's steps: partitioning, extract, curthooks
	}
	small := strings.Count(name, "/") > deep || strings.HasPrefix(path.Base(name), "config-")
	switch {
	case failed:
		return what + " (" + strings.ToLower(f["result"]) + ")"
	case f["event_type"] == "start" && !small:
		return what
	case f["event_type"] == "finish" && !strings.Contains(name, "/"):
		// cloud-init knows where to report to only when a stage has begun.
		return what + " (done)"
	}
	return ""
}

// facts reads an inventory; nil where there is none.
func facts(f map[string]string) *boot.Inventory {
	v := &boot.Inventory{}
	readCPU(f["lscpu"], v)
	readDisks(f["lsblk"], v)
	readNICs(f["ip"], v)
	for line := range strings.Lines(f["lspci"]) {
		if line = strings.TrimSpace(line); line != "" && len(v.PCI) < maxPCI {
			v.PCI = append(v.PCI, line)
		}
	}
	v.Memory = readMemory(f["meminfo"])
	if v.CPU == "" && v.Threads == 0 && v.Memory == 0 && len(v.Disks)+len(v.NICs)+len(v.PCI) == 0 {
		return nil
	}
	return v
}

// maxPCI bounds what is kept of lspci.
const maxPCI = 256

// readCPU reads lscpu, plain or with -J.
func readCPU(s string, v *boot.Inventory) {
	cores := 0
	set := func(k, val string) {
		val = strings.TrimSpace(val)
		n, _ := strconv.Atoi(val)
		if n < 0 || n > 1<<20 {
			n = 0
		}
		switch strings.TrimSuffix(strings.TrimSpace(k), ":") {
		case "Model name":
			if v.CPU == "" {
				v.CPU = val
			}
		case "Architecture":
			v.Arch = val
		case "Socket(s)":
			v.Sockets = n
		case "CPU(s)":
			v.Threads = n
		case "Core(s) per socket":
			cores = n
		}
	}
	type field struct {
		Field    string  `json:"field"`
		Data     string  `json:"data"`
		Children []field `json:"children"`
	}
	var j struct {
		Lscpu []field `json:"lscpu"`
	}
	if json.Unmarshal([]byte(s), &j) == nil {
		var walk func([]field, int)
		walk = func(l []field, depth int) {
			for _, x := range l {
				set(x.Field, x.Data)
				if depth < 8 {
					walk(x.Children, depth+1)
				}
			}
		}
		walk(j.Lscpu, 0)
	} else {
		for line := range strings.Lines(s) {
			if k, val, ok := strings.Cut(line, ":"); ok {
				set(k, val)
			}
		}
	}
	v.Cores = cores * max(v.Sockets, 1)
}

// readDisks reads lsblk -J, with -b or without.
func readDisks(s string, v *boot.Inventory) {
	type device struct {
		Name   string          `json:"name"`
		Type   string          `json:"type"`
		Size   json.RawMessage `json:"size"`
		Model  string          `json:"model"`
		Serial string          `json:"serial"`
		Bus    string          `json:"tran"`
		Spins  json.RawMessage `json:"rota"`
	}
	var j struct {
		Devices []device `json:"blockdevices"`
	}
	if json.Unmarshal([]byte(s), &j) != nil {
		return
	}
	for _, d := range j.Devices {
		if d.Type != "disk" && d.Type != "" || len(v.Disks) == 128 {
			continue
		}
		v.Disks = append(v.Disks, boot.Disk{Name: d.Name, Model: d.Model, Serial: d.Serial, Bus: d.Bus,
			Size: readSize(strings.Trim(string(d.Size), `"`)), Spins: slices.Contains([]string{"true", `"1"`, "1"}, string(d.Spins))})
	}
}

// readSize reads bytes, or lsblk's "1.8T".
func readSize(s string) int64 {
	unit := float64(1)
	if n := len(s); n > 0 {
		if i := strings.IndexByte("KMGTP", s[n-1]); i >= 0 {
			s = s[:n-1]
			for range i + 1 {
				unit *= 1024
			}
		}
	}
	f, err := strconv.ParseFloat(strings.Replace(s, ",", ".", 1), 64)
	if err != nil || !(f >= 0 && f*unit <= 1<<60) { // "nan" is a number to ParseFloat
		return 0
	}
	return int64(f * unit)
}

// readNICs reads ip -j link, or ip -j addr.
func readNICs(s string, v *boot.Inventory) {
	var l []struct {
		Name  string `json:"ifname"`
		MAC   string `json:"address"`
		State string `json:"operstate"`
		Kind  string `json:"link_type"`
	}
	if json.Unmarshal([]byte(s), &l) != nil {
		return
	}
	for _, x := range l {
		if x.Kind == "loopback" || len(v.NICs) == 128 {
			continue
		}
		n := boot.NIC{Name: x.Name, State: strings.ToLower(x.State)}
		n.MAC, _ = boot.ParseMAC(x.MAC)
		v.NICs = append(v.NICs, n)
	}
}

// readMemory reads MemTotal of /proc/meminfo, in bytes.
func readMemory(s string) int64 {
	for line := range strings.Lines(s) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err == nil && n > 0 && n < 1<<44 {
				return n << 10
			}
		}
	}
	return 0
}
