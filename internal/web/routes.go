// routes.go: the pages, and what each asks the API.

package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/diagnose"
	"github.com/musterboot/muster/client"
)

// perPage is how many rows a page of a list has.
const perPage = "100"

func (s *Site) routes() {
	s.mux.HandleFunc("GET /assets/{name}", s.asset)
	s.mux.HandleFunc("GET /login", s.signIn)
	s.mux.HandleFunc("POST /login", s.signIn)
	s.mux.HandleFunc("GET /join/{name}/{link}", s.join)
	s.mux.HandleFunc("POST /join/{name}/{link}", s.join)
	s.mux.HandleFunc("POST /logout", s.signOut)
	s.page("/{$}", "now", "Now", s.now)
	s.page("/hosts", "hosts", "Hosts", hosts)
	s.page("/inbox", "inbox", "Inbox", inbox)
	s.page("/hosts/{name}", "host", "Hosts", host)
	s.page("/templates", "templates", "Templates", listOf[boot.Template]("/api/v1/templates"))
	s.page("/templates/{name}", "template", "Templates", templatePage)
	s.page("/images", "images", "Images", listOf[boot.Image]("/api/v1/images"))
	s.page("/networks", "networks", "Networks", networks)
	s.page("/events", "events", "Events", events)
	s.page("/settings", "settings", "Settings", settings)
	s.page("/api", "api", "", describe)
	s.page("/plans/{id}", "plan", "Hosts", plan)
	s.page("/", "wrong", "", func(context.Context, *client.Client, *http.Request, *view) (any, error) {
		return nil, boot.NewFault(boot.NotThere, "there is no such page")
	})
	s.order("/hosts/{name}/{order}", orderHost)
	s.order("/plans", makePlan)
	s.order("/plans/{id}/run", runPlan)
	s.order("/templates/{name}/pin", pinTemplate)
}

// nowBody is what wants a person, then what moves.
type nowBody struct {
	wants
	Moving client.Moving
	Last   []client.Entry
}

// wants is what wants a person.
type wants struct {
	Waiting client.List[client.HostView]
	Armed   client.List[client.HostView]
	Stopped []diagnose.Stopped
}

func wanted(ctx context.Context, c *client.Client) (b wants, err error) {
	for q, into := range map[string]*client.List[client.HostView]{"state:pending": &b.Waiting, "ticket:armed state:approved protected:no": &b.Armed} {
		if err := c.Call(ctx, http.MethodGet, "/api/v1/hosts?total=1&limit=8&q="+url.QueryEscape(q), nil, into); err != nil {
			return b, err
		}
	}
	if err := allOf(ctx, c, "/api/v1/diagnose", &b.Stopped); err != nil {
		return b, err
	}
	// Who waits for approval is in a list of its own.
	b.Stopped = slices.DeleteFunc(b.Stopped, func(x diagnose.Stopped) bool {
		return len(x.Found) > 0 && (x.Found[0].Code == diagnose.Pending || x.Found[0].Code == diagnose.Denied)
	})
	return b, nil
}

func (s *Site) now(ctx context.Context, c *client.Client, _ *http.Request, v *view) (any, error) {
	return s.nows.of(string(v.Me.Role)+" "+v.Me.Scope).get(time.Now, func() (b nowBody, err error) {
		if b.wants, err = wanted(ctx, c); err != nil {
			return b, err
		}
		if err := c.Call(ctx, http.MethodGet, "/api/v1/moving", nil, &b.Moving); err != nil {
			return b, err
		}
		last, err := entries(ctx, c, url.Values{"back": {"200"}})
		slices.Reverse(last)
		b.Last = last[:min(12, len(last))]
		return b, err
	})
}

// allOf reads a list; what its reader may not see is empty.
func allOf[T any](ctx context.Context, c *client.Client, path string, into *[]T) error {
	err := client.ReadAll(ctx, c, path, into)
	if f := boot.FaultOf(err); f != nil && f.Code == boot.Forbidden {
		return nil
	}
	return err
}

