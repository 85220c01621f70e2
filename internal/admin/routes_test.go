package admin

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// call is one request and what must come of it. Each has a desk of its own.
type call struct {
	pattern, path, body string
	status              int
	want                string // in the answer
}

var digest = strings.Repeat("0", 64)

var calls = []call{
	{"GET /metrics", "/metrics", "", 200, "muster_up 1"},
	{"GET /api/v1/status", "/api/v1/status", "", 200, `"version":"test"`},
	{"GET /api/v1/ca", "/api/v1/ca", "", 200, "BEGIN CERTIFICATE"},
	{"POST /api/v1/store/check", "/api/v1/store/check", "", 200, `{"records":7,"damage":["host 4 is damaged"]}`},
	{"POST /api/v1/store/repair", "/api/v1/store/repair", "", 200, `{"damage":["host 4 is damaged"],"forgotten":["its MAC"]}`},

	{"GET /api/v1/hosts", "/api/v1/hosts", "", 200, `"name":"c"`},
	{"GET /api/v1/hosts", "/api/v1/hosts?state=approved", "", 200, `"lease":"10.0.0.7"`},
	{"GET /api/v1/hosts", "/api/v1/hosts?state=installed", "", 422, `"code":"invalid"`},
	{"POST /api/v1/hosts", "/api/v1/hosts", `{"serial":"SN-9"}`, 200, `"name":"m-4"`},
	{"POST /api/v1/hosts", "/api/v1/hosts", ``, 422, `nothing identifies it`},
	{"POST /api/v1/hosts", "/api/v1/hosts", `{"name":"d","macs":[` + macA + `]}`, 409, `"code":"taken"`},
	{"POST /api/v1/hosts", "/api/v1/hosts", `{"name":"a","macs":["52:54:00:00:00:0d"]}`, 409, `"code":"taken"`},
	{"POST /api/v1/hosts", "/api/v1/hosts", `{"name":"d","serial":"SN-9","state":"waiting"}`, 422, `want pending, approved or denied`},
	{"POST /api/v1/hosts", "/api/v1/hosts", `{"name":"d","serial":"SN-9","template":"nothing"}`, 404, `"code":"unknown-template"`},
	{"POST /api/v1/hosts", "/api/v1/hosts", `{"name":"d","serial":"SN-9","address":"192.0.2.1"}`, 422, `in no configured network`},
	{"POST /api/v1/hosts", "/api/v1/hosts", `{"name":"d","serial":"SN-9","address":"10.0.0.1"}`, 422, `this server's own`},
	{"POST /api/v1/hosts", "/api/v1/hosts", `{"name":"d","serial":"SN-9","address":"10.0.0.8","address6":"10.0.0.9"}`, 422, `of one family`},
	{"POST /api/v1/hosts", "/api/v1/hosts", `{"name":"d","duid":"0004"}`, 422, `DUID`},
	{"POST /api/v1/hosts", "/api/v1/hosts", `{"name":"d","duid":"<b>"}`, 422, `DUID`},
	{"POST /api/v1/hosts", "/api/v1/hosts", `{"name":"d","macs":["ff:ff:ff:ff:ff:ff"]}`, 422, `no station's address`},
	{"POST /api/v1/hosts/import", "/api/v1/hosts/import", `{"hosts":[{"name":"d","serial":"SN-9"},{"name":"b2","serial":"SN-2","state":"approved"},{"macs":[` + macA + `]}]}`, 200,
		`{"results":[{"name":"d"},{"name":"b2","known":{"id":2,"name":"b","state":"pending"`},
	{"POST /api/v1/hosts/import", "/api/v1/hosts/import", `{"hosts":[{"name":"d","serial":"SN-9"},{"name":"a","serial":"SN-8"}]}`, 422, `"code":"hosts-refused"`},
	{"POST /api/v1/hosts/import", "/api/v1/hosts/import", `{"dry_run":true,"hosts":[{"name":"d","serial":"SN-9"},{"name":"a","serial":"SN-8"}]}`, 200,
		`{"results":[{"name":"d"},{"name":"a","refused":"name a belongs to host a already`},
	{"POST /api/v1/hosts/import", "/api/v1/hosts/import", `{}`, 200, `{"results":[]}`},
	{"POST /api/v1/hosts/approve", "/api/v1/hosts/approve", `{"serial":["SN-*"]}`, 200, `"name":"b","state":"approved"`},
	{"POST /api/v1/hosts/approve", "/api/v1/hosts/approve", `{"all":true,"template":"nothing"}`, 200, `"error":"no template is called nothing`},
	{"POST /api/v1/hosts/approve", "/api/v1/hosts/approve", `{}`, 422, `say which`},
	{"POST /api/v1/hosts/approve", "/api/v1/hosts/approve", `{"arch":["vax"]}`, 422, `no architecture`},
	{"POST /api/v1/hosts/deny", "/api/v1/hosts/deny", `{"all":true,"dry_run":true}`, 200, `"state":"denied"`},
	{"POST /api/v1/hosts/deny", "/api/v1/hosts/deny", `{"mac":["aa:*"]}`, 200, "[]\n"},

	{"GET /api/v1/hosts", "/api/v1/hosts?q=" + url.QueryEscape("state:approved net:none"), "", 200, `"name":"a"`},
	{"GET /api/v1/hosts", "/api/v1/hosts?q=nothing:x", "", 422, `no key is called`},
	{"GET /api/v1/hosts/{name}", "/api/v1/hosts/a", "", 200, `"timeline":[{`},
	{"GET /api/v1/hosts/{name}", "/api/v1/hosts/52:54:00:00:00:02", "", 200, `"name":"b"`},
	{"GET /api/v1/hosts/{name}", "/api/v1/hosts/nobody", "", 404, `"code":"unknown-host"`},
	{"PATCH /api/v1/hosts/{name}", "/api/v1/hosts/a", `{"name":"a1","add_macs":["52:54:00:00:00:0a"],"uuid":"01020304-0506-0708-090a-0b0c0d0e0f10","address":"","template":"","bound_port":"x","params":{"k":"v"}}`, 200, `"name":"a1"`},
	{"PATCH /api/v1/hosts/{name}", "/api/v1/hosts/a", `{"tags":["db","rack=12"]}`, 200, `"tags":["db","rack=12"]`},
	{"PATCH /api/v1/hosts/{name}", "/api/v1/hosts/a", `{"tags":["a b"]}`, 422, `tag name`},
	{"PATCH /api/v1/hosts/{name}", "/api/v1/hosts/a", `{"drop_tags":["db"]}`, 422, `has no tag db`},
	{"PATCH /api/v1/hosts/{name}", "/api/v1/hosts/a", `{}`, 422, `nothing to set`},
	{"PATCH /api/v1/hosts/{name}", "/api/v1/hosts/a", `{"name":"b"}`, 409, `"code":"taken"`},
	{"PATCH /api/v1/hosts/{name}", "/api/v1/hosts/nobody", `{"name":"x"}`, 404, `"code":"unknown-host"`},
	{"PATCH /api/v1/hosts/{name}", "/api/v1/hosts/a", `{"params":{"k":"a\nb"}}`, 422, `control characters`},
	{"PATCH /api/v1/hosts/{name}", "/api/v1/hosts/a", `{"params":{"k":"\u009b2J"}}`, 422, `control characters`},
	{"DELETE /api/v1/hosts/{name}", "/api/v1/hosts/a", "", 200, `"name":"a"`},
	{"DELETE /api/v1/hosts/{name}", "/api/v1/hosts/nobody", "", 404, `"code":"unknown-host"`},
	{"POST /api/v1/hosts/{name}/approve", "/api/v1/hosts/b/approve", `{"template":"deb"}`, 200, `"state":"approved"`},
	{"POST /api/v1/hosts/{name}/approve", "/api/v1/hosts/b/approve", `{"template":"nothing"}`, 404, `"code":"unknown-template"`},
	{"POST /api/v1/hosts/{name}/deny", "/api/v1/hosts/a/deny", `{}`, 200, `"state":"denied"`},
	{"POST /api/v1/hosts/{name}/deny", "/api/v1/hosts/nobody/deny", ``, 404, `"code":"unknown-host"`},
	{"POST /api/v1/hosts/{name}/install", "/api/v1/hosts/a/install", `{"template":"deb"}`, 200, `"state":"armed"`},
	{"POST /api/v1/hosts/{name}/install", "/api/v1/hosts/a/install", ``, 422, `does not install`},
	{"POST /api/v1/hosts/{name}/install", "/api/v1/hosts/b/install", `{"template":"deb"}`, 409, `"code":"wrong-state"`},
	{"POST /api/v1/hosts/{name}/rescue", "/api/v1/hosts/a/rescue", `{"template":"free"}`, 200, `"once":"free"`},
	{"POST /api/v1/hosts/{name}/rescue", "/api/v1/hosts/a/rescue", `{}`, 422, `name the template`},
	{"POST /api/v1/hosts/{name}/local", "/api/v1/hosts/a/local", "", 200, `"name":"a"`},
	{"POST /api/v1/hosts/{name}/update", "/api/v1/hosts/a/update", "", 200, `"name":"a"`},
	{"POST /api/v1/hosts/{name}/update", "/api/v1/hosts/b/update", "", 422, `no template to update`},
	{"POST /api/v1/hosts/{name}/merge", "/api/v1/hosts/a/merge", `{"other":"c"}`, 200, `52:54:00:00:00:04`},
	{"POST /api/v1/hosts/{name}/merge", "/api/v1/hosts/a/merge", `{"other":"a"}`, 422, `the same host already`},
	{"POST /api/v1/hosts/{name}/merge", "/api/v1/hosts/a/merge", ``, 404, `"code":"unknown-host"`},
	{"POST /api/v1/hosts/{name}/split", "/api/v1/hosts/c/split", `{"name":"d","macs":["52:54:00:00:00:04"]}`, 200, `"name":"d"`},
	{"POST /api/v1/hosts/{name}/split", "/api/v1/hosts/c/split", `{"name":"a","macs":["52:54:00:00:00:04"]}`, 409, `"code":"taken"`},
	{"POST /api/v1/hosts/{name}/split", "/api/v1/hosts/c/split", ``, 422, `say what of host c`},
	{"GET /api/v1/hosts/{name}/log", "/api/v1/hosts/a/log", "", 200, `kernel: up`},
	{"GET /api/v1/hosts/{name}/log", "/api/v1/hosts/nobody/log", "", 404, `"code":"unknown-host"`},
	{"GET /api/v1/hosts/{name}/capture", "/api/v1/hosts/a/capture", "", 200, `pcap`},
	{"GET /api/v1/hosts/{name}/capture", "/api/v1/hosts/nobody/capture", "", 404, `"code":"unknown-host"`},

	{"GET /api/v1/templates", "/api/v1/templates", "", 200, `"name":"deb"`},
	{"GET /api/v1/templates", "/api/v1/templates?limit=1&total=1", "", 200, `"next":"deb","total":3}`},
	{"GET /api/v1/templates", "/api/v1/templates?cursor=zz", "", 200, `{"items":[]}`},
	{"GET /api/v1/templates", "/api/v1/templates?limit=0", "", 400, `limit=0: want 1 to 5000`},
	{"GET /api/v1/hosts", "/api/v1/hosts?limit=5001", "", 400, `limit=5001: want 1 to 5000`},
	{"GET /api/v1/hosts", "/api/v1/hosts?limit=1&total=1", "", 200, `"next":"1","total":3}`},
	{"GET /api/v1/hosts", "/api/v1/hosts?limit=1&cursor=2", "", 200, `"name":"c"`},
	{"GET /api/v1/openapi.json", "/api/v1/openapi.json", "", 200, `"openapi":"3.1.0"`},
	{"GET /api/v1/moving", "/api/v1/moving", "", 200, `{"machines":[`},
	{"GET /api/v1/events", "/api/v1/events?back=0", "", 400, `back=0: want how many`},
	{"GET /api/v1/events", "/api/v1/events?back=1", "", 200, ``},
	{"GET /api/v1/events", "/api/v1/events?brief=1", "", 400, `brief=1 is for a stream`},
	{"GET /api/v1/audit", "/api/v1/audit?back=1", "", 200, `"seq":`},
	{"GET /api/v1/hosts", "/api/v1/hosts?cursor=x", "", 400, `cursor=x is none that this list gave`},
	{"GET /api/v1/leases", "/api/v1/leases?cursor=lab", "", 400, `cursor=lab is none`},
	{"GET /api/v1/leases", "/api/v1/leases?all=1&cursor=lab/10.0.0.7", "", 200, `{"items":[`},
	{"GET /api/v1/problems/{code}", "/api/v1/problems/changed", "", 200, `{"code":"changed","status":412,"title":"the host is not as`},
	{"GET /api/v1/problems/{code}", "/api/v1/problems/nothing", "", 404, `"code":"not-there"`},
	{"GET /api/v1/templates/{name}", "/api/v1/templates/deb", "", 200, `"install":true`},
	{"GET /api/v1/templates/{name}", "/api/v1/templates/nothing", "", 404, `"code":"unknown-template"`},
	{"POST /api/v1/templates", "/api/v1/templates", `{}`, 422, `"code":"invalid"`},
	{"POST /api/v1/templates", "/api/v1/templates", `{"dry_run":true,"spec":"name = \"new\"\n[boot]\nkernel = \"image:none/k\"\n"}`, 200, `"warnings":["there is no image none yet`},
	{"POST /api/v1/templates", "/api/v1/templates", `{"dry_run":true,"files":{"template.toml":{"digest":"` + digest + `","size":1}}}`, 422, `was not uploaded whole`},
	{"POST /api/v1/templates", "/api/v1/templates", `{"dry_run":true,"files":{"template.toml":{"digest":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","size":1}}}`, 422, `template.toml:1: `},
	{"POST /api/v1/templates", "/api/v1/templates", `{"dry_run":true,"spec":"nme = 1"}`, 422, `"code":"invalid"`},
	{"GET /api/v1/templates/{name}", "/api/v1/templates/new", "", 404, `"code":"unknown-template"`},
	{"POST /api/v1/templates", "/api/v1/templates", `{"files":{"template.toml":{"digest":"` + digest + `","size":1}}}`, 422, `was not uploaded whole`},
	{"POST /api/v1/templates", "/api/v1/templates", `{"files":{"../x":{"digest":"` + digest + `","size":1}}}`, 422, `want a relative path`},
	{"DELETE /api/v1/templates/{name}", "/api/v1/templates/free", "", 200, `{}`},
	{"DELETE /api/v1/templates/{name}", "/api/v1/templates/rescue", "", 409, `"detail":"template rescue is in use: 1 host names it","code":"in-use"`},
	{"GET /api/v1/templates/{name}/versions", "/api/v1/templates/deb/versions", "", 200, `"in_force":true,"hosts":0}]`},
	{"GET /api/v1/templates/{name}/versions", "/api/v1/templates/nothing/versions", "", 404, `"code":"unknown-template"`},
	{"GET /api/v1/templates/{name}/files/{file...}", "/api/v1/templates/deb/files/template.toml", "", 200, "install = true"},
	{"GET /api/v1/templates/{name}/files/{file...}", "/api/v1/templates/deb/files/nothing", "", 404, `"code":"not-there"`},
	{"GET /api/v1/templates/{name}/files/{file...}", "/api/v1/templates/nothing/files/template.toml", "", 404, `"code":"unknown-template"`},
	{"GET /api/v1/templates/{name}/diff", "/api/v1/templates/deb/diff", "", 200, "[]\n"},
	{"GET /api/v1/templates/{name}/diff", "/api/v1/templates/deb/diff?from=2", "", 404, `has no version 2`},
	{"GET /api/v1/templates/{name}/diff", "/api/v1/templates/deb/diff?to=x", "", 400, `number of a version`},
	{"GET /api/v1/templates/{name}/diff", "/api/v1/templates/nothing/diff", "", 404, `"code":"unknown-template"`},
	{"POST /api/v1/templates/{name}/pin", "/api/v1/templates/deb/pin", `{"version":1}`, 200, `"pinned":true`},
	{"POST /api/v1/templates/{name}/pin", "/api/v1/templates/deb/pin", `{"version":2}`, 404, `has no version 2`},
	{"POST /api/v1/templates/{name}/pin", "/api/v1/templates/nothing/pin", `{"version":1}`, 404, `"code":"unknown-template"`},
	{"POST /api/v1/templates/preview", "/api/v1/templates/preview", `{"name":"deb","q":"name:none"}`, 200, `"machines":0`},
	{"POST /api/v1/templates/preview", "/api/v1/templates/preview", `{"name":"nothing"}`, 404, `"code":"unknown-template"`},
	{"POST /api/v1/templates/preview", "/api/v1/templates/preview", `{"name":"deb","names":["nobody"]}`, 404, `"code":"unknown-host"`},
	{"POST /api/v1/templates/preview", "/api/v1/templates/preview", `{"name":"deb","q":"nothing:x"}`, 422, `no key is called`},
	{"POST /api/v1/templates/preview", "/api/v1/templates/preview", `{"files":{"template.toml":{"digest":"` + digest + `","size":1}}}`, 422, `was not uploaded whole`},
	{"DELETE /api/v1/templates/{name}", "/api/v1/templates/nothing", "", 404, `"code":"unknown-template"`},

	{"GET /api/v1/files/{digest}", "/api/v1/files/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", "", 200, `"size":1`},
	{"GET /api/v1/files/{digest}", "/api/v1/files/" + digest, "", 404, `"code":"not-there"`},
	{"PUT /api/v1/files/{digest}", "/api/v1/files/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", "x", 200, `"size":1`},
	{"PUT /api/v1/files/{digest}", "/api/v1/files/" + digest, "x", 422, `bytes do not match their SHA-256`},
	{"PUT /api/v1/files/{digest}", "/api/v1/files/abc", "x", 422, `no SHA-256 digest`},

	{"GET /api/v1/images", "/api/v1/images", "", 200, `"name":"spare"`},
	{"POST /api/v1/images", "/api/v1/images", `{"name":"new"}`, 422, `has no files`},
	{"POST /api/v1/images", "/api/v1/images", `{"name":"new","files":{"x":{"digest":"` + digest + `","size":1}}}`, 422, `was not uploaded whole`},
	{"POST /api/v1/images", "/api/v1/images", `{"name":"debian","files":{"x":{"digest":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","size":1}}}`, 409, `exists with other files`},
	{"POST /api/v1/images", "/api/v1/images", `{"name":"new","tree":"y","files":{"x":{"digest":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","size":1}}}`, 422, `names y as its disc`},
	{"POST /api/v1/images", "/api/v1/images", `{"name":"new","title":"\u001b[31m<b>","files":{"x":{"digest":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","size":1}}}`, 200, `"title":"[31m\u003cb\u003e"`},
	{"POST /api/v1/images/import", "/api/v1/images/import", "", 400, `begins with the image's description`},
	{"POST /api/v1/images/{name}/verify", "/api/v1/images/debian/verify", "", 200, `"done":true,"files":2`},
	{"POST /api/v1/images/{name}/verify", "/api/v1/images/nothing/verify", "", 404, `"code":"unknown-image"`},
	{"DELETE /api/v1/images/{name}", "/api/v1/images/spare", "", 200, `{}`},
	{"DELETE /api/v1/images/{name}", "/api/v1/images/debian", "", 409, `"code":"in-use"`},
	{"DELETE /api/v1/images/{name}", "/api/v1/images/nothing", "", 404, `"code":"unknown-image"`},

	{"GET /api/v1/params", "/api/v1/params", "", 200, `{"items":[]}`},
	{"PATCH /api/v1/params/{scope...}", "/api/v1/params/tag/rack=12", `{"params":{"k":"v"}}`, 200, `"scope":"tag/rack=12","params":{"k":"v"}`},
	{"PATCH /api/v1/params/{scope...}", "/api/v1/params/site", `{"params":{"k":"a\nb"}}`, 422, `control characters`},
	{"PATCH /api/v1/params/{scope...}", "/api/v1/params/site", `{}`, 422, `nothing to set`},
	{"PATCH /api/v1/params/{scope...}", "/api/v1/params/network/nowhere", `{"params":{"k":"v"}}`, 422, `no network is called nowhere`},
	{"PATCH /api/v1/params/{scope...}", "/api/v1/params/tag/a/b", `{"params":{"k":"v"}}`, 422, `tag name`},
	{"PATCH /api/v1/params/{scope...}", "/api/v1/params/all", `{"params":{"k":"v"}}`, 422, `is no scope`},

	{"GET /api/v1/leases", "/api/v1/leases", "", 200, `"addr":"10.0.0.7"`},
	{"GET /api/v1/leases", "/api/v1/leases?network=lab&all=1", "", 200, `"addr":"10.0.0.7"`},
	{"GET /api/v1/leases", "/api/v1/leases?network=nowhere", "", 404, `"code":"unknown-network"`},
	{"DELETE /api/v1/leases/{network}/{addr}", "/api/v1/leases/lab/10.0.0.7", "", 200, `{}`},
	{"DELETE /api/v1/leases/{network}/{addr}", "/api/v1/leases/lab/10.0.0.8", "", 404, `"code":"unknown-lease"`},
	{"DELETE /api/v1/leases/{network}/{addr}", "/api/v1/leases/lab/here", "", 422, `is no address`},

	{"GET /api/v1/diagnose", "/api/v1/diagnose", "", 200, `"name":"c"`},
	{"GET /api/v1/diagnose", "/api/v1/diagnose?who=b", "", 200, `"name":"b"`},
	{"GET /api/v1/diagnose", "/api/v1/diagnose?who=52:54:00:00:00:01", "", 200, `"name":"a"`},
	{"GET /api/v1/diagnose", "/api/v1/diagnose?who=52:54:00:00:00:0f", "", 404, `"code":"unheard"`},
	{"POST /api/v1/explain", "/api/v1/explain", `{"network":"lab"}`, 200, `"network":"lab"`},

	{"POST /api/v1/plans", "/api/v1/plans", `{"action":"deny","q":"state:approved"}`, 200, `"action":"deny"`},
	{"POST /api/v1/plans", "/api/v1/plans", `{"action":"install","names":["a"],"template":"deb","expires":"24h"}`, 200, `"count":1`},
	{"POST /api/v1/plans", "/api/v1/plans", `{"action":"deny","q":"state:x"}`, 422, `want pending`},
	{"POST /api/v1/plans", "/api/v1/plans", `{"action":"set","names":["a"],"set":{"name":"b"}}`, 422, `are one machine's`},
	{"POST /api/v1/plans", "/api/v1/plans", `{"action":"install","all":true,"expires":"soon"}`, 422, `want a time`},
	{"GET /api/v1/plans/{id}", "/api/v1/plans/7", "", 404, `"code":"unknown-plan"`},
	{"POST /api/v1/plans/{id}/run", "/api/v1/plans/7/run", `{}`, 404, `"code":"unknown-plan"`},
	{"POST /api/v1/backup", "/api/v1/backup", "", 200, `MANIFEST.json`},
	{"GET /readyz", "/readyz", "", 200, `"ready":true`},
	{"POST /api/v1/config/plan", "/api/v1/config/plan", `{"name":"m.toml","text":"x"}`, 200, `"changes":["x"]`},
	{"POST /api/v1/config/plan", "/api/v1/config/plan", `{"name":"m.toml"}`, 422, `m.toml is empty`},
	{"POST /api/v1/config/reload", "/api/v1/config/reload", `{}`, 422, `muster.toml:7`},

	{"GET /api/v1/webhooks", "/api/v1/webhooks", "", 200, `"name":"chat"`},
	{"POST /api/v1/webhooks/{name}/test", "/api/v1/webhooks/chat/test", "", 200, `"ok":true`},
	{"POST /api/v1/webhooks/{name}/test", "/api/v1/webhooks/nobody/test", "", 404, `"code":"unknown-hook"`},
	{"POST /api/v1/webhooks/{name}/resend", "/api/v1/webhooks/chat/resend", `{"seqs":[1,999]}`, 200, `"ok":true`},
	{"POST /api/v1/webhooks/{name}/resend", "/api/v1/webhooks/chat/resend", `{"dead":true}`, 200, `[]`},
	{"POST /api/v1/webhooks/{name}/resend", "/api/v1/webhooks/chat/resend", `{"seqs":[` + strings.Repeat("1,", 1000) + `1]}`, 413, `"code":"too-large"`},

	{"GET /api/v1/me", "/api/v1/me", "", 200, `"role":"admin"`},
	{"POST /api/v1/login", "/api/v1/login", `{"name":"ann","password":"correct horse battery"}`, 200, `"token":"mst_`},
	{"POST /api/v1/login", "/api/v1/login", `{"name":"ann","password":"wrong horse battery"}`, 401, `the name or the password is wrong`},
	{"POST /api/v1/login", "/api/v1/login", `{"name":"nobody","password":"wrong horse battery"}`, 401, `the name or the password is wrong`},
	{"POST /api/v1/join", "/api/v1/join", `{"name":"ann","link":"mst_x","password":"correct horse battery"}`, 401, `the link is not known, was used, or has ended`},
	{"POST /api/v1/join", "/api/v1/join", `{"link":1}`, 400, `"code":"malformed"`},
	{"POST /api/v1/logout", "/api/v1/logout", "", 422, `no token was shown`},
	{"GET /api/v1/users", "/api/v1/users", "", 200, `"name":"ann","role":"operate"`},
	{"POST /api/v1/users", "/api/v1/users", `{"name":"bob","password":"a long enough one","role":"read","scope":"tag:lab"}`, 200, `"scope":"tag:lab"`},
	{"POST /api/v1/users", "/api/v1/users", `{"name":"bob","password":"short","role":"read"}`, 422, `12 characters`},
	{"POST /api/v1/users", "/api/v1/users", `{"name":"bob","password":"a long enough one","role":"root"}`, 422, `want read, operate or admin`},
	{"POST /api/v1/users", "/api/v1/users", `{"name":"bob","password":"a long enough one","role":"read","scope":"state:pending"}`, 422, `what a host is`},
	{"POST /api/v1/users", "/api/v1/users", `{"name":"ann","password":"a long enough one","role":"read"}`, 409, `"code":"taken"`},
	{"PATCH /api/v1/users/{name}", "/api/v1/users/ann", `{"role":"admin"}`, 200, `"role":"admin"`},
	{"PATCH /api/v1/users/{name}", "/api/v1/users/ann", `{"password":"x"}`, 422, `12 characters`},
	{"PATCH /api/v1/users/{name}", "/api/v1/users/ann", `{"scope":"web1"}`, 422, `neither words`},
	{"PATCH /api/v1/users/{name}", "/api/v1/users/nobody", `{"role":"admin"}`, 404, `"code":"unknown-user"`},
	{"DELETE /api/v1/users/{name}", "/api/v1/users/ann", "", 200, `"name":"ann"`},
	{"DELETE /api/v1/users/{name}", "/api/v1/users/nobody", "", 404, `"code":"unknown-user"`},
	{"GET /api/v1/tokens", "/api/v1/tokens", "", 200, `"name":"ci","role":"read"`},
	{"POST /api/v1/tokens", "/api/v1/tokens", `{"name":"grafana","role":"read","expires":"30d"}`, 200, `"token":"mst_`},
	{"POST /api/v1/tokens", "/api/v1/tokens", `{"role":"read"}`, 422, `a token has a name`},
	{"POST /api/v1/tokens", "/api/v1/tokens", `{"name":"x","role":"read","expires":"soon"}`, 422, `want a time like`},
	{"POST /api/v1/tokens", "/api/v1/tokens", `{"name":"x","role":"read","scope":"seen:<1h"}`, 422, `what a host is`},
	{"POST /api/v1/tokens", "/api/v1/tokens", `{"name":"ci","role":"read"}`, 409, `"code":"taken"`},
	{"DELETE /api/v1/tokens/{name}", "/api/v1/tokens/ci", "", 200, `"name":"ci"`},
	{"DELETE /api/v1/tokens/{name}", "/api/v1/tokens/none", "", 404, `"code":"unknown-token"`},
	{"GET /api/v1/audit", "/api/v1/audit?kind=token.*", "", 200, `token ci made by`},
	{"GET /api/v1/audit", "/api/v1/audit?follow=1", "", 400, `"code":"malformed"`},

	{"GET /api/v1/events", "/api/v1/events?audit=1", "", 200, `"audit":1`},
	{"GET /api/v1/events", "/api/v1/events?audit=1&follow=1", "", 400, `"code":"malformed"`},
	{"GET /api/v1/events", "/api/v1/events", "", 200, `"kind":"host.added"`},
	{"GET /api/v1/events", "/api/v1/events?all=1&host=a", "", 200, `kernel: up`},
	{"GET /api/v1/events", "/api/v1/events?kind=image.*&after=1", "", 200, `image spare imported`},
	{"GET /api/v1/events", "/api/v1/events?since=2030-01-01T00:00:00Z", "", 200, ``},
	{"GET /api/v1/events", "/api/v1/events?host=nobody", "", 404, `"code":"unknown-host"`},
	{"GET /api/v1/events", "/api/v1/events?after=x", "", 400, `"code":"malformed"`},
	{"GET /api/v1/events", "/api/v1/events?since=x", "", 400, `"code":"malformed"`},
	{"GET /api/v1/events", "/api/v1/events?kind=nothing", "", 422, `"code":"invalid"`},
}

