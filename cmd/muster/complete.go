// complete.go: what the shell completes besides commands and flags: names that the
// appliance knows.

package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot/match"
)

// A person who pressed a key waits no longer than this, and reads no more than that.
const (
	completeWait = time.Second
	completeMost = "200"
)

// source says where names are: a list of the API, and the key that has them in it.
type source struct {
	path string
	find string // how the list is narrowed to a beginning; "" where it is short
	key  string
	text string // a second key, shown beside the name
}

var (
	hostNames     = source{path: "/api/v1/hosts", find: "name:", key: "name", text: "state"}
	templateNames = source{path: "/api/v1/templates", key: "name"}
	imageNames    = source{path: "/api/v1/images", key: "name"}
	userNames     = source{path: "/api/v1/users", key: "name", text: "role"}
	tokenNames    = source{path: "/api/v1/tokens", key: "name", text: "role"}
	hookNames     = source{path: "/api/v1/webhooks", key: "name", text: "where"}
	scopeNames    = source{path: "/api/v1/params", key: "scope"}
	networkNames  = source{path: "/api/v1/status", key: "name"}
)

// completed says, for commands with arguments, what these are. Commands that are not here
// take files, new names, or nothing.
var completed = map[string]source{
	"host show": hostNames, "host log": hostNames, "host capture": hostNames, "host set": hostNames, "host approve": hostNames, "host deny": hostNames,
	"host install": hostNames, "host rescue": hostNames, "host local": hostNames, "host update": hostNames, "host rm": hostNames, "host merge": hostNames,
	"host split": hostNames, "explain": hostNames, "diagnose": hostNames,
	"template show": templateNames, "template rm": templateNames, "template history": templateNames, "template diff": templateNames, "template pin": templateNames,
	"template unpin": templateNames, "template rollback": templateNames, "template preview": templateNames,
	"image show": imageNames, "image rm": imageNames, "image verify": imageNames, "image template": imageNames,
	"user set": userNames, "user passwd": userNames, "user rm": userNames, "token revoke": tokenNames,
	"webhook test": hookNames, "webhook resend": hookNames, "param show": scopeNames, "param set": scopeNames, "param list": scopeNames,
	"lease release": networkNames,
}

// completedFlags says the same of flags, whatever command has them.
var completedFlags = map[string]source{"template": templateNames, "host": hostNames, "network": networkNames, "image": imageNames}

// completes has the shell ask us for names.
func (a *app) completes(c *cobra.Command) {
	for _, s := range c.Commands() {
		a.completes(s)
	}
	if src, ok := completed[strings.TrimPrefix(c.CommandPath(), "muster ")]; ok {
		c.ValidArgsFunction = func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			// Where several may be named, any argument is one; else the first.
			if len(args) > 0 && !strings.Contains(c.Use, "…") && c.Name() != "merge" {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.names(c.Context(), src, begun, args)
		}
	}
	for name, src := range completedFlags {
		if f := c.LocalFlags().Lookup(name); f != nil && f.Value.Type() != "bool" {
			_ = c.RegisterFlagCompletionFunc(name, func(c *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
				return a.names(c.Context(), src, begun, nil)
			})
		}
	}
	if c.LocalFlags().Lookup("match") != nil {
		_ = c.RegisterFlagCompletionFunc("match", func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			return keys(begun), cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
		})
	}
}

// keys completes the last term of a query.
func keys(begun string) (out []string) {
	at := strings.LastIndex(begun, " ") + 1
	for _, k := range match.Keys() {
		k, _, _ = strings.Cut(k, ":")
		if strings.HasPrefix(k, begun[at:]) {
			out = append(out, begun[:at]+k+":")
		}
	}
	return out
}

// names asks the appliance. Where it does not answer nothing is completed, and nothing
// said: a person is in the middle of a line.
func (a *app) names(ctx context.Context, src source, begun string, have []string) ([]string, cobra.ShellCompDirective) {
	if ctx == nil {
		ctx = context.Background() // a completion has none of cobra's
	}
	ctx, cancel := context.WithTimeout(ctx, completeWait)
	defer cancel()
	q := url.Values{"limit": {completeMost}}
	if src.find != "" && begun != "" && !strings.ContainsAny(begun, " *?") {
		q.Set("q", src.find+begun+"*")
	}
	if src.path == "/api/v1/status" {
		q = nil
	}
	var page struct {
		Items    []map[string]any
		Networks []map[string]any // of a status
	}
	if err := a.client().Call(ctx, http.MethodGet, strings.TrimSuffix(src.path+"?"+q.Encode(), "?"), nil, &page); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, x := range slices.Concat(page.Items, page.Networks) {
		name := asText(x[src.key])
		if name == "" || !strings.HasPrefix(name, begun) || slices.Contains(have, name) || clean(name) != name {
			continue // a name that a terminal would obey is typed, not completed
		}
		if text := clean(asText(x[src.text])); text != "" {
			name += "\t" + text
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// asText is a value of JSON that is a text.
func asText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	if v == nil {
		return ""
	}
	b, _ := json.Marshal(v)
	return string(b)
}
