package admin

import (
	"bufio"
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/client"
)

// TestPages: whatever the size of a page, a list has all of it, once and in order.
func TestPages(t *testing.T) {
	d := newDesk(t)
	for i := range 23 {
		d.want(200, "POST", "/api/v1/hosts", fmt.Sprintf(`{"name":"h%02d","macs":["02:00:00:00:01:%02x"],"state":"approved","tags":["%s"]}`, i, i, []string{"even", "odd"}[i%2]))
	}
	srv := httptest.NewServer(d.server.Handler())
	defer srv.Close()
	c, err := client.Remote(srv.URL, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{1, 2, 7, 11, 12, 500} {
		for _, counted := range []string{"", "&total=1"} {
			var all []client.HostView
			if err := client.ReadAll(t.Context(), c, fmt.Sprintf("/api/v1/hosts?q=tag:odd&limit=%d%s", limit, counted), &all); err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, h := range all {
				names = append(names, h.Name)
			}
			if got := strings.Join(names, " "); got != "h01 h03 h05 h07 h09 h11 h13 h15 h17 h19 h21" {
				t.Errorf("%d at a time%s: %s", limit, counted, got)
			}
		}
	}
	var all client.List[client.HostView]
	d.want(200, "GET", "/api/v1/hosts?limit=5&total=1", "").into(&all)
	if len(all.Items) != 5 || all.Total == nil || *all.Total != 23 || all.Next == "" {
		t.Errorf("%d items, %v in all, next %q", len(all.Items), all.Total, all.Next)
	}
	var l client.List[client.HostView]
	d.want(200, "GET", "/api/v1/hosts?q=tag:even&limit=5&cursor=1000&total=1", "").into(&l)
	if len(l.Items) != 0 || l.Total == nil || *l.Total != 12 || l.Next != "" {
		t.Errorf("%+v, %v", l, l.Total)
	}
}

// TestBriefStream: of much news a stream says little, and nothing of what it says.
func TestBriefStream(t *testing.T) {
	d := newDesk(t)
	d.furnish()
	d.want(400, "GET", "/api/v1/events?brief=1", "")
	srv := httptest.NewServer(d.server.Handler())
	t.Cleanup(srv.Close)
	r := httptest.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/v1/events?brief=1&all=1", nil)
	r.RequestURI = ""
	r.Header.Set("Accept", "text/event-stream")
	began := time.Now()
	resp, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	const many = 200
	go func() {
		for i := range many {
			d.ask("POST", "/api/v1/hosts", fmt.Sprintf(`{"name":"late%d","macs":["02:00:00:00:01:%02x"]}`, i, i))
		}
	}()
	var last, end uint64
	messages := 0
	for lines := bufio.NewScanner(resp.Body); (last == 0 || last < end || end == 0) && lines.Scan(); {
		switch k, v, _ := strings.Cut(lines.Text(), ": "); k {
		case "id":
			last, _ = strconv.ParseUint(v, 10, 64)
			if end == 0 {
				end = last + many
			}
		case "data":
			if messages++; v != "{}" {
				t.Fatalf("it says %s", v)
			}
		}
	}
	if most := int(time.Since(began)/briefly) + 2; last < many || messages > most {
		t.Errorf("%d messages in %v, to event %d of %d", messages, time.Since(began), last, end)
	}
}

// TestServerSentEvents: a stream has what is stored and what comes, and goes on where its
// reader was cut off.
func TestServerSentEvents(t *testing.T) {
	d := newDesk(t)
	d.furnish()
	srv := httptest.NewServer(d.server.Handler())
	t.Cleanup(srv.Close)
	open := func(after string) (next func() (id, data string)) {
		r := httptest.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/v1/events?kind=host.added", nil)
		r.RequestURI = ""
		r.Header.Set("Accept", "text/event-stream")
		if after != "" {
			r.Header.Set("Last-Event-ID", after)
		}
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		if resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatal(resp.Header)
		}
		lines := bufio.NewScanner(resp.Body)
		return func() (id, data string) {
			for lines.Scan() {
				switch k, v, _ := strings.Cut(lines.Text(), ": "); k {
				case "id":
					id = v
				case "data":
					data = v
				case "":
					if data != "" {
						return id, data
					}
				}
			}
			t.Fatal("the stream ended")
			return "", ""
		}
	}
	next := open("")
	first, _ := next()
	if first == "" {
		t.Fatal("an event without a number")
	}
	go d.ask("POST", "/api/v1/hosts", `{"name":"late","macs":["02:00:00:00:00:77"]}`)
	for {
		_, data := next()
		if strings.Contains(data, `"late"`) {
			if again, _ := open(first)(); again == first || again == "" {
				t.Errorf("after %s comes %s", first, again)
			}
			d.want(400, "GET", "/api/v1/events", "", "Accept", "text/event-stream", "Last-Event-ID", "x")
			return
		}
	}
}