// patterns reads the routes out of the source.
func patterns(t *testing.T) (out []string) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	is := regexp.MustCompile(`^(GET|POST|PUT|PATCH|DELETE) /`)
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		x, err := parser.ParseFile(token.NewFileSet(), f, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(x, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				if s, err := strconv.Unquote(l.Value); err == nil && is.MatchString(s) {
					out = append(out, s)
				}
			}
			return true
		})
	}
	return out
}

// TestEveryRoute: what each route answers when all is well, and what when it is not.
// Whatever is refused changes nothing.
func TestEveryRoute(t *testing.T) {
	for _, p := range patterns(t) {
		if !slices.ContainsFunc(calls, func(c call) bool { return c.pattern == p }) {
			t.Errorf("no call of %s", p)
		}
	}
	var d *desk
	for _, c := range calls {
		method, _, _ := strings.Cut(c.pattern, " ")
		if d == nil {
			d = newDesk(t)
			d.furnish()
		}
		before := d.everything()
		a := d.ask(method, c.path, c.body)
		if a.Code != c.status || !strings.Contains(a.Body.String(), c.want) {
			t.Errorf("%s %s %.200s: %d %s, want %d %s", method, c.path, c.body, a.Code, a.Body, c.status, c.want)
		}
		if a.Code >= 400 {
			var f client.Problem
			if a.into(&f); f.Code == "" || f.Detail == "" || kinds[f.Code].status != a.Code {
				t.Errorf("%s %s: %d with %+v", method, c.path, a.Code, f)
			}
		}
		if (a.Code >= 400 || method == "GET") && d.everything() != before {
			t.Errorf("%s %s changed something", method, c.path)
		}
		if s := d.log.String(); s != "" {
			t.Errorf("%s %s: the log says %s", method, c.path, s)
		}
		if a.Code < 400 && method != "GET" {
			d = nil
		}
	}
}

