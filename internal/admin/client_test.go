package admin

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/images"
)

// serve puts the API on a socket, and returns a client and what stops the server.
func (d *desk) serve() (c *client.Client, stop func()) {
	d.t.Helper()
	dir, err := os.MkdirTemp("", "sock") // the path of a socket has 107 bytes
	if err != nil {
		d.t.Fatal(err)
	}
	l, err := Listen(dir)
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.server.Serve(ctx, l) }()
	stop = func() {
		if ctx.Err() != nil {
			return
		}
		cancel()
		if err := <-done; err != nil {
			d.t.Error(err)
		}
	}
	d.t.Cleanup(func() {
		stop()
		os.RemoveAll(dir)
	})
	return client.Local(dir), stop
}

// TestSocket: it is for its owner and group, one that a dead process left is replaced,
// and where nobody listens the client says what to do.
func TestSocket(t *testing.T) {
	d := newDesk(t)
	dir := t.TempDir()
	path := filepath.Join(dir, client.SocketName)
	if err := client.Local(dir).Call(t.Context(), "GET", "/api/v1/status", nil, nil); !errors.Is(err, client.ErrNoDaemon) {
		t.Errorf("no socket: %v", err)
	}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if err := client.Local(dir).Call(t.Context(), "GET", "/api/v1/status", nil, nil); !errors.Is(err, client.ErrNoDaemon) {
		t.Errorf("a dead socket: %v", err)
	}
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", st, err)
	}
	if _, err := Listen(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("listens in a folder that is not there")
	}

	c, stop := d.serve()
	var s client.Status
	if err := c.Call(t.Context(), "GET", "/api/v1/status", nil, &s); err != nil || s.Version != "test" {
		t.Errorf("%+v, %v", s, err)
	}
	err = c.Call(t.Context(), "GET", "/api/v1/hosts/nobody", nil, nil)
	if f := boot.FaultOf(err); f == nil || f.Code != boot.UnknownHost || err.Error() != "no host is called nobody (muster host list)" {
		t.Errorf("a fault comes as %v", err)
	}
	stop()
	if err := c.Call(t.Context(), "GET", "/api/v1/status", nil, nil); err == nil {
		t.Error("a server that was stopped answers")
	}
}

