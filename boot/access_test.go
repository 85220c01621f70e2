package boot_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// refuses has an order refused with a code.
func (w *world) refuses(t *testing.T, code boot.FaultCode, o boot.Order) {
	t.Helper()
	_, err := w.engine.Do(w.ctx, boot.Actor{Kind: boot.Person, Name: "ann"}, o)
	if f := boot.FaultOf(err); f == nil || f.Code != code {
		t.Errorf("%+v: %v, want %s", o, err, code)
	}
}

func aToken(name string, more ...func(*boot.APIToken)) boot.AddToken {
	t := boot.APIToken{Name: name, Digest: strings.Repeat("0123456789abcdef", 4), Role: boot.Look}
	for _, m := range more {
		m(&t)
	}
	return boot.AddToken{Token: t}
}

// TestRoles: each role may do what those below it may, and a word that is no role nothing.
func TestRoles(t *testing.T) {
	all := []boot.Role{boot.Look, boot.Operate, boot.Admin}
	for i, have := range all {
		for j, need := range all {
			if have.Allows(need) != (i >= j) {
				t.Errorf("%s for %s: %v", have, need, have.Allows(need))
			}
		}
	}
	for _, r := range []boot.Role{"", "root", "Admin"} {
		if r.Allows(boot.Look) || r.Allows(r) || boot.Admin.Allows(r) || r.Validate() == nil {
			t.Errorf("%q is a role", r)
		}
	}
}

// TestUsers: what is made, changed and removed, and what is refused.
func TestUsers(t *testing.T) {
	w := inLab(t, nil)
	bob := boot.User{Name: "bob", Hash: "$argon2id$x", Role: boot.Operate}
	if c := w.do(t, boot.AddUser{User: bob}); c.User.Since.IsZero() || c.Events[0].Kind != boot.UserAdded || strings.Contains(c.Events[0].Text, "$argon") {
		t.Errorf("%+v", c)
	}
	w.refuses(t, boot.Taken, boot.AddUser{User: bob})
	for _, u := range []boot.User{{}, {Name: "Bob", Hash: "$x", Role: boot.Look}, {Name: "b b", Hash: "$x", Role: boot.Look}, {Name: "eve", Hash: "$x", Role: "root"}, {Name: "eve", Role: boot.Look}} {
		w.refuses(t, boot.Invalid, boot.AddUser{User: u})
	}
	admin, hash := boot.Admin, "$argon2id$y"
	c := w.do(t, boot.SetUser{Name: "bob", Role: &admin})
	if c.User.Role != boot.Admin || !c.User.Since.Equal(c.User.Created) || c.Events[0].Was["role"] != "operate" || c.Events[0].Is["role"] != "admin" {
		t.Errorf("%+v, %s", c.User, c.Events[0].Is)
	}
	c = w.do(t, boot.SetUser{Name: "bob", Hash: &hash})
	if told, _ := json.Marshal(c.Events); strings.Contains(string(told), "argon") || c.User.Hash != hash {
		t.Errorf("%s", told)
	}
	if c := w.do(t, boot.SetUser{Name: "bob", Role: &admin}); c.User != nil || len(c.Events) != 0 {
		t.Errorf("nothing to change: %+v", c)
	}
	none := boot.Role("none")
	w.refuses(t, boot.Invalid, boot.SetUser{Name: "bob", Role: &none})
	w.refuses(t, boot.UnknownUser, boot.SetUser{Name: "eve", Role: &admin})
	w.do(t, boot.RemoveUser{Name: "bob"})
	w.refuses(t, boot.UnknownUser, boot.RemoveUser{Name: "bob"})
}