// bodies are the routes that read JSON.
var bodies = []struct{ method, path string }{
	{"POST", "/api/v1/hosts"}, {"POST", "/api/v1/hosts/import"}, {"POST", "/api/v1/hosts/approve"}, {"POST", "/api/v1/hosts/deny"},
	{"PATCH", "/api/v1/hosts/a"}, {"DELETE", "/api/v1/hosts/a"}, {"POST", "/api/v1/hosts/b/approve"}, {"POST", "/api/v1/hosts/a/deny"}, {"POST", "/api/v1/hosts/a/install"},
	{"POST", "/api/v1/hosts/a/rescue"}, {"POST", "/api/v1/hosts/a/local"}, {"POST", "/api/v1/hosts/a/update"}, {"POST", "/api/v1/hosts/a/merge"}, {"POST", "/api/v1/hosts/c/split"},
	{"POST", "/api/v1/templates"}, {"POST", "/api/v1/templates/preview"}, {"POST", "/api/v1/templates/deb/pin"}, {"PATCH", "/api/v1/params/site"}, {"POST", "/api/v1/images"}, {"POST", "/api/v1/explain"}, {"POST", "/api/v1/config/plan"}, {"POST", "/api/v1/config/reload"}, {"POST", "/api/v1/plans"}, {"POST", "/api/v1/plans/1/run"}, {"POST", "/api/v1/webhooks/chat/resend"},
	{"POST", "/api/v1/users"}, {"PATCH", "/api/v1/users/ann"}, {"POST", "/api/v1/tokens"},
}

