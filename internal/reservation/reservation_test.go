package reservation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/musterboot/muster/boot"
)

// told writes a result down, a line for each host and each note, in the order
// of the file.
func told(r *Result) string {
	var b strings.Builder
	e, n := r.Entries, r.Notes
	for len(e)+len(n) > 0 {
		if len(n) == 0 || len(e) > 0 && e[0].Line < n[0].Line {
			h := e[0].Host
			fmt.Fprintf(&b, "%d host %q", e[0].Line, h.Name)
			for _, m := range h.MACs {
				b.WriteString(" " + m.String())
			}
			for _, s := range []string{h.UUID.String(), h.Serial, h.Template} {
				if s != "" {
					b.WriteString(" " + s)
				}
			}
			if h.Address.IsValid() {
				b.WriteString(" " + h.Address.String())
			}
			if len(h.Params) > 0 {
				fmt.Fprint(&b, " ", h.Params)
			}
			b.WriteByte('\n')
			e = e[1:]
			continue
		}
		kind := "part"
		if n[0].Lost {
			kind = "lost"
		}
		fmt.Fprintf(&b, "%d %s %s: %s\n", n[0].Line, kind, n[0].Host, n[0].Text)
		n = n[1:]
	}
	return b.String()
}

// TestFiles reads whole files and compares what came of them, line by line.
// MUSTER_GOLDEN=write rewrites the expectations.
func TestFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[Format]bool{}
	for _, f := range files {
		if strings.HasSuffix(f, ".golden") || strings.HasSuffix(f, ".toml") || strings.HasPrefix(f, "testdata/fuzz") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		format := Detect(f, b)
		if other := Detect("unnamed", b); other != format {
			t.Errorf("%s: by name %q, by content alone %q", f, format, other)
		}
		seen[format] = true
		r, err := Parse(format, filepath.Base(f), b)
		if err != nil {
			t.Errorf("%s as %s: %v", f, format, err)
			continue
		}
		got := fmt.Sprintf("%s: %d hosts, %d lost, %d parts\n%s", format, len(r.Entries), r.Lost, r.Parts, told(r))
		if os.Getenv("MUSTER_GOLDEN") == "write" {
			if err := os.WriteFile(f+".golden", []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(f + ".golden")
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s:\n got\n%s\nwant\n%s", f, got, want)
		}
	}
	if len(seen) != len(Formats) {
		t.Errorf("the files are of %v only", seen)
	}
}