func listOf[T any](path string) fetch {
	return func(ctx context.Context, c *client.Client, r *http.Request, v *view) (any, error) {
		var l client.List[T]
		err := c.Call(ctx, http.MethodGet, path+"?total=1&limit="+perPage+"&cursor="+url.QueryEscape(r.URL.Query().Get("cursor")), nil, &l)
		return l, err
	}
}

// countFor is how long a page of the roll waits for the number of all that match.
const countFor = 200 * time.Millisecond

// hostsBody is a page of the roll. Its Total is nil if counting takes too long.
type hostsBody struct {
	client.List[client.HostView]
	Wrong  *boot.Fault // of the query
	Chips  []string
	Orders []string
}

func hosts(ctx context.Context, c *client.Client, r *http.Request, v *view) (any, error) {
	b := hostsBody{Chips: []string{"state:pending", "state:approved", "state:installing", "state:failed", "state:denied", "finding:any", "ticket:armed", "seen:<10m"},
		Orders: []string{"approve", "install", "local", "update", "deny", "rm"}}
	v.Query = r.URL.Query().Get("q")
	q := "&q=" + url.QueryEscape(v.Query)
	err := c.Call(ctx, http.MethodGet, "/api/v1/hosts?limit="+perPage+"&cursor="+url.QueryEscape(r.URL.Query().Get("cursor"))+q, nil, &b.List)
	if err == nil {
		// To count what a short word means in a long roll takes longer than a person who types waits.
		short, end := context.WithTimeout(ctx, countFor)
		defer end()
		var n client.List[client.HostView]
		if c.Call(short, http.MethodGet, "/api/v1/hosts?total=1&limit=1"+q, nil, &n) == nil {
			b.Total = n.Total
		}
	}
	if f := boot.FaultOf(err); f != nil && f.Code == boot.Invalid {
		b.Wrong, err = f, nil
	}
	return b, err
}

type inboxBody struct {
	client.List[client.HostView]
	Templates []boot.Template
}

func inbox(ctx context.Context, c *client.Client, r *http.Request, v *view) (any, error) {
	var b inboxBody
	at := "/api/v1/hosts?limit=" + perPage + "&q=state:pending&cursor=" + url.QueryEscape(r.URL.Query().Get("cursor"))
	if v.Me.Scope != "" { // else their number is known without reading the roll
		at += "&total=1"
	}
	if err := c.Call(ctx, http.MethodGet, at, nil, &b.List); err != nil {
		return nil, err
	}
	if n := int(v.Site.Pending); b.Total == nil {
		b.Total = &n
	}
	return b, allOf(ctx, c, "/api/v1/templates", &b.Templates)
}

type hostBody struct {
	client.HostDetail
	Templates []boot.Template
	Next      *client.ExplainStep
}

func host(ctx context.Context, c *client.Client, r *http.Request, v *view) (any, error) {
	var b hostBody
	name := r.PathValue("name")
	v.Title = name
	if err := c.Call(ctx, http.MethodGet, "/api/v1/hosts/"+url.PathEscape(name), nil, &b.HostDetail); err != nil {
		return nil, err
	}
	slices.Reverse(b.Timeline)
	if err := allOf(ctx, c, "/api/v1/templates", &b.Templates); err != nil {
		return nil, err
	}
	// What it gets next is asked of the same rules that will answer it; a machine that has
	// told no platform yet cannot be asked about.
	var x client.Explanation
	if err := c.Call(ctx, http.MethodPost, "/api/v1/explain", client.ExplainRequest{Host: b.Name}, &x); err == nil && len(x.Steps) > 0 {
		b.Next = &x.Steps[len(x.Steps)-1]
	}
	return &b, nil // methods of a host want a pointer
}

// orders of one host, and what is said when they are done.
var orders = map[string]string{"approve": "approved", "deny": "denied", "install": "armed", "local": "local", "rescue": "rescue", "update": "updated"}