// TestBadBodies: what is no JSON, or not the JSON that a route takes, is refused as
// malformed, and changes nothing.
func TestBadBodies(t *testing.T) {
	d := newDesk(t)
	d.furnish()
	before := d.everything()
	for _, r := range bodies {
		for _, body := range []string{`{`, `}`, `[`, `nothing`, `"a"`, `[]`, `7`, `{"nothing_like_this":1}`, `{} {}`, `{} x`, `{"a":1}`, "\x00", "\xff\xfe{}", `{"`, `{"files":7,"hosts":7,"all":7,"name":7,"template":7,"other":7,"seqs":7,"mac":7}`,
			strings.Repeat(`[`, 20_000), strings.Repeat(`{"hosts":`, 20_000)} {
			var f client.Problem
			if d.want(400, r.method, r.path, body).into(&f); f.Code != boot.Malformed || len(f.Detail) > 400 {
				t.Errorf("%s %s %.60q: %+v", r.method, r.path, body, f)
			}
		}
		// One that says how large it is is not read, and one that does not is read to
		// the bound. The import takes more.
		q := httptest.NewRequestWithContext(t.Context(), r.method, r.path, strings.NewReader("{}"))
		q.ContentLength = maxJSON + 1
		if strings.HasSuffix(r.path, "/import") {
			q.ContentLength = maxImport + 1
		}
		w := httptest.NewRecorder()
		if d.api.ServeHTTP(w, q); w.Code != 413 {
			t.Errorf("%s %s, large: %d %s", r.method, r.path, w.Code, w.Body)
		}
	}
	for _, body := range []string{strings.Repeat(" ", maxJSON) + `{}`, `{"name":"` + strings.Repeat("a", maxJSON) + `"}`} {
		q := httptest.NewRequestWithContext(t.Context(), "POST", "/api/v1/hosts", struct{ io.Reader }{strings.NewReader(body)})
		w := httptest.NewRecorder()
		if d.api.ServeHTTP(w, q); w.Code != 413 || q.ContentLength != -1 {
			t.Errorf("large: %d %s", w.Code, w.Body)
		}
	}
	many := `{"hosts":[` + strings.Repeat(`{},`, boot.MaxAddHosts) + `{}]}`
	d.want(413, "POST", "/api/v1/hosts/import", many)
	if d.everything() != before {
		t.Error("something was changed")
	}
}