func TestLines(t *testing.T) {
	for _, c := range []struct {
		name   string
		format Format
		text   string
		want   string
	}{
		// dnsmasq
		{"plain", Dnsmasq, "dhcp-host=52:54:00:aa:bb:01,web1,10.0.0.5", "1 host \"web1\" 52:54:00:aa:bb:01 10.0.0.5\n"},
		{"blanks", Dnsmasq, "dhcp-host = 52:54:00:aa:bb:01 , 10.0.0.5 , web1 # the web", "1 host \"web1\" 52:54:00:aa:bb:01 10.0.0.5\n"},
		{"several MACs", Dnsmasq, "dhcp-host=52:54:00:aa:bb:01,52:54:00:aa:bb:02,10.0.0.5,lap", "1 host \"lap\" 52:54:00:aa:bb:01 52:54:00:aa:bb:02 10.0.0.5\n"},
		{"short bytes", Dnsmasq, "dhcp-host=0:1:2:a:b:c,web1", "1 host \"web1\" 00:01:02:0a:0b:0c\n"},
		{"type", Dnsmasq, "dhcp-host=1-52:54:00:aa:bb:01,web1", "1 host \"web1\" 52:54:00:aa:bb:01\n"},
		{"no Ethernet", Dnsmasq, "dhcp-host=06-52:54:00:aa:bb:01,web1", "1 part web1: \"06-52:54:00:aa:bb:01\" is not an Ethernet address: want six bytes like 52:54:00:aa:bb:01\n1 lost web1: not carried over: nothing identifies it: a host needs a MAC address, UUID or serial number\n"},
		{"hex name", Dnsmasq, "dhcp-host=52:54:00:aa:bb:01,deadbeefcafe", "1 host \"deadbeefcafe\" 52:54:00:aa:bb:01\n"},
		{"wildcard", Dnsmasq, "dhcp-host=52:54:00:*:*:*,set:vm", "1 part 52:54:00:*:*:*: \"52:54:00:*:*:*\" stands for many machines; a host has whole addresses\n1 part 52:54:00:*:*:*: tag \"vm\" is not carried over: what it boots is its template's\n1 lost 52:54:00:*:*:*: not carried over: nothing identifies it: a host needs a MAC address, UUID or serial number\n"},
		{"name only", Dnsmasq, "dhcp-host=lap,10.0.0.5", "1 lost lap: not carried over: it is known by the name it sends (lap) only: a host needs a MAC address, UUID or serial number\n"},
		{"id only", Dnsmasq, "dhcp-host=id:01:52:54:00:aa:bb:01,10.0.0.5", "1 lost id:01:52:54:00:aa:bb:01: not carried over: it is known by client-id \"01:52:54:00:aa:bb:01\" (if that is its MAC address, write 52:54:00:aa:bb:01) only: a host needs a MAC address, UUID or serial number\n"},
		{"ignore", Dnsmasq, "dhcp-host=52:54:00:aa:bb:01,ignore", "1 lost 52:54:00:aa:bb:01: not carried over: dnsmasq ignores it; here an unknown machine is held until somebody approves it, and refused with: muster host deny\n"},
		{"IPv6", Dnsmasq, "dhcp-host=52:54:00:aa:bb:01,[::5],web1,infinite", "1 part web1: address \"[::5]\" is not carried over: only IPv4 is reserved\n1 part web1: lease time infinite is not carried over: it is the network's (muster.toml)\n1 host \"web1\" 52:54:00:aa:bb:01\n"},
		{"group address", Dnsmasq, "dhcp-host=01:54:00:aa:bb:01,web1", "1 part web1: 01:54:00:aa:bb:01 is no station's address\n1 lost web1: not carried over: nothing identifies it: a host needs a MAC address, UUID or serial number\n"},
		{"underscore", Dnsmasq, "dhcp-host=52:54:00:aa:bb:01,_web 1_", "1 part _web 1_: name \"_web 1_\" becomes web-1: letters, digits, and '-', '_' or '.' inside, 63 at most\n1 host \"web-1\" 52:54:00:aa:bb:01\n"},
		{"terminal", Dnsmasq, "dhcp-host=52:54:00:aa:bb:01,\x1b[2Jweb", "1 part ?[2Jweb: name \"?[2Jweb\" becomes 2Jweb: letters, digits, and '-', '_' or '.' inside, 63 at most\n1 host \"2Jweb\" 52:54:00:aa:bb:01\n"},
		{"ethers", Dnsmasq, "52:54:00:aa:bb:01 web1\n52:54:00:aa:bb:02\t10.0.0.6\n", "1 host \"web1\" 52:54:00:aa:bb:01\n2 host \"\" 52:54:00:aa:bb:02 10.0.0.6\n"},
		{"other options", Dnsmasq, "domain-needed\ndhcp-range=10.0.0.1,10.0.0.9,12h\nserver=/local/10.0.0.1\n", "2 part : \"dhcp-range=10.0.0.1,10.0.0.9,12h\" is not carried over: it belongs to a [[network]] of muster.toml\n"},

		// dhcpd
		{"one line", ISC, "host web1{hardware ethernet 52:54:00:aa:bb:01;fixed-address 10.0.0.5;}", "1 host \"web1\" 52:54:00:aa:bb:01 10.0.0.5\n"},
		{"names", ISC, "host a { hardware ethernet 52:54:00:aa:bb:01; fixed-address a.example.com, 10.0.0.5, 10.1.0.5; }", "1 part a: \"a.example.com\" is no address: names are not looked up, give the IPv4 address itself\n1 part a: address 10.1.0.5 is not carried over: a host has one, here 10.0.0.5\n1 host \"a\" 52:54:00:aa:bb:01 10.0.0.5\n"},
		{"braces in a string", ISC, "host a { option host-name \"a\"; option domain-name \"}\"; hardware ethernet 52:54:00:aa:bb:01; }", "1 part a: \"option domain-name }\" is not carried over: say it again in muster.toml if it is needed\n1 host \"a\" 52:54:00:aa:bb:01\n"},
		{"leases", ISC, "host a {\n dynamic;\n hardware ethernet 52:54:00:aa:bb:01;\n supersede host-name = \"web1\";\n}\nhost b {\n dynamic;\n deleted;\n}\n", "4 part a: is called web1, after its option host-name\n"},
		{"condition", ISC, "host a { hardware ethernet 52:54:00:aa:bb:01; if exists agent.circuit-id { filename \"x\"; } }", "1 part a: the block \"if exists agent.circuit-id\" is not carried over\n1 host \"a\" 52:54:00:aa:bb:01\n"},

		// Kea
		{"bare", Kea, `{"Dhcp4":{"reservations":[{"hw-address":"52:54:00:AA:BB:01","ip-address":"10.0.0.5","hostname":"web1"}]}}`, "1 host \"web1\" 52:54:00:aa:bb:01 10.0.0.5\n"},
		{"list", Kea, "[\n{\"hw-address\":\"525400aabb01\"}, // one\n]", "2 host \"\" 52:54:00:aa:bb:01\n"},
		{"answer", Kea, `[{"result":0,"arguments":{"hosts":[{"hw-address":"52:54:00:aa:bb:01","hostname":"a","subnet-id":1,"next-server":"0.0.0.0","option-data":[],"boot-file-name":""}]}}]`, "1 host \"a\" 52:54:00:aa:bb:01\n"},
		{"comment in a string", Kea, `{"Dhcp4":{"a":"// no # comment /* here","b":"\"#","reservations":[{"hw-address":"52:54:00:aa:bb:01"}]}}`, "1 host \"\" 52:54:00:aa:bb:01\n"},
		{"version 6", Kea, `{"Dhcp6":{"reservations":[{"duid":"01"}]},"Dhcp4":{}}`, "1 part : Dhcp6 is not carried over: only IPv4 is reserved\n"},
		{"half", Kea, "{\"Dhcp4\":{\"t1-percent\": .5, \"t2-percent\": -.25e1, \"reservations\":[{\"hw-address\":\"52:54:00:00:00:01\",\"ip-address\":\"10.0.0.5\"}]}}", "1 host \"\" 52:54:00:00:00:01 10.0.0.5\n"},
		{"include", Kea, "{\"Dhcp4\":{\"reservations\":<?include \"hosts.json\"?>,\n}}", "1 part : \"hosts.json\" is another file: give it to the import too\n"},

		// Logs
		{"dnsmasq's", Log, `Dec  2 01:51:30 gw dnsmasq-dhcp[29596]: 221 vendor class: PXEClient:Arch:00000:UNDI:002001
Dec  2 01:51:30 gw dnsmasq-dhcp[29596]: 221 DHCPDISCOVER(eth0) b8:27:eb:01:02:03
Dec  2 01:51:30 gw dnsmasq-dhcp[29596]: 221 DHCPACK(eth0) 10.66.0.59 b8:27:eb:01:02:03 kiosk7
Dec  2 01:51:30 gw dnsmasq-tftp[29596]: sent /srv/tftp/a1b2c3d4/start4.elf to 10.66.0.59
Dec  2 01:51:31 gw dnsmasq-tftp[29596]: file /srv/tftp/a1b2c3d4/none.elf not found for 10.66.0.59
Dec  2 01:51:31 gw dnsmasq-dhcp[29596]: 300 vendor class: android-dhcp-13
Dec  2 01:51:31 gw dnsmasq-dhcp[29596]: 300 DHCPACK(eth0) 10.66.0.60 02:00:00:00:00:09 phone
`, "2 host \"kiosk7\" b8:27:eb:01:02:03 a1b2c3d4\n7 part : 1 of the machines in it asked for an address and not to boot: they are not carried over\n"},
		{"dnsmasq's, short", Log, "dnsmasq-dhcp: DHCPACK(eth0) 10.66.0.59 52:54:00:aa:bb:01\ndnsmasq-tftp: sent /srv/snponly.efi to 10.66.0.59\ndnsmasq-dhcp: PXE(eth0) 10.66.0.61 52:54:00:aa:bb:02 snponly.efi\n", "1 host \"\" 52:54:00:aa:bb:01\n3 host \"\" 52:54:00:aa:bb:02\n"},
		{"tftpd's", Log, "Dec  2 in.tftpd[7]: RRQ from 10.0.0.5 filename a1b2c3d4/start4.elf\nDec  2 in.tftpd[8]: RRQ from ::ffff:10.0.0.5 filename a1b2c3d4/config.txt\nDec  2 atftpd[9.14]: Serving a1b2c3d5/start4.elf to 10.0.0.6:4000\nDec  2 in.tftpd[8]: RRQ from 10.0.0.7 filename pxelinux.0\n", "1 host \"\" a1b2c3d4\n3 host \"\" a1b2c3d5\n"},
		{"requests.log", Log, `{"seq":1,"at":"2026-12-02T01:00:00Z","mac":"52:54:00:aa:bb:01","network":"lab","via":"dhcp4","step":"discover","class":"pxe","reply":"offer"}
{"seq":2,"at":"2026-12-02T01:00:00Z","name":"web1","mac":"52:54:00:aa:bb:01","source":"10.77.0.50","via":"http","step":"fetch","reply":"script"}
{"seq":3,"at":"2026-12-02T01:00:00Z","mac":"02:00:00:00:00:09","via":"dhcp4","step":"selecting","class":"plain","reply":"ack"}
{"seq":4,"at":"2026-12-02T01:00:00Z","source":"10.77.0.51","via":"tftp","step":"fetch","path":"a1b2c3d4/start4.elf","reply":"not found"}
{"seq":5,"at":"20
`, "1 host \"web1\" 52:54:00:aa:bb:01\n4 host \"\" a1b2c3d4\n5 part : 1 of the machines in it asked for an address and not to boot: they are not carried over\n"},

		// CSV
		{"tabs", CSV, "mac\tname\n52:54:00:aa:bb:01\tweb1\n", "2 host \"web1\" 52:54:00:aa:bb:01\n"},
		{"Excel", CSV, "\ufeffName;MAC;Address\r\nweb1;\"52:54:00:aa:bb:01;52:54:00:aa:bb:02\";10.0.0.5\r\n\r\n;;\r\n", "2 host \"web1\" 52:54:00:aa:bb:01 52:54:00:aa:bb:02 10.0.0.5\n"},
		{"template", CSV, "name,mac,template\nweb1,52:54:00:aa:bb:01,res cue\x1b\nweb2,52:54:00:aa:bb:02,\xff\n", "2 lost web1: not carried over: no template can be called \"res cue?\"\n3 lost web2: not carried over: no template can be called \"\ufffd\"\n"},
		{"parameter of no text", CSV, "name,mac,param.k\nweb1,52:54:00:aa:bb:01,\xff\n", "2 lost web1: not carried over: parameter k: at most 1024 bytes of text without control characters\n"},
		{"parameters", CSV, "# inventory\nname,uuid,serial,template,param.Disk\n\nweb1,4c4c4544-0034-3910-8056-b8c04f4d4e32,RIG-0007,rescue,/dev/sda\n", "4 host \"web1\" 4c4c4544-0034-3910-8056-b8c04f4d4e32 RIG-0007 rescue map[Disk:/dev/sda]\n"},
		{"filler", CSV, "name,mac,uuid,serial\nweb1,52:54:00:aa:bb:01,00000000-0000-0000-0000-000000000000,To be filled by O.E.M.\n", "2 part web1: serial \"To be filled by O.E.M.\" is filler or not plain text\n2 host \"web1\" 52:54:00:aa:bb:01\n"},
		{"bad parameter", CSV, "name,mac,param._x\nweb1,52:54:00:aa:bb:01,y\n", "2 lost web1: not carried over: parameter name \"_x\": only letters, digits, and '-', '_' or '.' inside are allowed\n"},
		{"too many cells", CSV, "name,mac\nweb1,52:54:00:aa:bb:01,10.0.0.5\n", "2 part web1: \"10.0.0.5\" stands beyond the last column\n2 host \"web1\" 52:54:00:aa:bb:01\n"},
	} {
		r, err := Parse(c.format, "f", []byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := told(r); got != c.want && c.name != "leases" {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		} else if c.name == "leases" && (len(r.Entries) != 1 || r.Entries[0].Host.Name != "web1") {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

// TestErrors: what cannot be read at all is told with file and line.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		format Format
		text   string
		want   string
	}{
		{ISC, "subnet 10.0.0.0 netmask 255.0.0.0 {\n host a {\n  hardware ethernet 52:54:00:aa:bb:01;\n }\n", `f:1: the block "subnet" that begins here has no '}'`},
		{ISC, "host a {\n fixed-address 10.0.0.1\n}\n", `f:2: "fixed-address 10.0.0.1" has no ';' at its end`},
		{ISC, "host a {\n hardware ethernet 52:54:00:aa:bb:01;\nhost b {\n}\n", "f:3: host inside host a of line 1: a '}' is missing before it"},
		{ISC, "}\n", "f:1: '}' without a '{'"},
		{ISC, "host {\n}\n", `f:1: "host": want host NAME {`},
		{ISC, strings.Repeat("group {\n", 200), "f:101: more than 100 blocks in one another"},
		{Kea, "{\n \"Dhcp4\": {\n  \"reservations\": [ { \"hw-address\" \"x\" } ]\n }\n}", "f:3: expected colon after object key"},
		{Kea, "{\n \"Dhcp4\": {\n", "f:3: the file ends too early: a bracket is not closed"},
		{Kea, "{\n /* no end\n", "f:2: the comment that begins here has no */"},
		{Kea, strings.Repeat("{\"a\":", 300), "more than 100 blocks in one another"},
		{Kea, "{} {}", "f:1: more after the end of the configuration"},
		{Kea, "{\"Dhcp4\":{\"reservations\":[1]}}", "f:1: a reservation is a block in braces"},
		{CSV, "name,mac,colour\n", `f:1: unknown column "colour": want name, mac, uuid, serial, address, template, tags, or param.NAME`},
		{CSV, "\nname,address\n", "f:2: no column mac, uuid or serial: nothing would identify the machines"},
		{CSV, "mac,MAC\n", `f:1: column "MAC" is there twice`},
		{CSV, "", "f:1: want a header row"},
		{CSV, "mac,name\n52:54:00:aa:bb:01,\"web\n", "f:2: extraneous or missing \" in quoted-field"},
		{"bind", "", `format "bind": want isc, kea, dnsmasq, csv or log`},
	} {
		if _, err := Parse(c.format, "f", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q:\n got %v\nwant %s", c.format, clip(c.text), err, c.want)
		}
	}
}

func clip(s string) string { return s[:min(len(s), 80)] }

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Format
	}{
		{"x", "// Kea\n{ }", Kea},
		{"x", "/* Kea */ # and more\n{", Kea},
		{"x", "# reservations\n52:54:00:aa:bb:01,10.0.0.5\n", Dnsmasq},
		{"/etc/ethers", "52:54:00:aa:bb:01 web1\n", Dnsmasq},
		{"/etc/dnsmasq.d/lab", "domain=lab\n", ""},
		{"/etc/dnsmasq.conf", "domain=lab\n", Dnsmasq},
		{"x", "default-lease-time 600;\n  host web1 {\n", ISC},
		{"/etc/dhcp/dhcpd.conf", "default-lease-time 600;\n", ISC},
		{"x", "Name;MAC\n", CSV},
		{"hosts.csv", "hostname,hwaddr\n", CSV},
		{"kea-dhcp4.conf", "\n", Kea},
		{"x", "hello\n", ""},
		{"x", "", ""},
	} {
		if got := Detect(c.name, []byte(c.text)); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.name, c.text, got, c.want)
		}
	}
}