// TestJoin: a link lets its bearer choose a password, once and in time, and nothing tells
// what was wrong with one that does not.
func TestJoin(t *testing.T) {
	w := inLab(t, nil)
	w.engine.Now = func() time.Time { return w.now }
	digest, other := strings.Repeat("a", 64), strings.Repeat("b", 64)
	join := func(name, digest string) boot.JoinUser {
		return boot.JoinUser{Name: name, Invite: digest, Hash: "$argon2id$y"}
	}
	w.refuses(t, boot.Invalid, boot.AddUser{User: boot.User{Name: "bob", Role: boot.Look, Invite: "short"}})
	c := w.do(t, boot.AddUser{User: boot.User{Name: "bob", Role: boot.Look, Invite: digest}})
	if told, _ := json.Marshal(c.Events); c.User.InviteUntil.Sub(c.User.Created) != boot.InviteLife || strings.Contains(string(told), digest) {
		t.Errorf("%+v\n%s", c.User, told)
	}
	w.do(t, boot.AddUser{User: boot.User{Name: "eve", Hash: "$x", Role: boot.Look}})
	for _, o := range []boot.JoinUser{join("bob", other), join("bob", ""), join("eve", ""), join("eve", digest), join("nobody", digest)} {
		w.refuses(t, boot.Unauthorized, o)
	}
	w.now = w.now.Add(boot.InviteLife)
	w.refuses(t, boot.Unauthorized, join("bob", digest))
	w.do(t, boot.SetUser{Name: "bob", Invite: &other})
	w.refuses(t, boot.Unauthorized, join("bob", digest))
	c = w.do(t, join("bob", other))
	if told, _ := json.Marshal(c.Events); c.User.Hash != "$argon2id$y" || c.User.Invite != "" || !c.User.Since.Equal(w.now) || strings.Contains(string(told), "argon") || c.Events[0].Kind != boot.UserChanged {
		t.Errorf("%+v\n%s", c.User, told)
	}
	w.refuses(t, boot.Unauthorized, join("bob", other))
	// Another password takes a link that waits away.
	hash := "$argon2id$z"
	w.do(t, boot.SetUser{Name: "bob", Invite: &digest})
	w.do(t, boot.SetUser{Name: "bob", Hash: &hash})
	w.refuses(t, boot.Unauthorized, join("bob", digest))
}

// TestTokens: a token of a user is no more than the user; a name is of one.
func TestTokens(t *testing.T) {
	w := inLab(t, nil)
	w.do(t, boot.AddUser{User: boot.User{Name: "bob", Hash: "$x", Role: boot.Operate}})
	w.do(t, aToken("ci"))
	w.refuses(t, boot.Taken, aToken("ci"))
	w.refuses(t, boot.Forbidden, aToken("more", func(x *boot.APIToken) { x.User, x.Role = "bob", boot.Admin }))
	w.refuses(t, boot.UnknownUser, aToken("of", func(x *boot.APIToken) { x.User = "eve" }))
	w.refuses(t, boot.Invalid, aToken("over", func(x *boot.APIToken) { x.Expires = time.Unix(1, 0) }))
	w.refuses(t, boot.Invalid, aToken("", nil...))
	w.refuses(t, boot.Invalid, aToken("x", func(x *boot.APIToken) { x.Digest = "secret" }))
	digest := strings.Repeat("0123456789abcdef", 4)
	if c := w.do(t, boot.UseToken{Digest: digest, From: "192.0.2.1"}); c.Token == nil || c.Token.From != "192.0.2.1" || len(c.Events) != 0 {
		t.Errorf("%+v", c)
	}
	if c := w.do(t, boot.UseToken{Digest: digest, From: "192.0.2.2"}); c.Token != nil {
		t.Errorf("within the hour: %+v", c.Token)
	}
	w.do(t, boot.RevokeToken{Name: "ci"})
	w.refuses(t, boot.UnknownToken, boot.RevokeToken{Name: "ci"})
}