// TestBadDigests: what is no digest is a value that cannot be, wherever one goes.
func TestBadDigests(t *testing.T) {
	d := newDesk(t)
	d.furnish()
	before := d.everything()
	for _, bad := range []string{"", "0", digest[1:], digest + "0", digest[1:] + "g", digest[1:] + "A", strings.Repeat("Ab", 32), "sha256:" + digest, " " + digest, strings.Repeat("\x00", 64), digest[1:] + "\n",
		strings.Repeat("\x1b", 64), strings.Repeat("é", 32), "../../" + digest[6:], ".", strings.Repeat("a/", 32)} {
		quoted, err := json.Marshal(bad)
		if err != nil {
			t.Fatal(err)
		}
		files := `"files":{"x":{"digest":` + string(quoted) + `,"size":1}}`
		all := []call{{"POST", "/api/v1/templates", `{` + files + `}`, 422, ""}, {"POST", "/api/v1/images", `{"name":"new",` + files + `}`, 422, ""}}
		if bad != "" && bad != "." { // which are no part of a path
			all = append(all, call{"PUT", "/api/v1/files/" + urlEscape(bad), "x", 422, ""}, call{"GET", "/api/v1/files/" + urlEscape(bad), "", 422, ""})
		}
		for _, c := range all {
			var f client.Problem
			a := d.want(c.status, c.pattern, c.path, c.body).into(&f)
			if err := harmless(a); err != nil || f.Code != boot.Invalid || !strings.Contains(f.Detail, "is no SHA-256 digest") {
				t.Errorf("%s %s %q: %+v, %v", c.pattern, c.path, bad, f, err)
			}
		}
	}
	if d.everything() != before {
		t.Error("something was changed")
	}
}

