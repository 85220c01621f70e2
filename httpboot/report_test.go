// report_test.go: what installers post, and what nobody should.

package httpboot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/engine"
	"github.com/musterboot/muster/internal/nettest"
	"github.com/musterboot/muster/store/mem"
)

func post(kind, body string) boot.Sighting {
	r := httptest.NewRequest("POST", "/boot/x/report", strings.NewReader(body))
	r.Header.Set("Content-Type", kind)
	in, _ := parse(r, time.Now())
	return in
}

const (
	lsblk = `{"blockdevices": [
	  {"name":"loop0","type":"loop","size":4096},
	  {"name":"sda","type":"disk","size":480103981056,"model":"SAMSUNG MZ7LH480","serial":"S45PNA0M","tran":"sata","rota":false,
	   "children":[{"name":"sda1","type":"part","size":1}]},
	  {"name":"sdb","type":"disk","size":"1.8T","model":null,"serial":null,"tran":null,"rota":"1"}]}`
	ipLink = `[{"ifindex":1,"ifname":"lo","link_type":"loopback","address":"00:00:00:00:00:00"},
	  {"ifindex":2,"ifname":"eno1","link_type":"ether","operstate":"UP","address":"52:54:00:aa:bb:01"},
	  {"ifindex":3,"ifname":"ib0","link_type":"infiniband","operstate":"DOWN","address":"80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:00:00:01"}]`
	lscpu = "Architecture:  x86_64\nCPU(s):   64\nModel name:  AMD EPYC 7543 32-Core Processor\nCore(s) per socket:  16\nSocket(s):  2\n"
)

func TestReportFacts(t *testing.T) {
	want := &boot.Inventory{CPU: "AMD EPYC 7543 32-Core Processor", Arch: "x86_64", Sockets: 2, Cores: 32, Threads: 64, Memory: 263856664 << 10,
		Disks: []boot.Disk{{Name: "sda", Size: 480103981056, Model: "SAMSUNG MZ7LH480", Serial: "S45PNA0M", Bus: "sata"}, {Name: "sdb", Size: 1979120929996, Spins: true}},
		NICs:  []boot.NIC{{Name: "eno1", MAC: boot.MAC{0x52, 0x54, 0, 0xaa, 0xbb, 1}, State: "up"}, {Name: "ib0", State: "down"}},
		PCI:   []string{"00:00.0 Host bridge", "01:00.0 Ethernet controller"}}
	fields := map[string]string{"stage": "installed", "text": "a & b = ü", "lscpu": lscpu, "lsblk": lsblk, "ip": ipLink,
		"lspci": "00:00.0 Host bridge\n\n01:00.0 Ethernet controller\n", "meminfo": "MemTotal:       263856664 kB\nMemFree: 1 kB\n"}

	form := url.Values{}
	var multi bytes.Buffer
	mw := multipart.NewWriter(&multi)
	json := []string{}
	for k, v := range fields {
		form.Set(k, v)
		if err := mw.WriteField(k, v); err != nil {
			t.Fatal(err)
		}
		if k == "lsblk" || k == "ip" {
			json = append(json, fmt.Sprintf("%q: %s", k, v))
		} else {
			json = append(json, fmt.Sprintf("%q: %q", k, v))
		}
	}
	mw.Close()
	for kind, body := range map[string]string{"application/x-www-form-urlencoded": form.Encode(), mw.FormDataContentType(): multi.String(), "application/json; charset=utf-8": "{" + strings.Join(json, ",") + "}"} {
		in := post(kind, body)
		if in.Want.Query.Stage != "installed" || kind[12] != 'x' && in.Want.Query.Text != "a & b = ü" {
			t.Errorf("%s: stage %q, text %q", kind, in.Want.Query.Stage, in.Want.Query.Text)
		}
		if !reflect.DeepEqual(in.Facts, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", kind, in.Facts, want)
		}
	}
	if got := want.String(); got != "2 x AMD EPYC 7543 32-Core Processor (64 threads), 252 GiB of memory, 2 disks, 2 network interfaces, 2 PCI devices" {
		t.Errorf("in a line: %s", got)
	}
}

// TestReportFactsOfThisMachine: what the programs print today.
func TestReportFactsOfThisMachine(t *testing.T) {
	nettest.Need(t, "lscpu")
	for _, args := range [][]string{{"lscpu"}, {"lscpu", "-J"}} {
		out, err := exec.Command(args[0], args[1:]...).Output()
		if err != nil {
			t.Fatal(err)
		}
		v := &boot.Inventory{}
		readCPU(string(out), v)
		if v.Arch == "" || v.Threads == 0 {
			t.Errorf("%v is read as %+v", args, v)
		}
	}
}

