// openapi.go: the API described for programs (OpenAPI 3.1), made from the table below and
// from the types of package client. A test holds every answer against it.

package admin

import (
	"encoding"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/diagnose"
	"github.com/musterboot/muster/client"
)

// operation is what a route takes and answers.
type operation struct {
	does  string // in a few words
	in    any    // value of the type that is read; nil: no body
	out   any    // of the type that is answered as JSON
	kind  string // media type of an answer that is no JSON value
	query string // parameters, between blanks; each may be absent
	body  string // media type of a body that is no JSON
}

const (
	lines   = "application/jsonl"
	octets  = "application/octet-stream"
	listing = "limit cursor total"
)

type none = struct{}

// operations has every route of needs.
var operations = map[string]operation{
	"POST /api/v1/login":                           {does: "Make a token of a name and a password", in: client.Login{}, out: client.TokenMade{}},
	"POST /api/v1/join":                            {does: "Choose a password by a link, and make a token", in: client.Joining{}, out: client.TokenMade{}},
	"GET /api/v1/ca":                               {does: "The built-in certificate authority", out: client.CA{}},
	"GET /api/v1/openapi.json":                     {does: "This document", out: map[string]any{}},
	"GET /api/v1/problems/{code}":                  {does: "What the code of a problem means", out: client.ProblemKind{}},
	"GET /metrics":                                 {does: "Metrics for Prometheus", kind: "text/plain"},
	"GET /readyz":                                  {does: "Whether machines are served", out: client.Ready{}},
	"GET /api/v1/me":                               {does: "Who asks", out: client.Me{}},
	"POST /api/v1/logout":                          {does: "End the token that is shown", out: none{}},
	"GET /api/v1/status":                           {does: "The daemon at a glance", out: client.Status{}},
	"GET /api/v1/hosts":                            {does: "List hosts", out: client.List[client.HostView]{}, query: "q state " + listing},
	"GET /api/v1/moving":                           {does: "Machines that are on their way", out: client.Moving{}},
	"GET /api/v1/hosts/{name}":                     {does: "Everything known of a host", out: client.HostDetail{}},
	"GET /api/v1/hosts/{name}/log":                 {does: "What a machine logged", kind: lines, query: "follow"},
	"GET /api/v1/hosts/{name}/capture":             {does: "A machine's packets", kind: "application/vnd.tcpdump.pcap"},
	"POST /api/v1/hosts":                           {does: "Put a host on the roll", in: client.NewHost{}, out: boot.Host{}},
	"POST /api/v1/hosts/import":                    {does: "Put many hosts on the roll, all or none", in: client.HostImport{}, out: client.HostImported{}},
	"POST /api/v1/hosts/approve":                   {does: "Let in hosts that wait", in: client.Inbox{}, out: []client.Inboxed{}},
	"POST /api/v1/hosts/deny":                      {does: "Deny hosts that wait", in: client.Inbox{}, out: []client.Inboxed{}},
	"PATCH /api/v1/hosts/{name}":                   {does: "Change a host", in: client.HostPatch{}, out: client.HostAnswer{}},
	"DELETE /api/v1/hosts/{name}":                  {does: "Take a host off the roll", in: none{}, out: client.HostAnswer{}},
	"POST /api/v1/hosts/{name}/approve":            {does: "Let a host in", in: client.Approval{}, out: client.HostAnswer{}},
	"POST /api/v1/hosts/{name}/deny":               {does: "Deny a host", in: none{}, out: client.HostAnswer{}},
	"POST /api/v1/hosts/{name}/install":            {does: "Arm an installation", in: client.Installation{}, out: client.HostAnswer{}},
	"POST /api/v1/hosts/{name}/rescue":             {does: "Boot another template once", in: client.Rescue{}, out: client.HostAnswer{}},
	"POST /api/v1/hosts/{name}/local":              {does: "Take an installation away", in: none{}, out: client.HostAnswer{}},
	"POST /api/v1/hosts/{name}/update":             {does: "Move to the version in force", in: none{}, out: client.HostAnswer{}},
	"POST /api/v1/hosts/{name}/merge":              {does: "Two hosts are one machine", in: client.Merge{}, out: client.HostAnswer{}},
	"POST /api/v1/hosts/{name}/split":              {does: "One host is two machines", in: client.Split{}, out: client.HostAnswer{}},
	"POST /api/v1/plans":                           {does: "Plan an order on many hosts", in: client.PlanRequest{}, out: client.Plan{}},
	"GET /api/v1/plans/{id}":                       {does: "A plan", out: client.Plan{}},
	"POST /api/v1/plans/{id}/run":                  {does: "Run a plan", in: client.PlanRun{}, out: client.PlanResult{}},
	"GET /api/v1/leases":                           {does: "List leases", out: client.List[boot.Lease]{}, query: "network all " + listing},
	"DELETE /api/v1/leases/{network}/{addr}":       {does: "Release a lease", out: none{}},
	"GET /api/v1/events":                           {does: "Events, stored ones and new ones; server-sent events to who takes text/event-stream", kind: lines, query: "after back since kind host all follow audit brief"},
	"GET /api/v1/diagnose":                         {does: "What stopped a machine, or all of them", out: client.List[diagnose.Stopped]{}, query: "who never_seen"},
	"POST /api/v1/explain":                         {does: "What a machine would get, step by step", in: client.ExplainRequest{}, out: client.Explanation{}},
	"GET /api/v1/templates":                        {does: "List templates", out: client.List[*boot.Template]{}, query: listing},
	"GET /api/v1/templates/{name}":                 {does: "A template", out: client.TemplateShown{}, query: "spec"},
	"GET /api/v1/templates/{name}/versions":        {does: "Versions of a template", out: client.List[client.Version]{}, query: listing},
	"GET /api/v1/templates/{name}/files/{file...}": {does: "A file of a template, of the version in force", kind: octets},
	"GET /api/v1/templates/{name}/diff":            {does: "What two versions differ in", out: []client.Difference{}, query: "from to"},
	"POST /api/v1/templates":                       {does: "Push a template, whose files are there", in: client.Push{}, out: client.Pushed{}},
	"DELETE /api/v1/templates/{name}":              {does: "Remove a template", out: none{}},
	"POST /api/v1/templates/preview":               {does: "What a version would change", in: client.Preview{}, out: client.Previewed{}},
	"POST /api/v1/templates/{name}/pin":            {does: "Put a version in force", in: client.Pin{}, out: client.InForce{}},
	"GET /api/v1/files/{digest}":                   {does: "Whether a file is there", out: boot.Blob{}},
	"PUT /api/v1/files/{digest}":                   {does: "Store a file", body: octets, out: boot.Blob{}},
	"GET /api/v1/images":                           {does: "List images", out: client.List[*boot.Image]{}, query: listing},
	"POST /api/v1/images":                          {does: "Make an image of files that are there", in: client.NewImage{}, out: boot.Image{}},
	"POST /api/v1/images/import":                   {does: "Import an image as one stream", body: "application/x-tar", out: boot.Image{}},
	"POST /api/v1/images/{name}/verify":            {does: "Read an image's files again", kind: lines},
	"DELETE /api/v1/images/{name}":                 {does: "Remove an image", out: none{}},
	"GET /api/v1/params":                           {does: "Parameters that many hosts inherit", out: client.List[*boot.Values]{}, query: listing},
	"PATCH /api/v1/params/{scope...}":              {does: "Change parameters of a scope", in: client.ParamPatch{}, out: client.ParamsSet{}},
	"GET /api/v1/webhooks":                         {does: "Webhooks and hooks", out: client.List[client.Webhook]{}, query: listing},
	"POST /api/v1/webhooks/{name}/test":            {does: "Send a ping", out: client.WebhookSent{}},
	"POST /api/v1/webhooks/{name}/resend":          {does: "Send events again", in: client.Resend{}, out: []client.WebhookSent{}},
	"POST /api/v1/store/check":                     {does: "Read the store", out: client.StoreChecked{}},
	"POST /api/v1/store/repair":                    {does: "Give up what is damaged", out: client.StoreRepaired{}},
	"POST /api/v1/config/reload":                   {does: "Read the configuration again", in: none{}, out: client.ConfigPlan{}},
	"POST /api/v1/config/plan":                     {does: "What a configuration would change", in: client.ConfigText{}, out: client.ConfigPlan{}},
	"POST /api/v1/backup":                          {does: "A backup", kind: "application/x-tar", query: "files recipient"},
	"GET /api/v1/audit":                            {does: "The audit trail", kind: lines, query: "after back since kind host"},
	"GET /api/v1/users":                            {does: "List users", out: client.List[client.UserView]{}, query: listing},
	"POST /api/v1/users":                           {does: "Let a person in", in: client.NewUser{}, out: client.UserView{}},
	"PATCH /api/v1/users/{name}":                   {does: "Change a user", in: client.UserPatch{}, out: client.UserView{}},
	"DELETE /api/v1/users/{name}":                  {does: "Remove a user", out: client.UserView{}},
	"GET /api/v1/tokens":                           {does: "List tokens", out: client.List[client.TokenView]{}, query: listing},
	"POST /api/v1/tokens":                          {does: "Let a program in", in: client.NewToken{}, out: client.TokenMade{}},
	"DELETE /api/v1/tokens/{name}":                 {does: "End a token", out: client.TokenView{}},
}

