// access.go: "muster user", "muster token" and "muster audit": who may use the API, and
// who did what.

package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// rolesHelp says what a role and a scope are.
const rolesHelp = `Roles: read looks; operate gives orders on machines (approve, install, set); admin changes
everything else: templates, images, parameters of many machines, users and tokens.

A scope is a query such as tag:lab: only the machines that it means are seen and changed.
`

func (a *app) userCmd() *cobra.Command {
	c := group("user", "People who may use the API from elsewhere")
	c.AddCommand(a.userAddCmd(), a.userListCmd(), a.userSetCmd(), a.userPasswdCmd(), a.userRmCmd())
	return c
}

// madeUser is a user with the password that was made, if one was.
type madeUser struct {
	client.UserView
	Password string `json:"password,omitempty"`
	URL      string `json:"url,omitempty"` // of the page where they choose one
}

// password reads a new password from a file, or makes one.
func password(file string) (text string, made bool, err error) {
	var b []byte
	switch file {
	case "":
		t := strings.ToLower(rand.Text()) // 26 letters of five bits; twenty of them are more than anybody guesses
		return t[:5] + "-" + t[5:10] + "-" + t[10:15] + "-" + t[15:20], true, nil
	case "-":
		b, err = io.ReadAll(io.LimitReader(os.Stdin, 4096))
	default:
		b, err = os.ReadFile(file)
	}
	text, _, _ = strings.Cut(string(b), "\n")
	return strings.TrimRight(text, "\r"), false, err
}

const passwordHelp = "file with the password in its first line, - for standard input; without it one is made and printed"

func (a *app) userAddCmd() *cobra.Command {
	var role, scope, file string
	var typed bool
	c := &cobra.Command{
		Use: "add NAME", Short: "Let a person in", Args: exactly(1, "a name"),
		Long:    "Let a person in. It prints a link by which they choose a password; it works once, within three days.\n\n" + rolesHelp,
		Example: "  sudo muster user add ann --role admin\n  muster user add bob --role operate --scope tag:lab\n  muster user add eve --role read --password-file /run/secrets/eve",
		RunE: func(c *cobra.Command, args []string) error {
			q := client.NewUser{Name: args[0], Role: boot.Role(role), Scope: scope, Link: !typed && file == ""}
			var made bool
			if !q.Link {
				var err error
				if q.Password, made, err = password(file); err != nil {
					return err
				}
			}
			var out madeUser
			if err := a.client().Call(c.Context(), http.MethodPost, "/api/v1/users", q, &out); err != nil {
				return err
			}
			text := q.Password
			return a.madeUser(c.Context(), out, text, made, "user %s added, role %s")
		},
	}
	c.Flags().StringVar(&role, "role", "read", "read, operate or admin")
	c.Flags().StringVar(&scope, "scope", "", "query of the machines that are theirs, such as tag:lab; default: all")
	c.Flags().BoolVar(&typed, "password", false, "make a password and print it, in place of a link")
	c.Flags().StringVar(&file, "password-file", "", "file with the password in its first line, - for standard input, in place of a link")
	return c
}

// joinURL is where the bearer of a link goes: at the appliance that is spoken to, or where
// the one here is for others.
func (a *app) joinURL(ctx context.Context, path string) (string, error) {
	if at := a.client().URL(); at != "" {
		return at + path, nil
	}
	var s client.Status
	if err := a.client().Call(ctx, http.MethodGet, "/api/v1/status", nil, &s); err != nil {
		return "", err
	}
	if s.Page == "" {
		a.note("warning: [admin] listen is off: there is no page where the link leads\n")
	}
	return s.Page + path, nil
}

func (a *app) madeUser(ctx context.Context, u madeUser, text string, made bool, format string) error {
	if u.Link != "" {
		var err error
		if u.URL, err = a.joinURL(ctx, u.Link); err != nil {
			return err
		}
	}
	if made {
		u.Password = text
	}
	if a.json {
		return a.printJSON(u)
	}
	a.print(format+"\n", u.Name, u.Role)
	switch {
	case made:
		a.print("password: %s\n", text)
	case u.URL != "":
		a.print("They choose a password here, once, until %s:\n  %s\n", u.Invited.Local().Format(time.DateTime), u.URL)
	}
	return nil
}