// TestReportSizes: sizes as lsblk writes them, and what is none.
func TestReportSizes(t *testing.T) {
	for text, want := range map[string]int64{"480103981056": 480103981056, "1.8T": 1979120929996, "1,5K": 1536, "0": 0, "": 0, "T": 0, "-1": 0, "2E": 0, "1025P": 0, "1024P": 1 << 60, "inf": 0, "nan": 0, "nanT": 0} {
		if got := readSize(text); got != want {
			t.Errorf("%q is read as %d, want %d", text, got, want)
		}
	}
}

func TestReportForms(t *testing.T) {
	for name, c := range map[string]struct{ kind, body, stage, text string }{
		"cloud-init phone_home": {"application/x-www-form-urlencoded", "pub_key_rsa=ssh-rsa+AAAA&instance_id=i-1&hostname=web1&fqdn=web1.lab", "", "cloud-init of web1"},
		"wget":                  {"application/x-www-form-urlencoded", "stage=failed&text=no%20disk", "failed", "no disk"},
		"a number for a text":   {"application/json", `{"stage": 5, "text": null}`, "5", ""},
		"no form":               {"text/plain", "stage=failed", "", ""},
		"no boundary":           {"multipart/form-data", "stage=failed", "", ""},
		"half a form":           {"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"stage\"\r\n\r\nfailed", "", ""},
		"half of JSON":          {"application/json", `{"stage": "failed"`, "", ""},
		"an endless type":       {"application/json; " + strings.Repeat("a=b;", 1000), `{}`, "", ""},
	} {
		in := post(c.kind, c.body)
		if in.Want.Query.Stage != c.stage || in.Want.Query.Text != c.text || in.Facts != nil {
			t.Errorf("%s: stage %q, text %q, facts %v", name, in.Want.Query.Stage, in.Want.Query.Text, in.Facts)
		}
	}
}

// reporter is a machine on the roll of a real engine, in its first boot, with a token
// for its reports.
type reporter struct {
	store  boot.Store
	engine *engine.Engine
	api    *Handler
	token  string
}

func newReporter(t *testing.T) *reporter {
	t.Helper()
	s, err := mem.Open()
	must(t, err)
	t.Cleanup(func() { s.Close() })
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	e := engine.New(s, engine.NewRequestLog(nil), log)
	t.Cleanup(e.Close)
	p := boot.Policy{Key: boot.Key{9}, Networks: []boot.Network{{Name: "lab", Interface: "eth1", Mode: boot.Proxy, Server: netip.MustParseAddr("10.0.0.1"), Subnet: netip.MustParsePrefix("10.0.0.0/24")}}}
	must(t, e.SetPolicy(t.Context(), p))
	now := time.Now()
	must(t, s.Update(t.Context(), func(tx boot.Tx) error {
		return tx.PutHost(&boot.Host{ID: 1, Name: "web1", State: boot.Approved, MACs: []boot.MAC{{0x52, 0x54, 0, 0xaa, 0xbb, 1}}, Boots: 1, Created: now, Changed: now})
	}))
	return &reporter{s, e, NewHandler(e, nil, log), p.Key.Sign(boot.Token{Kind: boot.ReportToken, Host: 1, Boot: 1, Issued: now})}
}

// stored is all that reports left behind.
func (r *reporter) stored(t *testing.T) (h *boot.Host, v *boot.Inventory, es []boot.Event) {
	t.Helper()
	must(t, r.store.View(t.Context(), func(tx boot.ReadTx) (err error) {
		if h, err = tx.Host(1); err == nil {
			if v, err = tx.Inventory(1); err == nil {
				es, err = tx.Events(0, 1000)
			}
		}
		return err
	}))
	return h, v, es
}

// eachText calls fn for every text in a value as it is stored or sent.
func eachText(t *testing.T, v any, fn func(string)) {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	d := json.NewDecoder(bytes.NewReader(b))
	for {
		x, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
		if s, ok := x.(string); ok {
			fn(s)
		}
	}
}