func orderHost(ctx context.Context, c *client.Client, r *http.Request) (string, error) {
	name, order := r.PathValue("name"), r.PathValue("order")
	done, is := orders[order]
	if !is {
		return "", boot.NewFault(boot.NotThere, "there is no such order")
	}
	in := map[string]any{}
	if t := r.PostFormValue("template"); t != "" && (order == "approve" || order == "install" || order == "rescue") {
		in["template"] = t
	}
	var h client.HostAnswer
	if err := c.CallIf(ctx, r.PostFormValue("tag"), http.MethodPost, "/api/v1/hosts/"+url.PathEscape(name)+"/"+order, in, &h); err != nil {
		return "", err
	}
	to := local(r.PostFormValue("back"))
	if to == "/" {
		to = "/hosts/" + url.PathEscape(name)
	}
	return to + map[bool]string{true: "&", false: "?"}[strings.Contains(to, "?")] + "said=" + done, nil
}

func makePlan(ctx context.Context, c *client.Client, r *http.Request) (string, error) {
	q := client.PlanRequest{Action: r.PostFormValue("action"), Share: r.PostFormValue("share"), Names: r.PostForm["name"]}
	if r.PostFormValue("all") == "1" {
		q.Names, q.Query = nil, r.PostFormValue("q")
		q.All = q.Query == ""
	} else if len(q.Names) == 0 {
		return "", boot.NewFault(boot.Invalid, "no machine is chosen")
	}
	if t := r.PostFormValue("template"); t != "" {
		q.Template = &t
	}
	var p client.Plan
	err := c.Call(ctx, http.MethodPost, "/api/v1/plans", q, &p)
	return "/plans/" + url.PathEscape(p.ID), err
}

type planBody struct {
	client.Plan
	Result *client.PlanResult
}

func plan(ctx context.Context, c *client.Client, r *http.Request, v *view) (any, error) {
	var b planBody
	v.Title = "Plan"
	return b, c.Call(ctx, http.MethodGet, "/api/v1/plans/"+url.PathEscape(r.PathValue("id")), nil, &b.Plan)
}

func runPlan(ctx context.Context, c *client.Client, r *http.Request) (string, error) {
	n, _ := strconv.Atoi(strings.TrimSpace(r.PostFormValue("count")))
	var out client.PlanResult
	if err := c.Call(ctx, http.MethodPost, "/api/v1/plans/"+url.PathEscape(r.PathValue("id"))+"/run", client.PlanRun{Count: n}, &out); err != nil {
		return "", err
	}
	if len(out.Failed) > 0 {
		names := []string{}
		for _, f := range out.Failed[:min(len(out.Failed), 20)] {
			names = append(names, f.Name+": "+f.Why)
		}
		return "", boot.NewFault(boot.WrongState, "%d done, %d not: %s", out.Done, len(out.Failed), strings.Join(names, "; "))
	}
	return "/hosts?said=set", nil
}

type templateBody struct {
	client.TemplateShown
	Versions []client.Version
	From, To int // the versions that Diff compares
	Diff     []client.Difference
	Preview  *client.Previewed // of the version that somebody asked about
	Refused  *boot.Fault       // why there is none
}

func templatePage(ctx context.Context, c *client.Client, r *http.Request, v *view) (any, error) {
	var b templateBody
	v.Title = r.PathValue("name")
	at := "/api/v1/templates/" + url.PathEscape(v.Title)
	if err := c.Call(ctx, http.MethodGet, at+"?spec=true", nil, &b.TemplateShown); err != nil {
		return nil, err
	}
	if err := client.ReadAll(ctx, c, at+"/versions", &b.Versions); err != nil {
		return nil, err
	}
	slices.Reverse(b.Versions)
	if n, err := strconv.Atoi(r.URL.Query().Get("preview")); err == nil {
		b.Preview = &client.Previewed{}
		err := c.Call(ctx, http.MethodPost, "/api/v1/templates/preview", client.Preview{Name: v.Title, Version: n}, b.Preview)
		if b.Refused = boot.FaultOf(err); err != nil {
			if b.Preview = nil; b.Refused == nil {
				return nil, err
			}
		}
	}
	if len(b.Versions) < 2 {
		return b, nil
	}
	// The last two, or one and what came before it.
	i := slices.IndexFunc(b.Versions, func(x client.Version) bool { return strconv.Itoa(x.Version) == r.URL.Query().Get("version") })
	if i = max(i, 0); i == len(b.Versions)-1 {
		return b, nil // before the first was nothing
	}
	b.From, b.To = b.Versions[i+1].Version, b.Versions[i].Version
	err := c.Call(ctx, http.MethodGet, fmt.Sprintf("%s/diff?from=%d&to=%d", at, b.From, b.To), nil, &b.Diff)
	return b, err
}