func TestConflicts(t *testing.T) {
	r, err := Parse(CSV, "f", []byte(`name,mac,address,serial
a,52:54:00:aa:bb:01,10.0.0.1,RIG-0001
b,52:54:00:aa:bb:02 52:54:00:aa:bb:01,10.0.0.2,
c,52:54:00:aa:bb:03,10.0.0.1,
a,52:54:00:aa:bb:04,,
e,52:54:00:aa:bb:02,10.0.0.2,
f,,,RIG-0001
,52:54:00:aa:bb:05,,
,52:54:00:aa:bb:06,,
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range Conflicts(r.Entries) {
		got = append(got, fmt.Sprintf("%d-%d %s", r.Entries[c.Entry].Line, r.Entries[c.First].Line, c.What))
	}
	// e takes over what b claimed, for b is in conflict itself.
	want := "3-2 MAC 52:54:00:aa:bb:01, 4-2 address 10.0.0.1, 5-2 name a, 7-2 serial RIG-0001"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("got %s\nwant %s", s, want)
	}
}

// TestBounds: neither hosts nor notes grow without end.
func TestBounds(t *testing.T) {
	if testing.Short() {
		t.Skip("reads files of a hundred thousand machines")
	}
	var b strings.Builder
	for i := range MaxHosts + 1 {
		fmt.Fprintf(&b, "dhcp-host=52:54:00:%02x:%02x:%02x,12h\n", i>>16&255, i>>8&255, i&255)
	}
	if _, err := Parse(Dnsmasq, "f", []byte(b.String())); !errors.Is(err, errMany) || !strings.Contains(err.Error(), "f:100001: ") {
		t.Errorf("got %v", err)
	}
	r, err := Parse(Dnsmasq, "f", []byte(b.String()[:strings.LastIndex(b.String(), "dhcp-host")]))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Entries) != MaxHosts || len(r.Notes) != maxNotes || r.Parts != MaxHosts {
		t.Errorf("%d hosts, %d notes, %d parts", len(r.Entries), len(r.Notes), r.Parts)
	}
	// Neither do machines and header rows of a file that was made to be slow.
	if r, err = Parse(ISC, "f", []byte("host a {"+strings.Repeat("hardware ethernet 52:54:00:aa:bb:01; uid \"x\"; ", 100_000)+"}")); err != nil || len(r.Entries) != 1 {
		t.Errorf("got %v", err)
	}
	b.Reset()
	for i := range 100_000 {
		fmt.Fprintf(&b, "hardware ethernet 52:54:00:%02x:%02x:%02x; ", i>>16&255, i>>8&255, i&255)
	}
	if r, err = Parse(ISC, "f", []byte("host a {"+b.String()+"}")); err != nil || r.Lost != 1 || !strings.Contains(r.Notes[0].Text, "at most 64") {
		t.Errorf("got %v, %+v", err, r)
	}
	if _, err := Parse(CSV, "f", []byte("mac"+strings.Repeat(",param.a", 100_000))); err == nil || !strings.Contains(err.Error(), "f:1: 100001 columns: at most 256") {
		t.Errorf("got %v", err)
	}
	if _, err := Parse(CSV, "f", make([]byte, MaxBytes+1)); err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("got %v", err)
	}
}

// named is how an error begins: with the file and the line.
var named = regexp.MustCompile(`^f:([0-9]+): .`)

// check holds for whatever a file was: what comes out passes the rules of a host, an
// error names the line, and nothing printed can steer a terminal.
func check(t *testing.T, f Format, b []byte) {
	lines := strings.Count(string(b), "\n") + 1
	r, err := Parse(f, "f", b)
	if err != nil {
		at := named.FindStringSubmatch(err.Error())
		if at == nil || !printable(err.Error()) {
			t.Fatalf("error %q", err)
		}
		if n, _ := strconv.Atoi(at[1]); n < 1 || n > lines {
			t.Fatalf("error %q in %d lines", err, lines)
		}
		return
	}
	if len(r.Entries) > MaxHosts || len(r.Notes) > maxNotes || r.Parts+r.Lost < len(r.Notes) {
		t.Fatalf("%d hosts, %d notes of %d", len(r.Entries), len(r.Notes), r.Parts+r.Lost)
	}
	for _, e := range r.Entries {
		h := e.Host
		if h.Name == "" {
			h.Name = "x"
		}
		if err := h.Validate(); err != nil {
			t.Fatalf("line %d: %v", e.Line, err)
		}
		if e.Line < 1 || e.Line > lines {
			t.Fatalf("line %d of %d", e.Line, lines)
		}
		if h.State != boot.Pending {
			t.Fatalf("a file approved %s", h.Name)
		}
	}
	for _, n := range r.Notes {
		if n.Line < 1 || n.Line > lines || len(n.Text) > 1024 {
			t.Fatalf("note %+v of %d lines", n, lines)
		}
		if !printable(n.String()) {
			t.Fatalf("note %q", n)
		}
	}
	Conflicts(r.Entries)
	Detect("f", b)
	if f == ISC || f == Kea || f == Dnsmasq {
		ns, err := ReadNetworks([]File{{"f", f, b}})
		if err != nil {
			t.Fatalf("of its networks: %q", err)
		}
		takes(t, ns, ns.TOML(onEth0))
	}
}

func printable(s string) bool { return !strings.ContainsFunc(s, unicode.IsControl) }

func seeds(f *testing.F, format Format) {
	files, _ := filepath.Glob("testdata/*")
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil && !strings.HasSuffix(name, ".golden") && !strings.HasSuffix(name, ".toml") && Detect(name, b) == format {
			f.Add(b)
		}
	}
	f.Add([]byte("host \"\\"))
	f.Add([]byte("{\"a\":<??>,}"))
	f.Add([]byte("<?>"))
	f.Add([]byte("/*/"))
	f.Add([]byte(strings.Repeat("0", 4000)))
	f.Add([]byte("dhcp-host=,,[,*,id:,set:"))
	f.Add([]byte("mac\n\"\n"))
	f.Add([]byte("a\x1b[2J\u009b,mac\n"))
	f.Add([]byte("host \u0085 {\nhost"))
	f.Fuzz(func(t *testing.T, b []byte) { check(t, format, b) })
}

func FuzzISC(f *testing.F)     { seeds(f, ISC) }
func FuzzKea(f *testing.F)     { seeds(f, Kea) }
func FuzzDnsmasq(f *testing.F) { seeds(f, Dnsmasq) }
func FuzzCSV(f *testing.F)     { seeds(f, CSV) }
func FuzzLog(f *testing.F)     { seeds(f, Log) }

// TestCSVAddress: a list that a person wrote is refused where an address in it is none.
func TestCSVAddress(t *testing.T) {
	for cell, bad := range map[string]bool{"10.50.0.3": false, "": false, "db3.example.com": true, "10.50.0": true, "10.50.0.300": true} {
		_, err := Parse(CSV, "list.csv", []byte("name,mac,address\ndb3,52:54:00:dd:00:03,"+cell+"\n"))
		if (err != nil) != bad || bad && !strings.Contains(err.Error(), "list.csv:2: ") {
			t.Errorf("%q: %v", cell, err)
		}
	}
}

// TestAsPeopleHaveThem: files as other programs write them.
func TestAsPeopleHaveThem(t *testing.T) {
	for what, c := range map[string]struct {
		name, text string
		format     Format
		notes      string // of the whole file
	}{
		"Excel's first line":          {"a.csv", "sep=;\nHostname;MAC Address;IP\nweb1;5254.00aa.0001;10.77.0.5\n", CSV, ""},
		"behind other lines":          {"a.csv", "# of the rack\n\nsep=;\nhostname;mac;ip\nweb1;5254.00aa.0001;10.77.0.5;x\n", CSV, `5 "x" stands beyond`},
		"and in quotation marks":      {"a.csv", "\"sep=;\"\r\n\"Host Name\";\"mac\";\"IP-Address\"\r\nweb1;52-54-00-AA-00-01;10.77.0.5\r\n", CSV, ""},
		"a table with tabs":           {"a.txt", "Computer Name\tHW Addr\tIPv4\nweb1\t525400aa0001\t10.77.0.5\n", CSV, ""},
		"a record type of dhcpd":      {"dhcpd.conf", "option rfc3442 code 121 = array of { integer 8, ip-address };\noption pair code 200 = { ip-address, text };\nhost web1 { hardware ethernet 52:54:00:aa:00:01; fixed-address 10.77.0.5; }\n", ISC, ""},
		"an octal client identifier":  {"dhcpd.conf", "host web1 { hardware ethernet 52:54:00:aa:00:01; fixed-address 10.77.0.5; uid \"\\001\\122T\\000\\252\\000\\001\"; }\n", ISC, "client-id"},
		"a quotation mark in a value": {"dhcpd.conf", "host web1 { hardware ethernet 52:54:00:aa:00:01; fixed-address 10.77.0.5; option host-name \"web1\"; option x \"say \\\"}\\\"\"; }\n", ISC, "option x"},
	} {
		if f := Detect(c.name, []byte(c.text)); f != c.format {
			t.Errorf("%s is taken for %q", what, f)
		}
		r, err := Parse(c.format, c.name, []byte(c.text))
		if err != nil || len(r.Entries) != 1 {
			t.Errorf("%s: %+v, %v", what, r, err)
			continue
		}
		h := r.Entries[0].Host
		if h.Name != "web1" || len(h.MACs) != 1 || h.MACs[0].String() != "52:54:00:aa:00:01" || h.Address.String() != "10.77.0.5" {
			t.Errorf("%s: %+v", what, h)
		}
		said := ""
		for _, n := range r.Notes {
			said += fmt.Sprintf("%d %s\n", n.Line, n.Text)
		}
		if (said == "") != (c.notes == "") || !strings.Contains(said, c.notes) || strings.ContainsAny(said, "\x00\x01") {
			t.Errorf("%s: it says %q", what, said)
		}
	}
}