func (a *app) userListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the people who may come in", Args: exactly(0, "no arguments"),
		Example: "  muster user list",
		RunE: func(c *cobra.Command, _ []string) error {
			all := []client.UserView{}
			if err := client.ReadAll(c.Context(), a.client(), "/api/v1/users", &all); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(all)
			}
			rows := [][]string{{"NAME", "ROLE", "SCOPE", "PASSWORD SET"}}
			for _, u := range all {
				rows = append(rows, []string{u.Name, string(u.Role), cmp.Or(u.Scope, "-"), u.Since.Local().Format(time.DateTime)})
			}
			a.table(rows)
			return nil
		},
	}
}

func (a *app) userSetCmd() *cobra.Command {
	var role, scope string
	c := &cobra.Command{
		Use: "set NAME", Short: "Change what a person may do", Args: exactly(1, "a name"),
		Long:    "Change what a person may do, at once and for every token of theirs.\n\n" + rolesHelp,
		Example: "  muster user set bob --role admin\n  muster user set bob --scope \"\"",
		RunE: func(c *cobra.Command, args []string) error {
			var p client.UserPatch
			if c.Flags().Changed("role") {
				p.Role = new(boot.Role(role))
			}
			if c.Flags().Changed("scope") {
				p.Scope = &scope
			}
			if p.Role == nil && p.Scope == nil {
				return usagef("say what: --role or --scope")
			}
			return a.patchUser(c, args[0], p, "", false, "user %s has the role %s")
		},
	}
	c.Flags().StringVar(&role, "role", "", "read, operate or admin")
	c.Flags().StringVar(&scope, "scope", "", "query of the machines that are theirs; \"\" is all")
	return c
}

func (a *app) patchUser(c *cobra.Command, name string, p client.UserPatch, text string, made bool, format string) error {
	var out madeUser
	if err := a.client().Call(c.Context(), http.MethodPatch, "/api/v1/users/"+url.PathEscape(name), p, &out); err != nil {
		return err
	}
	return a.madeUser(c.Context(), out, text, made, format)
}

func (a *app) userPasswdCmd() *cobra.Command {
	var file string
	link := false
	c := &cobra.Command{
		Use: "passwd NAME", Short: "Give a person another password, which ends their tokens", Args: exactly(1, "a name"),
		Example: "  muster user passwd ann\n  muster user passwd ann --link\n  muster user passwd ann --password-file -",
		RunE: func(c *cobra.Command, args []string) error {
			if link {
				if file != "" {
					return usagef("--link or --password-file: one of them")
				}
				return a.patchUser(c, args[0], client.UserPatch{Link: true}, "", false, "user %s, role %s: the present password works until another is chosen")
			}
			text, made, err := password(file)
			if err != nil {
				return err
			}
			return a.patchUser(c, args[0], client.UserPatch{Password: &text}, text, made, "user %s has a new password, and the role %s; the tokens of before have ended")
		},
	}
	c.Flags().BoolVar(&link, "link", false, "print a link by which they choose one, in place of a password")
	c.Flags().StringVar(&file, "password-file", "", passwordHelp)
	return c
}

func (a *app) userRmCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Short: "Let a person in no more", Args: exactly(1, "a name"),
		Example: "  muster user rm bob",
		RunE: func(c *cobra.Command, args []string) error {
			var out client.UserView
			if err := a.client().Call(c.Context(), http.MethodDelete, "/api/v1/users/"+url.PathEscape(args[0]), nil, &out); err != nil {
				return err
			}
			return a.said(out, "user %s removed; the tokens have ended", out.Name)
		},
	}
}

func (a *app) tokenCmd() *cobra.Command {
	c := group("token", "Tokens, by which programs use the API")
	c.AddCommand(a.tokenCreateCmd(), a.tokenListCmd(), a.tokenRevokeCmd())
	return c
}