// pinTemplate puts a version in force; 0 is the newest, whatever is pushed later.
func pinTemplate(ctx context.Context, c *client.Client, r *http.Request) (string, error) {
	n, err := strconv.Atoi(r.PostFormValue("version"))
	if err != nil {
		return "", boot.NewFault(boot.Invalid, "no version is chosen")
	}
	at := "/templates/" + url.PathEscape(r.PathValue("name"))
	return at + "?said=set", c.Call(ctx, http.MethodPost, "/api/v1"+at+"/pin", client.Pin{Version: n}, nil)
}

type networksBody struct {
	Leases client.List[boot.Lease]
}

func networks(ctx context.Context, c *client.Client, _ *http.Request, _ *view) (any, error) {
	var b networksBody
	err := c.Call(ctx, http.MethodGet, "/api/v1/leases?limit="+perPage, nil, &b.Leases)
	if f := boot.FaultOf(err); f != nil && f.Code == boot.Forbidden {
		err = nil
	}
	return b, err
}

type eventsBody struct {
	Entries []client.Entry
	Audit   bool
	Kind    string
	Wrong   *boot.Fault
}

func events(ctx context.Context, c *client.Client, r *http.Request, v *view) (any, error) {
	b := eventsBody{Audit: r.URL.Query().Get("audit") == "1", Kind: r.URL.Query().Get("kind")}
	q := url.Values{"back": {"1000"}}
	if b.Audit {
		q.Set("audit", "1")
	}
	if b.Kind != "" {
		q.Set("kind", b.Kind)
	}
	var err error
	b.Entries, err = entries(ctx, c, q)
	if f := boot.FaultOf(err); f != nil && f.Code == boot.Invalid {
		b.Wrong, err = f, nil
	}
	slices.Reverse(b.Entries)
	b.Entries = b.Entries[:min(200, len(b.Entries))]
	return b, err
}

type settingsBody struct {
	Users    []client.UserView
	Tokens   []client.TokenView
	Webhooks []client.Webhook
}

func settings(ctx context.Context, c *client.Client, _ *http.Request, _ *view) (any, error) {
	var b settingsBody
	for _, err := range []error{allOf(ctx, c, "/api/v1/users", &b.Users), allOf(ctx, c, "/api/v1/tokens", &b.Tokens), allOf(ctx, c, "/api/v1/webhooks", &b.Webhooks)} {
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// operation is a route of the API, as its document has it.
type operation struct {
	Method, Path, Does, Say string
}

// describe is the API's document as people read it.
func describe(ctx context.Context, c *client.Client, _ *http.Request, v *view) (any, error) {
	v.Title = "API"
	var doc struct {
		Paths map[string]map[string]struct {
			Summary     string `json:"summary"`
			Description string `json:"description"`
		} `json:"paths"`
	}
	if err := c.Call(ctx, http.MethodGet, "/api/v1/openapi.json", nil, &doc); err != nil {
		return nil, err
	}
	var out []operation
	for path, ops := range doc.Paths {
		for method, o := range ops {
			out = append(out, operation{strings.ToUpper(method), path, o.Summary, strings.TrimPrefix(o.Description, o.Summary+". ")})
		}
	}
	slices.SortFunc(out, func(a, b operation) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
	})
	return out, nil
}