// queries are the parameters that routes take in their addresses.
var queries = map[string]struct {
	kind string
	does string
}{
	"q": {"string", "a query, as muster host list --help has it"}, "state": {"string", "pending, approved or denied"},
	"limit": {"integer", "how many at most: 1 to 5000, 500 where it is not said"}, "cursor": {"string", "what the page before gave as next"}, "total": {"string", "1 counts all pages"},
	"follow": {"string", "1 goes on until the client leaves"}, "network": {"string", "of this network alone"}, "all": {"string", "1: leases that have ended, too; of events: requests, too"},
	"brief": {"string", "1: of a stream, only that there is news, at most twice a second"},
	"after": {"integer", "from the event after this number"}, "back": {"integer", "from so many events back"}, "since": {"string", "from this time, RFC 3339"}, "kind": {"string", "of this kind, or this family of kinds; may be repeated"},
	"host": {"string", "of this machine"}, "audit": {"string", "1: decisions of people and programs alone"}, "who": {"string", "host, MAC address or address"}, "never_seen": {"string", "1: hosts that never asked, too"},
	"spec": {"string", "true: template.toml, too"}, "from": {"integer", "a version"}, "to": {"integer", "a version"}, "files": {"string", "all: every boot file"}, "recipient": {"string", "an age recipient, for whom the sealing key is in it"},
}