// hostile is text that must come back as text, or not at all.
var hostile = []string{"<script>alert(1)</script>", "a\x00b", "\x1b[2J\x1b]0;x\x07", "a\r\nSet-Cookie: x=1", "../../etc/passwd", "%00", "\u202etxt.exe", "'; drop table hosts; --", strings.Repeat("a", 5000), "\xff\xfe", "{{.}}", "a/b", "."}

// harmless reports an answer that no terminal or browser takes for more than text.
func harmless(a answer) error {
	if a.Code >= 500 {
		return fmt.Errorf("status %d", a.Code)
	}
	if ct := a.Header().Get("Content-Type"); a.Code >= 400 && ct != "application/problem+json" {
		return fmt.Errorf("content type %q", ct)
	}
	if strings.ContainsAny(a.Body.String(), "<>\x00\x1b\r\x07") {
		return fmt.Errorf("it says %q", a.Body)
	}
	for k, v := range a.Header() {
		if strings.ContainsFunc(k+strings.Join(v, ""), unicode.IsControl) {
			return fmt.Errorf("header %q %q", k, v)
		}
	}
	if a.Code >= 400 {
		var f client.Problem
		if err := json.Unmarshal(a.Body.Bytes(), &f); err != nil || len(f.Detail) > 2000 || strings.ContainsFunc(f.Detail, unicode.IsControl) {
			return fmt.Errorf("%v in %q", err, a.Body)
		}
	}
	return nil
}