// TestFollow: what happened comes first, what happens then as it does, and the client
// knows an end from a cut.
func TestFollow(t *testing.T) {
	d := newDesk(t)
	d.furnish()
	c, stop := d.serve()
	last := errors.New("the last")

	var got []string
	err := c.Events(t.Context(), url.Values{"follow": {"1"}, "host": {"b"}}, func(e client.Entry, raw json.RawMessage) error {
		if !json.Valid(raw) {
			t.Errorf("%s", raw)
		}
		got = append(got, string(e.Event.Kind))
		if len(got) > 1 {
			return last
		}
		d.want(200, "POST", "/api/v1/hosts/b/approve", "")
		return nil
	})
	if want := []string{"host.added", "host.approved"}; !errors.Is(err, last) || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}

	// With all=1 requests and log lines come too, in their order.
	got = nil
	err = c.Events(t.Context(), url.Values{"follow": {"1"}, "all": {"1"}, "host": {"a"}}, func(e client.Entry, _ json.RawMessage) error {
		switch {
		case e.Event != nil:
			got = append(got, string(e.Event.Kind))
		case e.Request.Line != nil:
			got = append(got, e.Request.Line.Text)
		default:
			got = append(got, e.Request.Reply)
		}
		switch len(got) {
		case 3:
			d.engine.Lines.Add(boot.Request{At: noon, Host: 1, Name: "a", Via: boot.Syslog, Step: boot.LogLine, Line: &boot.Line{Text: "kernel: on"}})
		case 4:
			d.engine.Log.Add(boot.Request{At: noon, Host: 1, Name: "a", Via: boot.DHCP4, Step: boot.Selecting, Reply: "ack"})
		case 5:
			return last
		}
		return nil
	})
	if want := []string{"offer", "kernel: up", "host.added", "kernel: on", "ack"}; !errors.Is(err, last) || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}

	got = nil
	err = c.HostLog(t.Context(), "a", true, func(q boot.Request, _ json.RawMessage) error {
		if got = append(got, q.Line.Text); len(got) == 3 {
			return last
		}
		m, _ := boot.ParseMAC("52:54:00:00:00:01")
		d.engine.Lines.Add(boot.Request{At: noon, MAC: m, Via: boot.Syslog, Step: boot.LogLine, Line: &boot.Line{Text: strings.Repeat("more ", len(got))}})
		return nil
	})
	if want := []string{"kernel: up", "more ", "more more "}; !errors.Is(err, last) || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}

	// Without follow a stream ends; a client that leaves ends it too, and is no error.
	n := 0
	if err := c.Events(t.Context(), url.Values{}, func(client.Entry, json.RawMessage) error { n++; return nil }); err != nil || n < 8 {
		t.Errorf("%d, %v", n, err)
	}
	if err := c.HostLog(t.Context(), "b", false, nil); err != nil {
		t.Error(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	if err := c.Events(ctx, url.Values{"follow": {"1"}}, func(client.Entry, json.RawMessage) error { leave(); return nil }); err != nil {
		t.Errorf("who left is told %v", err)
	}
	if err := c.Events(t.Context(), url.Values{"follow": {"1"}, "host": {"nobody"}}, nil); boot.FaultOf(err) == nil {
		t.Errorf("%v", err)
	}
	stopped := false
	err = c.Events(t.Context(), url.Values{"follow": {"1"}}, func(client.Entry, json.RawMessage) error {
		if !stopped {
			stopped = true
			stop()
		}
		return nil
	})
	if !errors.Is(err, client.ErrCutShort) {
		t.Errorf("the server stopped and the client says %v", err)
	}
}

// TestClientFiles: what the commands upload, import, look at again and capture.
func TestClientFiles(t *testing.T) {
	d := newDesk(t)
	c, _ := d.serve()
	ctx := t.Context()
	dir := t.TempDir()
	for _, n := range []string{"vmlinuz", "initrd.gz"} {
		if err := os.WriteFile(filepath.Join(dir, n), []byte("client "+n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inspect := func(name string) *images.Source {
		src, err := images.Inspect(name, dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { src.Close() })
		return src
	}
	put := func(src *images.Source, sent func(int)) (*boot.Image, error) {
		return c.ImportImage(ctx, &src.Image, func(t *tar.Writer) error { return src.Stream(t, sent) })
	}
	sent := 0
	img, err := put(inspect("deb"), func(n int) { sent += n })
	if err != nil || img.Name != "deb" || img.Kind != "folder" || len(img.Files) != 2 || img.Files["vmlinuz"].Size != 14 || sent != 14+16 || !img.Imported.Equal(noon) {
		t.Fatalf("%+v, %v, %d bytes sent", img, err, sent)
	}
	if !c.Has(ctx, img.Files["vmlinuz"].Digest) || c.Has(ctx, digest) {
		t.Error("the client is told wrong what is there")
	}
	var lines []client.Verified
	if err := c.VerifyImage(ctx, "deb", func(v client.Verified) { lines = append(lines, v) }); err != nil || len(lines) == 0 || lines[len(lines)-1] != (client.Verified{Read: 30, Total: 30, Done: true, Files: 2}) {
		t.Errorf("verified: %+v, %v", lines, err)
	}
	// A disk that gives other bytes is found out.
	dg := img.Files["vmlinuz"].Digest
	if err := os.WriteFile(filepath.Join(filesDir, dg[:2], dg), []byte("other vmlinuz!"), 0o600); err != nil {
		t.Fatal(err)
	}
	lines = nil
	if err := c.VerifyImage(ctx, "deb", func(v client.Verified) { lines = append(lines, v) }); err != nil || !slices.ContainsFunc(lines, func(v client.Verified) bool {
		return v.File == "vmlinuz" && strings.Contains(v.Wrong, "other bytes than were stored")
	}) {
		t.Errorf("verified: %+v, %v", lines, err)
	}
	if err := c.VerifyImage(ctx, "nothing", nil); boot.FaultOf(err) == nil {
		t.Errorf("%v", err)
	}
	d.want(200, "DELETE", "/api/v1/images/deb", "")

	body := strings.NewReader("up")
	b, err := images.Digest(body)
	if err != nil {
		t.Fatal(err)
	}
	body.Reset("up")
	if err := c.Upload(ctx, b.Digest, body, 2); err != nil || !c.Has(ctx, b.Digest) {
		t.Errorf("uploaded: %v", err)
	}
	body.Reset("no")
	if err := c.Upload(ctx, b.Digest, body, 2); boot.FaultOf(err) == nil {
		t.Errorf("other bytes: %v", err)
	}
	var pcap bytes.Buffer
	if err := c.HostCapture(ctx, "52:54:00:00:00:01", &pcap); err != nil || pcap.String() != "pcap" {
		t.Errorf("%q, %v", pcap.String(), err)
	}
	out, err := c.ImportHosts(ctx, client.HostImport{Hosts: []client.NewHost{{Name: "x", Serial: "SN-1"}}})
	if err != nil || out.Results[0].Name != "x" {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestImageStream: an import that is not what it should be leaves nothing.
func TestImageStream(t *testing.T) {
	type entry struct {
		name, link, body string
	}
	stream := func(entries ...entry) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, e := range entries {
			h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.body)), Typeflag: tar.TypeReg}
			if e.link != "" {
				h.Typeflag, h.Linkname = tar.TypeLink, e.link
			}
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(w, e.body)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	head := entry{client.ImageHead, "", `{"name":"deb"}`}
	file := entry{"stream", "", "only this import has these bytes"}
	whole := stream(head, file)
	sum, err := images.Digest(strings.NewReader(file.body))
	if err != nil {
		t.Fatal(err)
	}
	many := []entry{head, file}
	for i := range images.MaxFiles {
		many = append(many, entry{"f" + strings.Repeat("a", 1+i%100) + string(rune('a'+i/100%26)) + string(rune('a'+i/2600)), file.name, ""})
	}
	for _, c := range []struct {
		name   string
		body   []byte
		status int
		want   string
	}{
		{"no description", stream(file), 400, "begins with the image's description"},
		{"an empty stream", nil, 400, "begins with the image's description"},
		{"no stream", []byte(strings.Repeat("x", 1024)), 400, "begins with the image's description"},
		{"fields of the record", stream(entry{client.ImageHead, "", `{"name":"deb","imported":"2020-01-01T00:00:00Z"}`}, file), 400, "imported"},
		{"no name", stream(entry{client.ImageHead, "", `{}`}, file), 422, "image name"},
		{"no files", stream(head), 422, "has no files"},
		{"a name that leads out", stream(head, file, entry{"../../x", "", "y"}), 422, "relative path"},
		{"a dot file", stream(head, file, entry{".x", "", "y"}), 422, "no part may begin with"},
		{"a link to nothing", stream(head, file, entry{"l", "other", ""}), 422, "which was not sent"},
		{"a disc that is not sent", stream(entry{client.ImageHead, "", `{"name":"deb","tree":"d.iso"}`}, file), 422, "names d.iso as its disc"},
		{"cut in the file", whole[:1024+512+7], 400, "broke off"},
		{"cut in a header", append(slices.Clip(whole[:1024+1024]), bytes.Repeat([]byte{1}, 100)...), 400, "broke off"},
		{"rubbish behind", append(slices.Clip(whole[:1024+1024]), bytes.Repeat([]byte{1}, 1024)...), 400, "broke off"},
		{"too many", stream(many...), 413, "at most 20000 files"},
		{"as it should be", stream(head, file, entry{"l", "stream", ""}), 200, `"l":{"digest":"` + sum.Digest},
	} {
		d := newDesk(t)
		w := d.want(c.status, "POST", "/api/v1/images/import", string(c.body))
		if !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %s", c.name, w.Body)
		}
		if _, has := d.server.Files.Has(sum.Digest); has != (c.status == 200) {
			t.Errorf("%s: the file is there: %t", c.name, has)
		}
		if c.status == http.StatusOK {
			d.want(200, "POST", "/api/v1/images/import", string(c.body)) // said twice
			d.want(409, "POST", "/api/v1/images/import", string(whole))  // with other files
			d.want(200, "DELETE", "/api/v1/images/deb", "")
		}
	}
}