// openAPI is the document.
var openAPI = sync.OnceValue(func() map[string]any {
	d := &document{schemas: map[string]any{}}
	// What is answered has all that has no omitempty; what is asked may leave anything out.
	d.of(reflect.TypeFor[client.Problem]())
	d.of(reflect.TypeFor[client.Entry]())
	for _, pattern := range slices.Sorted(maps.Keys(operations)) {
		if o := operations[pattern]; o.out != nil {
			d.of(reflect.TypeOf(o.out))
		}
	}
	d.asked = true
	paths := map[string]map[string]any{}
	for _, pattern := range slices.Sorted(maps.Keys(operations)) {
		o := operations[pattern]
		method, path, _ := strings.Cut(pattern, " ")
		path = strings.ReplaceAll(path, "...}", "}")
		if paths[path] == nil {
			paths[path] = map[string]any{}
		}
		paths[path][strings.ToLower(method)] = d.operation(pattern, path, o)
	}
	return map[string]any{
		"openapi": "3.1.0",
		"info":    map[string]any{"title": "Muster", "version": "v1", "description": "Who asks shows a token; docs/api.md tells of roles, lists, plans and problems."},
		"paths":   paths,
		"components": map[string]any{"schemas": d.schemas,
			"securitySchemes": map[string]any{"token": map[string]any{"type": "http", "scheme": "bearer"}}},
	}
})

func (s *Server) openAPI(*http.Request) (any, error) { return openAPI(), nil }

type document struct {
	schemas map[string]any
	asked   bool // the types that are met now are those of requests
}

