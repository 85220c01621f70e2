// event_test.go: the commands about events and who is told of them.

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/hook"
)

// TestEventList: which events are listed is the daemon's to settle: by machine,
// also one that is gone, by kinds, by age and by number.
func TestEventList(t *testing.T) {
	d := newDesk(t)
	for i := range 3 {
		d.says(0, []string{"host", "add", fmt.Sprint("web", i), "--mac", fmt.Sprintf("52:54:00:00:00:0%d", i)})
	}
	d.says(0, []string{"host", "approve", "web1"})
	d.says(0, []string{"host", "rm", "web2"})
	array, _ := d.run("event", "list", "--json", "--kind", "host.*")
	var all []struct{ Event boot.Event }
	if err := json.Unmarshal([]byte(array), &all); err != nil || len(all) < 3 || all[0].Event.Seq == 0 {
		t.Errorf("%v: %s", err, array)
	}
	list := func(args ...string) (out []uint64) {
		t.Helper()
		text, code := d.run(append([]string{"event", "list", "--json", "--lines"}, args...)...)
		if code != 0 {
			t.Errorf("%q: exit %d, %s", args, code, text)
		}
		for line := range strings.Lines(text) {
			var e struct{ Event boot.Event }
			must(t, json.Unmarshal([]byte(line), &e))
			out = append(out, e.Event.Seq)
		}
		return out
	}
	for _, x := range []struct {
		args []string
		want []uint64
	}{
		{nil, []uint64{1, 2, 3, 4, 5}},
		{[]string{"--host", "web1"}, []uint64{2, 4}},
		{[]string{"--host", "52:54:00:00:00:01"}, []uint64{2, 4}},
		{[]string{"--host", "web2"}, []uint64{3, 5}},
		{[]string{"--kind", "host.a*"}, []uint64{1, 2, 3, 4}},
		{[]string{"--kind", "host.approved,host.removed"}, []uint64{4, 5}},
		{[]string{"--kind", "host.approved", "--kind", "host.removed", "--host", "web2"}, []uint64{5}},
		{[]string{"--since", "4"}, []uint64{4, 5}},
		{[]string{"--since", "0"}, []uint64{1, 2, 3, 4, 5}},
		{[]string{"--since", "1h"}, []uint64{1, 2, 3, 4, 5}},
		{[]string{"--since", "0s"}, nil}, // all are before this moment
		{[]string{"--after", "4"}, []uint64{5}},
		{[]string{"--all"}, []uint64{1, 2, 3, 4, 5}},
		{[]string{"--all", "--host", "web1"}, []uint64{2, 4}},
	} {
		if got := list(x.args...); !slices.Equal(got, x.want) {
			t.Errorf("%q lists %d, want %d", x.args, got, x.want)
		}
	}
	d.says(1, []string{"event", "list", "--host", "web9"}, "no host is called web9, and no event tells of one")
	d.says(1, []string{"event", "list", "--kind", "hosts.*"}, `no event is of kind "hosts.\*"`)
	d.says(2, []string{"event", "list", "--since", "yesterday"}, "want how long ago")
	d.says(0, []string{"webhook", "list"}, "no webhooks")
	d.says(1, []string{"webhook", "test", "cmdb"}, `no webhook or hook is called cmdb`)
	d.says(2, []string{"webhook", "resend", "cmdb"}, `either numbers of events or --dead`)
	d.says(2, []string{"webhook", "resend", "cmdb", "x"}, `"x" is no number of an event`)
	d.says(2, []string{"webhook", "resend", "cmdb", "1", "--dead"}, `either numbers of events or --dead`)
}

// TestWebhookCommands: what a person sees of a webhook that refuses, and how the
// letters go out after all.
func TestWebhookCommands(t *testing.T) {
	d := newDesk(t)
	s := &steered{answer: hook.Answer{Result: hook.Refused, Words: "HTTP 410 Gone"}}
	d.hooks.Set([]*hook.Target{{Name: "cmdb", Type: hook.Webhook, Where: "https://cmdb.example/", GiveUp: time.Hour, Sender: s}})
	for d.counter(boot.Delivered("webhook cmdb")) == 0 { // it has not begun
		runtime.Gosched()
	}
	d.says(0, []string{"host", "add", "web1", "--mac", "52:54:00:00:00:01"})
	for {
		changed := d.store.Changed()
		if d.counter(boot.Undelivered("webhook cmdb")) > 0 {
			break
		}
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Fatal("it was not given up")
		}
	}
	for { // what it gave up is written down before it rests
		l, err := d.hooks.Figures(t.Context())
		must(t, err)
		if len(l) == 1 && l[0].State == client.WebhookIdle {
			break
		}
		runtime.Gosched()
	}
	d.says(0, []string{"webhook", "list"}, `(?m)^cmdb +https://cmdb.example/ +\d+ +\d+ +1 +idle +HTTP 410 Gone`)
	d.says(0, []string{"event", "list", "--kind", "webhook.*", "--host", "web1"}, `event 1 \(host.added web1\) was not delivered to webhook cmdb: HTTP 410 Gone`)
	d.says(1, []string{"webhook", "test", "cmdb"}, "cmdb did not take the ping: HTTP 410 Gone")
	d.says(1, []string{"webhook", "resend", "cmdb", "--dead"}, "(?m)^1  HTTP 410 Gone$", "0 of 1 events were delivered")
	s.set(hook.Answer{Words: "HTTP 200 OK"})
	d.says(0, []string{"webhook", "resend", "cmdb", "--dead"}, "(?m)^1  HTTP 200 OK$")
	d.says(0, []string{"webhook", "resend", "cmdb", "--dead"}, "none was given up")
	d.says(0, []string{"webhook", "resend", "cmdb", "1"}, "(?m)^1  HTTP 200 OK$")
	d.says(1, []string{"webhook", "resend", "cmdb", "99"}, "99  there is no such event", "0 of 1")
	d.says(0, []string{"webhook", "test", "cmdb"}, "cmdb took the ping: HTTP 200 OK")
}

func (d *desk) counter(c boot.Counter) (n uint64) {
	must(d.t, d.store.View(d.t.Context(), func(tx boot.ReadTx) (err error) { n, err = tx.Counter(c); return err }))
	return n
}

type steered struct {
	mu     sync.Mutex
	answer hook.Answer
}

func (s *steered) set(a hook.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = a
}

func (s *steered) Send(context.Context, hook.Message) hook.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answer
}