// FuzzReport: whatever a machine reports, in whatever form, the answer is a line, and
// what is stored of it is text, within its bounds, that is read as it was written.
func FuzzReport(f *testing.F) {
	f.Add("stage=installed&text=done%20%1b[2J&serial=SN-1", "", "")
	f.Add("", "application/x-www-form-urlencoded", "stage=failed&text=no%20disk&lspci="+strings.Repeat("00:00.0%0a", 300))
	f.Add("", "application/json", `{"lsblk":`+lsblk+`,"ip":`+ipLink+`,"stage":"\u009b","meminfo":"MemTotal: 1 kB"}`)
	f.Add("", "application/json", `{"lscpu":{"lscpu":[{"field":"Model name:","data":"a\u001bb\u202ec","children":[{"field":"CPU(s):","data":"4"}]}]}}`)
	f.Add("", "application/json", `{"lsblk":{"blockdevices":[{"size":"nan"},{"size":"-infT"},{"size":"1e300"},{"size":"0x1p59P"}]},"lscpu":"CPU(s): 1048576\nCore(s) per socket: 1048576\nSocket(s): 1048576\n"}`)
	f.Add("text=x", "application/x-www-form-urlencoded", "lscpu="+url.QueryEscape(lscpu))
	f.Add("", "application/x-www-form-urlencoded", "lspci="+strings.Repeat("x", 300))
	f.Add("stage", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"lspci\"\r\n\r\n00:00.0\r\n--x--")
	f.Fuzz(func(t *testing.T, query, kind, body string) {
		x := newReporter(t)
		request := func() *http.Request {
			r := httptest.NewRequestWithContext(t.Context(), "POST", "/boot/"+x.token+"/report", strings.NewReader(body))
			r.URL.RawQuery, r.RemoteAddr = query, "10.0.0.9:40000"
			r.Header.Set("Content-Type", kind)
			return r
		}
		w := httptest.NewRecorder()
		x.api.ServeHTTP(w, request())
		printable := func(s string) {
			if s != boot.CleanText(s, 1<<20) {
				t.Errorf("%q is stored or sent", s)
			}
		}
		if printable(strings.TrimSuffix(w.Body.String(), "\n")); w.Code != 200 || w.Body.Len() > 100 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		h, v, es := x.stored(t)
		for _, all := range []any{h, v, es, x.engine.Log.Of(h)} {
			eachText(t, all, printable)
		}
		if h.Stage == "" || len(h.Stage) > 64 || len(es) == 0 || len(es) > 2 {
			t.Fatalf("stage %q, %d events", h.Stage, len(es))
		}
		for _, e := range es {
			if len(e.Text) > 1000 {
				t.Errorf("an event of %d bytes", len(e.Text))
			}
		}
		told, _ := parse(request(), time.Now())
		want := told.Facts
		if v == nil && want == nil {
			return
		}
		if v == nil || want == nil {
			t.Fatalf("told %+v, stored %+v", want, v)
		}
		want.Clean()
		want.At, want.Boot = v.At, v.Boot
		if !reflect.DeepEqual(want, v) {
			t.Errorf("told %+v, stored %+v", want, v)
		}
		if len(v.Disks) > 128 || len(v.NICs) > 128 || len(v.PCI) > 256 {
			t.Errorf("%d disks, %d NICs, %d PCI devices", len(v.Disks), len(v.NICs), len(v.PCI))
		}
		eachText(t, v, func(s string) {
			if len(s) > 160 {
				t.Errorf("a text of %d bytes", len(s))
			}
		})
		numbers := []int64{int64(v.Sockets), int64(v.Cores), int64(v.Threads), v.Memory}
		for _, d := range v.Disks {
			numbers = append(numbers, d.Size)
		}
		if slices.Min(numbers) < 0 || slices.Max(numbers) > 1<<60 {
			t.Errorf("numbers %v", numbers)
		}
	})
}

// TestProgress: what cloud-init and Ubuntu's installer POST of each step; the events are as
// cloud-init 22.4 sends them, without a content type.
func TestProgress(t *testing.T) {
	for body, want := range map[string]string{
		`{"name":"init-network","description":"searching for network datasources","event_type":"start","origin":"cloudinit","timestamp":1764600000.1}`:                          "init-network: searching for network datasources",
		`{"name":"init-network","description":"searching for network datasources","event_type":"finish","origin":"cloudinit","timestamp":1764600000.1,"result":"SUCCESS"}`:      "init-network: searching for network datasources (done)",
		`{"name":"modules-final/config-runcmd","description":"x","event_type":"finish","result":"SUCCESS"}`:                                                                     "",
		`{"name":"modules-final/config-runcmd","description":"running config-runcmd with frequency once-per-instance","event_type":"start","origin":"cloudinit"}`:               "",
		`{"name":"modules-final/config-runcmd","description":"running config-runcmd with frequency once-per-instance","event_type":"finish","result":"FAIL"}`:                   "modules-final/config-runcmd: running config-runcmd with frequency once-per-instance (fail)",
		`{"name":"subiquity/Install/install","description":"installing system","event_type":"start","origin":"curtin","level":"INFO"}`:                                          "subiquity/Install/install: installing system",
		`{"name":"subiquity/Install/install/curtin_install/run_curtin_step","description":"executing curtin install partitioning step","event_type":"start","origin":"curtin"}`: "subiquity/Install/install/curtin_install/run_curtin_step: executing curtin install partitioning step",
		`{"name":"subiquity/Network/a/b","description":"x","event_type":"start"}`:                                                                                               "",
		`{"name":"x","event_type":"other"}`:        "",
		`{"description":"x","event_type":"start"}`: "",
		`{"name":"x","event_type":"start"}`:        "x",
		`{"stage":"installed"}`:                    "",
	} {
		r := httptest.NewRequest("POST", "/boot/x/report", strings.NewReader(body))
		in, ok := parse(r, time.Now())
		if !ok || in.Want.Query.Progress != want || want != "" && in.Want.Query.Stage != "" {
			t.Errorf("%s: %+v, want %q", body, in.Want.Query, want)
		}
	}
}