func (d *document) operation(pattern, path string, o operation) map[string]any {
	n := needs[pattern]
	say := o.does + "."
	if n.role != anybody {
		say += " Role: " + string(n.role) + "."
	}
	if !n.confined {
		say += " Not with a scope."
	}
	answer := map[string]any{"description": "done"}
	switch {
	case o.kind != "":
		answer["content"] = map[string]any{o.kind: map[string]any{}}
	default:
		answer["content"] = map[string]any{"application/json": map[string]any{"schema": d.of(reflect.TypeOf(o.out))}}
	}
	out := map[string]any{"summary": o.does, "description": say, "operationId": operationID(pattern),
		"responses": map[string]any{"200": answer, "default": map[string]any{"description": "a problem (RFC 9457)", "content": map[string]any{"application/problem+json": map[string]any{"schema": d.of(reflect.TypeFor[client.Problem]())}}}}}
	if n.role != anybody {
		out["security"] = []any{map[string]any{"token": []string{}}}
	}
	params := []any{}
	for part := range strings.SplitSeq(path, "/") {
		if name, is := strings.CutPrefix(part, "{"); is {
			params = append(params, map[string]any{"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
		}
	}
	for name := range strings.FieldsSeq(o.query) {
		q := queries[name]
		params = append(params, map[string]any{"name": name, "in": "query", "description": q.does, "schema": map[string]any{"type": q.kind}})
	}
	if _, is := hostOrders[pattern]; is {
		params = append(params, map[string]any{"name": "If-Match", "in": "header", "description": "the ETag of the host as it was read: if it has changed, 412 tells how it is", "schema": map[string]any{"type": "string"}})
	}
	if repeats(pattern) {
		params = append(params, map[string]any{"name": "Idempotency-Key", "in": "header", "description": "a text of your own: sent again with it within the hour, the order is carried out once and answered as before", "schema": map[string]any{"type": "string", "maxLength": againKey}})
	}
	if len(params) > 0 {
		out["parameters"] = params
	}
	switch {
	case o.body != "":
		out["requestBody"] = map[string]any{"required": true, "content": map[string]any{o.body: map[string]any{}}}
	case o.in != nil && reflect.TypeOf(o.in) != reflect.TypeFor[none]():
		out["requestBody"] = map[string]any{"content": map[string]any{"application/json": map[string]any{"schema": d.of(reflect.TypeOf(o.in))}}}
	}
	return out
}

// operationID is a name for generators: "POST /api/v1/hosts/{name}/approve" is
// post-hosts-name-approve.
func operationID(pattern string) string {
	return strings.ToLower(strings.Trim(strings.NewReplacer(" /api/v1/", "-", " /", "-", "/", "-", "{", "", "...}", "", "}", "", ".", "-").Replace(pattern), "-"))
}

var (
	asText = reflect.TypeFor[encoding.TextMarshaler]()
	asJSON = reflect.TypeFor[json.Marshaler]()
)

// of is the schema of a type; a struct is described once, and referred to.
func (d *document) of(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[time.Duration]():
		return map[string]any{"type": "integer", "description": "nanoseconds"}
	case t == reflect.TypeFor[diagnose.Remedy]():
		return map[string]any{"type": "object", "properties": map[string]any{"text": map[string]any{"type": "string"}, "order": map[string]any{"type": "string"}, "args": map[string]any{"type": "object"}}}
	case t == reflect.TypeFor[boot.Option](), t.Implements(asText), reflect.PointerTo(t).Implements(asText):
		return map[string]any{"type": "string"}
	case t.Implements(asJSON) && t.Kind() != reflect.Pointer:
		return map[string]any{} // says itself what it is
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.of(t.Elem())
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return map[string]any{"type": "string", "contentEncoding": "base64"}
		}
		return map[string]any{"type": []string{"array", "null"}, "items": d.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": d.of(t.Elem())}
	case reflect.Struct:
		name := nameOf(t)
		if name == "" {
			return d.fields(t)
		}
		if _, known := d.schemas[name]; !known {
			d.schemas[name] = nil // it may have itself in it
			d.schemas[name] = d.fields(t)
		}
		return map[string]any{"$ref": "#/components/schemas/" + name}
	case reflect.Interface:
		return map[string]any{}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	}
	return map[string]any{"type": "integer"}
}

// nameOf is a name for generators: List[client.HostView] is HostViewList.
func nameOf(t reflect.Type) string {
	name, of, generic := strings.Cut(t.Name(), "[")
	if generic {
		of = strings.TrimSuffix(of, "]")
		name = of[strings.LastIndexAny(of, "./*")+1:] + name
	}
	return name
}

// fields describes a struct, with what it embeds as encoding/json has it.
func (d *document) fields(t reflect.Type) map[string]any {
	props := map[string]any{}
	var must []string
	for _, f := range reflect.VisibleFields(t) {
		tag, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || tag == "-" || f.Anonymous && tag == "" {
			continue
		}
		if tag == "" {
			tag = f.Name
		}
		if len(f.Index) > 1 && props[tag] != nil {
			continue // hidden by one that is nearer
		}
		props[tag] = d.of(f.Type)
		if !strings.Contains(opts, "omit") && f.Type.Kind() != reflect.Pointer && !slices.Contains(must, tag) {
			must = append(must, tag)
		}
	}
	out := map[string]any{"type": "object", "properties": props}
	if len(must) > 0 && !d.asked {
		slices.Sort(must)
		out["required"] = must
	}
	return out
}