func (a *app) tokenCreateCmd() *cobra.Command {
	var q client.NewToken
	var role string
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a token and print it, once", Args: exactly(1, "a name"),
		Long:    "Make a token and print it, once: only its digest is kept. It is shown as the header\nAuthorization: Bearer TOKEN, or in MUSTER_TOKEN.\n\n" + rolesHelp,
		Example: "  muster token create grafana --role read\n  muster token create ansible --role operate --scope tag:lab --expires 30d\n  muster token create ci --role operate --json",
		RunE: func(c *cobra.Command, args []string) error {
			q.Name, q.Role = args[0], boot.Role(role)
			var out client.TokenMade
			if err := a.client().Call(c.Context(), http.MethodPost, "/api/v1/tokens", q, &out); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(out)
			}
			a.note("token %s made, role %s, until %s; it is shown this once:\n", out.Name, out.Role, until(out.Expires))
			a.print("%s\n", out.Token)
			return nil
		},
	}
	c.Flags().StringVar(&role, "role", "read", "read, operate or admin")
	c.Flags().StringVar(&q.Scope, "scope", "", "query of the machines that it is for, such as tag:lab; default: all")
	c.Flags().StringVar(&q.Expires, "expires", "", "how long it lasts: 24h, 30d or never; default: a year")
	return c
}

func until(t time.Time) string {
	if t.IsZero() {
		return "it is revoked"
	}
	return t.Local().Format(time.DateTime)
}

func (a *app) tokenListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List tokens, and when each was last used", Args: exactly(0, "no arguments"),
		Example: "  muster token list",
		RunE: func(c *cobra.Command, _ []string) error {
			all := []client.TokenView{}
			if err := client.ReadAll(c.Context(), a.client(), "/api/v1/tokens", &all); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(all)
			}
			rows := [][]string{{"NAME", "OF", "ROLE", "SCOPE", "STATE", "UNTIL", "LAST USED", "FROM"}}
			for _, t := range all {
				used := "-"
				if !t.Used.IsZero() {
					used = t.Used.Local().Format(time.DateTime)
				}
				rows = append(rows, []string{t.Name, cmp.Or(t.User, "-"), string(t.Role), cmp.Or(t.Scope, "-"), t.State, until(t.Expires), used, cmp.Or(t.From, "-")})
			}
			a.table(rows)
			return nil
		},
	}
}

func (a *app) tokenRevokeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "revoke NAME", Short: "End a token", Args: exactly(1, "a token's name"),
		Example: "  muster token revoke grafana",
		RunE: func(c *cobra.Command, args []string) error {
			var out client.TokenView
			if err := a.client().Call(c.Context(), http.MethodDelete, "/api/v1/tokens/"+url.PathEscape(args[0]), nil, &out); err != nil {
				return err
			}
			return a.said(out, "token %s revoked", out.Name)
		},
	}
}

func (a *app) auditCmd() *cobra.Command {
	c := group("audit", "Who did what, from where")
	var f eventFlags
	l := &cobra.Command{
		Use: "list", Short: "List what people and programs ordered, and installations", Args: exactly(0, "no arguments"),
		Long:    "List what people and programs ordered, and installations: kept apart from the events of\nmachines, which push none of it out. --json has who, from where, and the fields as they were\nand as they are.",
		Example: "  muster audit list --since 7d\n  muster audit list --host web1 --json\n  muster audit list --kind 'user.*' --kind 'token.*'",
		RunE: func(c *cobra.Command, _ []string) error {
			f.audit = true
			return a.events(c.Context(), f)
		},
	}
	l.Flags().StringVar(&f.host, "host", "", "only of this machine, which may have left the roll")
	l.Flags().StringSliceVar(&f.kinds, "kind", nil, "only of this kind, like host.approved or 'user.*'; may be given again")
	l.Flags().StringVar(&f.since, "since", "", "only those not older than this, like 2h or 7d")
	c.AddCommand(l)
	return c
}