// TestWithin: who has to do with some machines only changes those, takes none out and
// draws none in, and changes nothing else.
func TestWithin(t *testing.T) {
	w := inLab(t, nil)
	w.do(t, boot.PushTemplate{Template: boot.Template{Name: "deb", Files: map[string]boot.Blob{"vmlinuz": {}}, Media: []string{"vmlinuz"}}})
	w.do(t, boot.AddHost{Host: boot.NewHost{Name: "mine", Serial: "SN-100A", Tags: []string{"lab"}}})
	w.do(t, boot.AddHost{Host: boot.NewHost{Name: "other", Serial: "SN-100B"}})
	lab := func(o boot.Order) boot.Within {
		return boot.Within{Rights: boot.Rights{Scope: "tag:lab", May: func(h *boot.Host) bool { return len(h.Tags) > 0 && h.Tags[0] == "lab" }}, Order: o}
	}
	deb, tags := "deb", []string{"lab"}
	w.do(t, lab(boot.Approve{Name: "mine", Template: &deb}))
	w.do(t, lab(boot.AddHost{Host: boot.NewHost{Name: "new", Serial: "SN-100C", Tags: tags}}))
	w.refuses(t, boot.UnknownHost, lab(boot.Approve{Name: "other"}))
	w.refuses(t, boot.UnknownHost, lab(boot.RemoveHost{Name: "other"}))
	w.refuses(t, boot.UnknownHost, lab(boot.SetHost{Name: "other", Tags: tags}))
	w.refuses(t, boot.UnknownHost, lab(boot.Merge{Name: "mine", Other: "other"}))
	w.refuses(t, boot.UnknownHost, lab(boot.Merge{Name: "other", Other: "mine"}))
	w.refuses(t, boot.UnknownHost, lab(boot.AsSeen{Name: "other", Revision: 1, Order: boot.Deny{Name: "other"}}))
	// An import lets in who waits already, by what it is known by and not by its name.
	w.refuses(t, boot.UnknownHost, lab(boot.AddHosts{Hosts: []boot.NewHost{{Name: "x", Serial: "SN-100B", State: boot.Approved}}}))
	w.refuses(t, boot.Forbidden, lab(boot.SetHost{Name: "mine", NoTags: tags}))
	w.refuses(t, boot.Forbidden, lab(boot.AddHost{Host: boot.NewHost{Name: "stray", Serial: "SN-100D"}}))
	w.refuses(t, boot.Forbidden, lab(boot.DropTemplate{Name: "deb"}))
	w.refuses(t, boot.Forbidden, lab(boot.SetParams{Scope: boot.Site, Params: map[string]*string{"x": &deb}}))
	w.refuses(t, boot.Forbidden, lab(aToken("ci")))
	w.refuses(t, boot.Forbidden, lab(boot.AddUser{User: boot.User{Name: "eve", Hash: "$x", Role: boot.Admin}}))
	w.do(t, lab(boot.RemoveHost{Name: "mine"}))
}

// TestAccount: an event of a person tells what was and what is, without secrets and
// without what changes each time.
func TestAccount(t *testing.T) {
	w := inLab(t, nil)
	w.do(t, boot.AddHost{Host: boot.NewHost{Name: "web1", Serial: "SN-100A"}})
	yes := true
	e := w.do(t, boot.SetHost{Name: "web1", Protected: &yes, Tags: []string{"db"}}).Events[0]
	was, _ := json.Marshal(e.Was)
	is, _ := json.Marshal(e.Is)
	if string(was) != "{}" || string(is) != `{"protected":"true","tags":"[\"db\"]"}` {
		t.Errorf("%s became %s", was, is)
	}
	e = w.do(t, boot.SetHost{Name: "web1", NoTags: []string{"db"}}).Events[0]
	if e.Was["tags"] != `["db"]` || e.Is["tags"] != "" || e.Is["revision"] != "" {
		t.Errorf("%v, %v", e.Was, e.Is)
	}
	v := "x"
	if e := w.do(t, boot.SetParams{Scope: boot.Site, Params: map[string]*string{"disk": &v}}).Events[0]; e.Is["params"] != `{"disk":"x"}` {
		t.Errorf("%s", e.Is)
	}
	if e := w.do(t, boot.RemoveHost{Name: "web1"}).Events[0]; e.Was["name"] != "web1" || len(e.Is) != 0 {
		t.Errorf("%s, %s", e.Was, e.Is)
	}
}