// TestHostileNames sends such text wherever a name goes: in a path, in every field of
// a body, in a query, in a header.
func TestHostileNames(t *testing.T) {
	d := newDesk(t)
	d.furnish()
	before := d.everything()
	for _, x := range hostile {
		quoted, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		q := string(quoted)
		var tried []answer
		try := func(method, path, body string, header ...string) {
			tried = append(tried, d.ask(method, path, body, header...))
		}
		// A name in a path, with what a client must escape escaped.
		esc := strings.NewReplacer("+", "%20").Replace(urlEscape(x))
		for _, c := range calls {
			if !strings.Contains(c.pattern, "{") || strings.Contains(c.pattern, "verify") {
				continue
			}
			method, p, _ := strings.Cut(c.pattern, " ")
			if method == "PUT" {
				continue
			}
			p = regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllLiteralString(p, esc)
			try(method, p, "")
		}
		for _, body := range []string{`{"name":` + q + `,"serial":"SN-9"}`, `{"name":"d","serial":` + q + `}`, `{"name":"d","duid":` + q + `}`, `{"name":"d","macs":[` + q + `]}`, `{"name":"d","uuid":` + q + `}`,
			`{"name":"d","serial":"SN-9","template":` + q + `}`, `{"name":"d","serial":"SN-9","address":` + q + `}`, `{"name":"d","serial":"SN-9","params":{` + q + `:"v"}}`, `{"name":"d","serial":"SN-9","state":` + q + `}`,
			`{"name":"d","serial":"SN-9","options":[` + q + `]}`, `{` + q + `:1}`} {
			if x == "a/b" && strings.Contains(body, `"serial":"a/b"`) || strings.Contains(body, `"serial":`+q) && plain(x) || strings.Contains(body, `"name":`+q) && plain(x) && !strings.ContainsAny(x, "<>%/';{. ") {
				continue // a serial number may be that
			}
			try("POST", "/api/v1/hosts", body)
			try("POST", "/api/v1/hosts/import", `{"hosts":[`+body+`]}`)
		}
		for _, body := range []string{`{"name":` + q + `}`, `{"template":` + q + `}`, `{"drop_options":[` + q + `]}`, `{"params":{` + q + `:"v"}}`} {
			if !plain(x) || strings.ContainsAny(x, "<>%/';{. ") {
				try("PATCH", "/api/v1/hosts/a", body)
			}
		}
		for _, path := range []string{"/approve", "/install", "/rescue"} {
			try("POST", "/api/v1/hosts/a"+path, `{"template":`+q+`}`)
		}
		try("POST", "/api/v1/hosts/a/merge", `{"other":`+q+`}`)
		try("POST", "/api/v1/hosts/approve", `{"arch":[`+q+`]}`)
		try("POST", "/api/v1/images", `{"name":`+q+`,"files":{`+q+`:{"digest":`+q+`,"size":1}}}`)
		try("POST", "/api/v1/templates", `{"files":{`+q+`:{"digest":`+q+`,"size":1}}}`)
		for _, p := range []string{"/api/v1/hosts?state=", "/api/v1/leases?network=", "/api/v1/diagnose?who=", "/api/v1/events?host=", "/api/v1/events?kind=", "/api/v1/events?after=", "/api/v1/events?since="} {
			try("GET", p+urlEscape(x), "")
		}
		try("DELETE", "/api/v1/hosts/a", "", "If-Match", x)
		for _, a := range tried {
			if err := harmless(a); err != nil {
				t.Errorf("%.60q: %.600v", x, err)
			}
		}
	}
	if now := d.everything(); now != before {
		t.Errorf("something was changed:\n%s\n%s", before, now)
	}
}

// plain reports text that a serial number may be.
func plain(s string) bool {
	_, ok := boot.CleanSerial(s)
	return ok
}

func urlEscape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

// TestSaidTwice: every order that finds things as it wants them is no error, and is no
// event.
func TestSaidTwice(t *testing.T) {
	d := newDesk(t)
	d.furnish()
	events := func() (n int) {
		d.view(func(tx boot.ReadTx) error {
			es, err := tx.Events(0, 10_000)
			n = len(es)
			return err
		})
		return n
	}
	for _, c := range []call{
		{"POST", "/api/v1/hosts/b/approve", "", 200, ""},
		{"POST", "/api/v1/hosts/b/approve", "{}", 200, ""},
		{"POST", "/api/v1/hosts/a/install", `{"template":"deb"}`, 200, ""},
		{"POST", "/api/v1/hosts/a/local", "", 200, ""},
		{"POST", "/api/v1/hosts/b/deny", "", 200, ""},
		{"POST", "/api/v1/hosts/import", `{"hosts":[{"name":"n","serial":"SN-7"}]}`, 200, ""},
		{"POST", "/api/v1/images", `{"name":"again","files":` + d.files("x", "x") + `}`, 200, ""},
		{"PUT", "/api/v1/files/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", "x", 200, ""},
	} {
		d.want(200, c.pattern, c.path, c.body)
		before, n := d.everything(), events()
		d.want(200, c.pattern, c.path, c.body)
		if events() != n || d.everything() != before {
			t.Errorf("%s %s: said twice, it changes something", c.pattern, c.path)
		}
	}
}

