// report_test.go: what installers post, and what nobody should.

package httpboot

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/nettest"
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

func FuzzReport(f *testing.F) {
	f.Add("application/json", `{"lsblk":`+lsblk+`,"ip":`+ipLink+`}`)
	f.Add("application/x-www-form-urlencoded", "lscpu="+url.QueryEscape(lscpu))
	f.Add("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"lspci\"\r\n\r\n00:00.0\r\n--x--")
	f.Fuzz(func(t *testing.T, kind, body string) {
		if in := post(kind, body); in.Facts != nil {
			in.Facts.Clean()
			if n := len(in.Facts.String()); n > 1000 {
				t.Errorf("%d bytes in a line", n)
			}
		}
	})
}
