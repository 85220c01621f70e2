package admin

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// TestInputIsNotTheRecord sends every field of a stored host and of a stored
// image that only the machine or the engine writes: each is refused, and nothing
// is stored.
func TestInputIsNotTheRecord(t *testing.T) {
	d := newDesk(t)
	fields := func(v any) map[string]bool {
		out := map[string]bool{}
		for i := range reflect.TypeOf(v).NumField() {
			tag := reflect.TypeOf(v).Field(i).Tag.Get("json")
			for j := range tag {
				if tag[j] == ',' {
					tag = tag[:j]
					break
				}
			}
			out[tag] = true
		}
		return out
	}
	type refused struct{ path, body string }
	var all []refused
	may := fields(client.NewHost{})
	n := 0
	for f := range fields(boot.Host{}) {
		if !may[f] {
			n++
			all = append(all, refused{"/api/v1/hosts", `{"name":"a","macs":["52:54:00:00:00:01"],"` + f + `":null}`},
				refused{"/api/v1/hosts/import", `{"hosts":[{"name":"a","macs":["52:54:00:00:00:01"],"` + f + `":null}]}`})
		}
	}
	if n < 20 {
		t.Fatalf("%d fields are the machine's or the engine's", n)
	}
	all = append(all,
		refused{"/api/v1/hosts", `{"auto":true,"boots":4000000000,"stage":"installed"}`},
		refused{"/api/v1/hosts", `{"name":"a","macs":["52:54:00:00:00:01"],"auto":true}`},
		refused{"/api/v1/images", `{"name":"i","imported":"2020-01-01T00:00:00Z","files":{}}`},
		refused{"/api/v1/templates", `{"files":{},"version":7}`},
		refused{"/api/v1/hosts/approve", `{"all":true,"state":"denied"}`},
	)
	for _, x := range all {
		d.want(400, "POST", x.path, x.body)
	}
	if hs := d.hosts(); len(hs) != 0 {
		t.Errorf("stored: %+v", hs[0])
	}

	// What may be sent comes back as it was sent.
	sent := `{"name":"a","state":"approved","macs":["52:54:00:00:00:01"],"uuid":"01020304-0506-0708-090a-0b0c0d0e0f10","serial":"SN-1","duid":"00:04:BE:EF",` +
		`"address":"10.0.0.7","params":{"k":"v"},"options":["ntp-servers=10.0.0.1"],"protected":true,"bound_port":"leaf:1"}`
	var got, want client.NewHost
	if err := json.Unmarshal([]byte(sent), &want); err != nil {
		t.Fatal(err)
	}
	d.want(200, "POST", "/api/v1/hosts", sent)
	h := d.hosts()[0]
	got = client.NewHost(boot.NewHost{Name: h.Name, State: h.State, MACs: h.MACs, UUID: h.UUID, Serial: h.Serial, DUID: h.DUID, Address: h.Address, Address6: h.Address6,
		Template: h.Template, Params: h.Params, Options: h.Options, Protected: h.Protected, BoundPort: h.BoundPort})
	want.DUID = "0004beef"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	counters := func() (pending, auto uint64) {
		d.view(func(tx boot.ReadTx) error {
			pending, _ = tx.Counter(boot.PendingHosts)
			auto, _ = tx.Counter(boot.AutoHosts)
			return nil
		})
		return
	}
	d.want(200, "DELETE", "/api/v1/hosts/a", "")
	if p, a := counters(); p != 0 || a != 0 {
		t.Errorf("counters are %d and %d", p, a)
	}
}

// TestNothingOfAnImageIsLost: all that an import knows of an image arrives.
func TestNothingOfAnImageIsLost(t *testing.T) {
	var i boot.Image
	v := reflect.ValueOf(&i).Elem()
	for n := range v.NumField() {
		switch f := v.Field(n); f.Kind() {
		case reflect.String:
			f.SetString(v.Type().Field(n).Name)
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		}
	}
	i.Before = nil // what an update leaves is nobody's to send
	given := client.DescribeImage(&i)
	if got := given.Image(); !reflect.DeepEqual(got, i) {
		t.Errorf("%+v becomes %+v", i, got)
	}
}

// TestSummaryTellsNames: that URLs keep the address is told by a reload that changes
// nothing else, too: a person mended the name server, and wants to know.
func TestSummaryTellsNames(t *testing.T) {
	for want, p := range map[string]client.ConfigPlan{
		"nothing changed":                    {},
		"nothing changed; network lab: http": {Names: []string{"network lab: http"}},
		"a; network lab: http":               {Changes: []string{"a"}, Names: []string{"network lab: http"}},
	} {
		if got := p.Summary(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