// TestEveryFault provokes the codes that no call of TestEveryRoute does.
func TestEveryFault(t *testing.T) {
	d := newDesk(t)
	d.furnish()
	var f client.Problem
	d.want(200, "PATCH", "/api/v1/hosts/a", `{"protected":true,"template":"deb"}`)
	if d.want(409, "POST", "/api/v1/hosts/a/install", "").into(&f); f.Code != boot.IsProtected || f.Detail == "" {
		t.Errorf("%+v", f)
	}
	if err := d.store.Update(t.Context(), func(tx boot.Tx) error {
		h, err := tx.HostByName("a")
		if err == nil {
			h.Protected, h.Ticket = false, &boot.Ticket{Template: "deb", State: boot.TicketArmed, Boot: 1}
			err = tx.PutHost(h)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if d.want(409, "POST", "/api/v1/hosts/a/install", "").into(&f); f.Code != boot.TicketOpen {
		t.Errorf("%+v", f)
	}
	d.want(200, "POST", "/api/v1/hosts/a/install", `{"again":true}`)

	// A template for one boot, and one that a rule names, stay too.
	d.want(200, "POST", "/api/v1/hosts/a/rescue", `{"template":"free"}`)
	if d.want(409, "DELETE", "/api/v1/templates/free", "").into(&f); f.Code != boot.InUse || f.Hint != "muster host list" {
		t.Errorf("%+v", f)
	}
	d.want(200, "POST", "/api/v1/hosts/a/deny", "")
	p := d.policy
	p.Enroll.Rules = []boot.EnrollRule{{Name: "lab", Template: "free"}}
	if err := d.engine.SetPolicy(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if d.want(409, "DELETE", "/api/v1/templates/free", "").into(&f); f.Detail != "template free is named by rule lab of the configuration" {
		t.Errorf("%+v", f)
	}
}

// lasting is a desk's testing.TB that outlives one input of a fuzz target: a desk is
// furnished again only once something on it was changed.
type lasting struct {
	testing.TB
	desk   *desk
	before string
	undo   []func()
}

func (l *lasting) Cleanup(fn func())        { l.undo = append(l.undo, fn) }
func (l *lasting) Context() context.Context { return context.Background() }

func (l *lasting) clear() {
	for _, fn := range slices.Backward(l.undo) {
		fn()
	}
	l.desk, l.undo = nil, nil
}

// try gives a request to the desk and checks what holds for every answer: it is in the
// documented shape, text is no more than text, what was refused changed nothing, and
// what is stored is valid.
func (l *lasting) try(t *testing.T, r *http.Request) {
	if l.TB = t; l.desk == nil {
		l.desk = newDesk(l)
		l.desk.furnish()
		l.before = l.desk.everything()
	}
	defer func() {
		if t.Failed() {
			l.clear()
		}
	}()
	d, w := l.desk, httptest.NewRecorder()
	what := r.Method + " " + r.URL.String()
	d.api.ServeHTTP(w, r)
	a := answer{w, t}
	if err := sound(a); err != nil && r.Context().Err() == nil {
		t.Fatalf("%s: %v", what, err)
	}
	if d.log.Len() > 0 {
		t.Fatalf("%s: the log says %s", what, d.log.String())
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if (a.Code >= 400 || reads) && d.everything() != l.before {
		t.Fatalf("%s: %d, and something was changed", what, a.Code)
	}
	if a.Code >= 400 || reads {
		return
	}
	pending := uint64(0)
	for _, h := range d.hosts() {
		if err := h.Validate(); err != nil || h.Boots != 0 || h.Auto || h.Stage != "" {
			t.Fatalf("%s stored %+v: %v", what, h, err)
		}
		if h.State == boot.Pending {
			pending++
		}
	}
	d.view(func(tx boot.ReadTx) error {
		n, err := tx.Counter(boot.PendingHosts)
		if n != pending {
			t.Errorf("%s: %d wait and %d are counted", what, pending, n)
		}
		return err
	})
	l.clear()
}

// sound checks the form of an answer.
func sound(a answer) error {
	if a.Code >= 400 {
		if err := harmless(a); err != nil {
			return err
		}
		var f client.Problem
		d := json.NewDecoder(bytes.NewReader(a.Body.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(&f); err != nil || f.Detail == "" || kinds[f.Code].status != a.Code && (f.Code != boot.Malformed || a.Code != http.StatusMethodNotAllowed) {
			return fmt.Errorf("%d with %s: %w", a.Code, a.Body, err)
		}
		return nil
	}
	kind := a.Header().Get("Content-Type")
	if a.Code != http.StatusOK || !strings.HasPrefix(kind, "application/json") {
		if a.Code == http.StatusOK && (strings.HasPrefix(kind, "text/plain") || kind == octets || kind == "application/vnd.tcpdump.pcap" || kind == "application/x-tar") {
			return nil // metrics and packets
		}
		return fmt.Errorf("%d and %s", a.Code, kind)
	}
	for d := json.NewDecoder(a.Body); ; {
		var v any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if s := control(v); s != "" {
			return fmt.Errorf("it says %q", s)
		}
	}
}

// control finds a text with something in it that a terminal obeys; only the certificate
// has lines.
func control(v any) string {
	switch v := v.(type) {
	case string:
		if strings.ContainsFunc(strings.ReplaceAll(v, "\n", ""), unicode.IsControl) {
			return v
		}
	case []any:
		for _, x := range v {
			if s := control(x); s != "" {
				return s
			}
		}
	case map[string]any:
		for k, x := range v {
			if s := control(x); s != "" || control(k) != "" {
				return k + " " + s
			}
		}
	}
	return ""
}

// tarOf is a stream of files, name, content, name, content.
func tarOf(t testing.TB, named ...string) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i+1 < len(named); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: named[i], Mode: 0o644, Size: int64(len(named[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, named[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// FuzzBodies: whatever is sent to the routes that read JSON.
func FuzzBodies(f *testing.F) {
	seen := map[string]bool{}
	for _, c := range calls {
		if i := slices.IndexFunc(bodies, func(b struct{ method, path string }) bool {
			return b.method+" "+b.path == strings.Fields(c.pattern)[0]+" "+c.path
		}); i >= 0 && !seen[c.body] {
			seen[c.body] = true
			f.Add(uint8(i), c.body)
		}
	}
	for _, body := range []string{`{"params":{"k":"\u009b2J"}}`, `{"options":["domain-name=\u001b[2J"]}`, `{"options":["224=a\u009bb"]}`, `{"bound_port":"\u0085"}`} {
		f.Add(uint8(4), body) // to be set of a host
	}
	var l lasting
	f.Cleanup(func() { l.clear() })
	f.Fuzz(func(t *testing.T, route uint8, body string) {
		r := bodies[int(route)%len(bodies)]
		l.try(t, httptest.NewRequestWithContext(t.Context(), r.method, r.path, strings.NewReader(body)))
	})
}

// FuzzRequests: any method, path, query, header and body, read off the wire.
func FuzzRequests(f *testing.F) {
	for _, c := range calls {
		method, _, _ := strings.Cut(c.pattern, " ")
		f.Add(method, c.path, "", c.body)
	}
	for _, path := range []string{"/api/v1/hosts/a", "/", "//api/v1/../v1/status", "*", "/api/v1/hosts/a%2f..%2fb", "/api/v1/events?follow=1&all=1", "/api/v1/hosts/a/log?follow=1", "/api/v1/hosts?state=%1b[2J", "/api/v1/templates/%1b[2J%c2%9b"} {
		f.Add("GET", path, "", "")
		f.Add("HEAD", path, "If-None-Match: *\r\n", "")
	}
	f.Add("PATCH", "/api/v1/hosts/a", "If-Match: \"1\"\r\n", `{"name":"x"}`)
	f.Add("POST", "/api/v1/hosts", "Transfer-Encoding: chunked\r\n", "10\r\n{\"serial\":\"SN-9\"\r\n1\r\n}\r\n0\r\n\r\n")
	f.Add("POST", "/api/v1/hosts", "Content-Length: 9999999999\r\n", "{}")
	f.Add("OPTIONS", "/api/v1/hosts", "Expect: 100-continue\r\n", "")
	f.Add("POST", "/api/v1/images/import", "", tarOf(f, client.ImageHead, `{"name":"new"}`, "x", "x", "y", "yy"))
	var l lasting
	f.Cleanup(func() { l.clear() })
	f.Fuzz(func(t *testing.T, method, target, header, body string) {
		if !strings.Contains(strings.ToLower(header), "content-length") && !strings.Contains(strings.ToLower(header), "transfer-encoding") {
			header += fmt.Sprintf("Content-Length: %d\r\n", len(body))
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: muster\r\n" + header + "\r\n" + body)))
		if err != nil {
			return
		}
		ctx := t.Context()
		if r.URL.Query().Get("follow") == "1" { // which ends with its client
			var stop context.CancelFunc
			ctx, stop = context.WithTimeout(ctx, 5*time.Millisecond)
			defer stop()
		}
		l.try(t, r.WithContext(ctx))
	})
}
