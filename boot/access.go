// access.go: who may use the API: users, tokens, and what each may do. Only digests of
// passwords and tokens are kept.

package boot

import (
	"crypto/subtle"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Role is how much somebody may do; each may do what those before it may.
type Role string

// Roles. Look may look; Operate gives orders on hosts; Admin changes everything else, users
// and tokens too.
const (
	Look    Role = "read"
	Operate Role = "operate"
	Admin   Role = "admin"
)

var roles = []Role{Look, Operate, Admin}

// Validate reports what is no role.
func (r Role) Validate() error {
	if !slices.Contains(roles, r) {
		return fmt.Errorf("role %q: want read, operate or admin", CleanText(string(r), 40))
	}
	return nil
}

// Allows reports whether who has r may do what needs another role. What is no role
// allows nothing.
func (r Role) Allows(need Role) bool {
	return slices.Contains(roles, need) && slices.Index(roles, r) >= slices.Index(roles, need)
}

// User is a person with a password.
type User struct {
	Name  string `json:"name"`
	Hash  string `json:"hash"` // of the password, as a PHC string; "" while it was not chosen
	Role  Role   `json:"role"`
	Scope string `json:"scope,omitempty"` // a query; only machines that it means are this user's. "" is all

	// Invite is the digest of a link that lets its bearer choose the password, once and
	// before InviteUntil; "" is none.
	Invite      string    `json:"invite,omitempty"`
	InviteUntil time.Time `json:"invite_until,omitzero"`

	// Since is when the password was set: tokens of this user that are older are void. So
	// are those of a user of the same name who was removed.
	Since    time.Time `json:"since"`
	Created  time.Time `json:"created"`
	Changed  time.Time `json:"changed"`
	Revision uint64    `json:"revision,omitempty"`
}

// APIToken lets a program in, or a person who has signed in.
type APIToken struct {
	Digest  string    `json:"digest"` // SHA-256 of the token, in hex; names the record
	Name    string    `json:"name"`
	User    string    `json:"user,omitempty"` // whose it is; it may do no more than this user. "" is a program's own
	Role    Role      `json:"role"`
	Scope   string    `json:"scope,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Used    time.Time `json:"used,omitzero"`    // last, to the hour
	From    string    `json:"from,omitempty"`   // the address of that use

	// Idle, of a browser's, is how long it lasts without a use; 0: as long as with one.
	Idle time.Duration `json:"idle,omitempty"`
}

var (
	userName  = regexp.MustCompile(`^[a-z][a-z0-9._@-]{0,62}$`)
	tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@ -]{0,62}$`)
	digestHex = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// maxScope bounds the text of a scope.
const maxScope = 2000

// Validate judges a user before it is stored.
func (u *User) Validate() error {
	switch {
	case !userName.MatchString(u.Name):
		return fmt.Errorf("user %q: want a small letter first, then small letters, digits and . _ @ -, at most 63", CleanText(u.Name, 80))
	case u.Invite != "" && !digestHex.MatchString(u.Invite):
		return fmt.Errorf("user %s has a link without a digest", u.Name)
	case u.Hash == "" && u.Invite == "" || len(u.Hash) > 400:
		return fmt.Errorf("user %s has no password", u.Name)
	case len(u.Scope) > maxScope:
		return fmt.Errorf("user %s: a scope has at most %d bytes", u.Name, maxScope)
	}
	return u.Role.Validate()
}

// Validate judges a token before it is stored.
func (t *APIToken) Validate() error {
	switch {
	case !tokenName.MatchString(t.Name):
		return fmt.Errorf("token %q: want a name of letters, digits, blanks and . _ @ -, at most 63", CleanText(t.Name, 80))
	case !digestHex.MatchString(t.Digest):
		return fmt.Errorf("token %s has no digest", t.Name)
	case len(t.Scope) > maxScope:
		return fmt.Errorf("token %s: a scope has at most %d bytes", t.Name, maxScope)
	}
	return t.Role.Validate()
}

// Over reports a token that has ended.
func (t *APIToken) Over(now time.Time) bool {
	used := t.Used
	if used.IsZero() {
		used = t.Created
	}
	return !t.Expires.IsZero() && !now.Before(t.Expires) || t.Idle > 0 && now.Sub(used) > t.Idle
}

// Lets reports a token that lets its bearer in: it has not ended, and its user, where it is
// one's, is there and has had the same password since it was made.
func (t *APIToken) Lets(u *User, now time.Time) bool {
	return !t.Over(now) && (t.User == "" || u != nil && !t.Created.Before(u.Since))
}

// MaxTokens bounds the tokens, and the users, that are kept.
const MaxTokens = 10_000

// AddUser makes a user.
type AddUser struct{ User User }

// SetUser changes one; nil fields stay. A new password ends the user's tokens.
type SetUser struct {
	Name   string
	Hash   *string
	Invite *string // digest of a link
	Role   *Role
	Scope  *string
}

// InviteLife is how long a link waits for its bearer.
const InviteLife = 3 * 24 * time.Hour

// JoinUser chooses the password of a user by a link, which is over with that.
type JoinUser struct{ Name, Invite, Hash string }

// Invites reports that the user may choose a password by this link.
func (u *User) Invites(digest string, now time.Time) bool {
	return u.Invite != "" && subtle.ConstantTimeCompare([]byte(u.Invite), []byte(digest)) == 1 && now.Before(u.InviteUntil)
}

// choose sets a password: tokens of before and a link that waits are over with it.
func (u *User) choose(hash string, now time.Time) {
	u.Hash, u.Since, u.Invite, u.InviteUntil = hash, now, "", time.Time{}
}

// invite sets a link, which waits from now on.
func (u *User) invite(digest string, now time.Time) {
	u.Invite, u.InviteUntil = digest, now.Add(InviteLife)
}

// RemoveUser takes the right to come in, and ends the user's tokens.
type RemoveUser struct{ Name string }

// AddToken stores a token.
type AddToken struct{ Token APIToken }

// RevokeToken ends the token of a name. Silent makes no event: of one that has ended by
// itself.
type RevokeToken struct {
	Name   string
	Silent bool
}

// UseToken notes that a token was used, and is no event.
type UseToken struct{ Digest, From string }

// Note tells of what was done outside the store, so that the audit trail has it.
type Note struct {
	Kind EventKind
	Text string
}

func (AddUser) order()     {}
func (SetUser) order()     {}
func (JoinUser) order()    {}
func (RemoveUser) order()  {}
func (AddToken) order()    {}
func (RevokeToken) order() {}
func (UseToken) order()    {}
func (Note) order()        {}

func (a *applying) addUser(o AddUser) error {
	u := o.User
	u.Since, u.Created, u.Changed = a.now, a.now, a.now
	if u.Invite != "" {
		u.invite(u.Invite, a.now)
	}
	if err := u.Validate(); err != nil {
		return NewFault(Invalid, "%v", err)
	}
	if old, err := a.v.User(u.Name); err != nil {
		return err
	} else if old != nil {
		return NewFault(Taken, "there is a user %s already", u.Name).Try("muster user passwd %s", u.Name)
	}
	if err := a.room(Users, 1); err != nil {
		return err
	}
	a.c.User = &u
	a.event(UserAdded, nil, "user %s added by %s: role %s%s", u.Name, a.by, u.Role, within(u.Scope))
	return nil
}

func within(scope string) string {
	if scope == "" {
		return ""
	}
	return ", within " + CleanText(scope, 200)
}

// room judges whether one more is taken, and counts it.
func (a *applying) room(k Counter, more int) error {
	n, err := a.v.Counter(k)
	if err != nil {
		return err
	}
	if more > 0 && n >= MaxTokens {
		return NewFault(NoSpace, "there are %d already, which is the most", n)
	}
	a.c.count(k, uint64(max(0, int64(n)+int64(more))))
	return nil
}

func (a *applying) user(name string) (*User, error) {
	u, err := a.v.User(name)
	if err == nil && u == nil {
		err = NewFault(UnknownUser, "no user is called %s", CleanText(name, 80)).Try("muster user list")
	}
	return u, err
}

func (a *applying) setUser(o SetUser) error {
	u, err := a.user(o.Name)
	if err != nil {
		return err
	}
	x := *u
	var what string
	if o.Hash != nil {
		x.choose(*o.Hash, a.now)
		what = ", a new password"
	}
	if o.Invite != nil {
		x.invite(*o.Invite, a.now)
		what += ", a link to choose a password"
	}
	if o.Role != nil && *o.Role != x.Role {
		x.Role = *o.Role
		what += ", role " + CleanText(string(x.Role), 40)
	}
	if o.Scope != nil && *o.Scope != x.Scope {
		x.Scope = *o.Scope
		what += ", scope " + CleanText(x.Scope, 200)
	}
	if what == "" {
		return nil
	}
	x.Changed = a.now
	if err := x.Validate(); err != nil {
		return NewFault(Invalid, "%v", err)
	}
	a.c.User = &x
	a.event(UserChanged, nil, "user %s changed by %s%s", x.Name, a.by, what)
	return nil
}

// errNoLink is the same whatever was wrong.
func errNoLink() *Fault {
	return NewFault(Unauthorized, "the link is not known, was used, or has ended").Try("sudo muster user passwd NAME --link, on the appliance")
}

func (a *applying) joinUser(o JoinUser) error {
	u, err := a.v.User(o.Name)
	if err != nil {
		return err
	}
	if u == nil || !u.Invites(o.Invite, a.now) {
		return errNoLink()
	}
	x := *u
	x.choose(o.Hash, a.now)
	x.Changed = a.now
	if err := x.Validate(); err != nil {
		return NewFault(Invalid, "%v", err)
	}
	a.c.User = &x
	a.event(UserChanged, nil, "user %s chose a password by a link", x.Name)
	return nil
}

func (a *applying) removeUser(o RemoveUser) error {
	u, err := a.user(o.Name)
	if err != nil {
		return err
	}
	if err := a.room(Users, -1); err != nil {
		return err
	}
	a.c.NoUser = u
	a.event(UserRemoved, nil, "user %s removed by %s", u.Name, a.by)
	return nil
}

func (a *applying) addToken(o AddToken) error {
	t := o.Token
	t.Created, t.Used, t.From = a.now, time.Time{}, ""
	if err := t.Validate(); err != nil {
		return NewFault(Invalid, "%v", err)
	}
	if t.Over(a.now) {
		return NewFault(Invalid, "token %s would be over before it is used", t.Name)
	}
	if old, err := a.v.TokenByName(t.Name); err != nil {
		return err
	} else if old != nil {
		return NewFault(Taken, "there is a token %s already", t.Name).Try("muster token revoke %q", t.Name)
	}
	if t.User != "" {
		u, err := a.user(t.User)
		if err != nil {
			return err
		}
		if !u.Role.Allows(t.Role) {
			return NewFault(Forbidden, "user %s has role %s: a token of role %s is more", u.Name, u.Role, t.Role)
		}
	}
	if err := a.room(Tokens, 1); err != nil {
		return err
	}
	a.c.Token = &t
	until := ""
	if !t.Expires.IsZero() {
		until = ", until " + t.Expires.UTC().Format(time.DateTime)
	}
	of := ""
	if t.User != "" {
		of = " of user " + t.User
	}
	a.event(TokenMade, nil, "token %s%s made by %s: role %s%s%s", t.Name, of, a.by, t.Role, within(t.Scope), until)
	return nil
}

func (a *applying) revokeToken(o RevokeToken) error {
	t, err := a.v.TokenByName(o.Name)
	if err != nil {
		return err
	}
	if t == nil {
		return NewFault(UnknownToken, "no token is called %s", CleanText(o.Name, 80)).Try("muster token list")
	}
	if err := a.room(Tokens, -1); err != nil {
		return err
	}
	a.c.NoToken = t
	if o.Silent {
		return nil
	}
	a.event(TokenRevoked, nil, "token %s revoked by %s", t.Name, a.by)
	return nil
}

// useGap is how often a use is written down.
const useGap = time.Hour

func (a *applying) useToken(o UseToken) error {
	t, err := a.v.Token(o.Digest)
	if err != nil || t == nil || a.now.Sub(t.Used) < useGap {
		return err
	}
	x := *t
	x.Used, x.From = a.now, CleanText(o.From, 64)
	a.c.Token = &x
	return nil
}

// Rights are those of somebody who has to do with some machines only. The zero value has
// to do with all.
type Rights struct {
	May   func(*Host) bool
	Scope string // in words
}

// See reports whether a host is one of theirs.
func (r Rights) See(h *Host) bool { return h != nil && (r.May == nil || r.May(h)) }

// Give is an order as they may give it.
func (r Rights) Give(o Order) Order {
	if r.May == nil {
		return o
	}
	return Within{r, o}
}

// Within carries out an order of somebody who has to do with some machines only: no host
// that it changes may be another, before or afterwards, and it may change nothing else.
type Within struct {
	Rights
	Order Order
}

func (Within) order() {}

func (a *applying) within(o Within) error {
	names, is := hostsOf(o.Order)
	if !is {
		return NewFault(Forbidden, "this is no order on a host: who has to do with %s only may not give it", CleanText(o.Scope, 200))
	}
	for _, name := range names { // before anything is said of them
		h, err := find(a.v, a.p, a.now, name)
		if err != nil {
			return err
		}
		if !o.May(h) {
			return NoHost(name)
		}
	}
	if err := a.apply(o.Order); err != nil {
		return err
	}
	c := &a.c
	for _, h := range c.touched() {
		before, err := a.v.Host(h.ID)
		if err != nil {
			return err
		}
		if before != nil && !o.May(before) {
			return NoHost(before.Name)
		}
		if h != c.Remove && !o.May(h) {
			return NewFault(Forbidden, "host %s would not be of %s afterwards", h.Name, CleanText(o.Scope, 200))
		}
	}
	return nil
}

// hostsOf names the hosts that an order is about, and reports whether it changes hosts
// and nothing else.
func hostsOf(o Order) (names []string, is bool) {
	switch o := o.(type) {
	case AsSeen:
		return hostsOf(o.Order)
	case AddHost, AddHosts:
		return nil, true
	case SetHost:
		return []string{o.Name}, true
	case Approve:
		return []string{o.Name}, true
	case Deny:
		return []string{o.Name}, true
	case Update:
		return []string{o.Name}, true
	case Install:
		return []string{o.Name}, true
	case Rescue:
		return []string{o.Name}, true
	case Local:
		return []string{o.Name}, true
	case RemoveHost:
		return []string{o.Name}, true
	case Merge:
		return []string{o.Name, o.Other}, true
	case Split:
		return []string{o.Name}, true
	}
	return nil, false
}

// touched are the hosts that changes put, remove, or would have changed.
func (c *Changes) touched() []*Host {
	out := slices.Clone(c.Hosts)
	for _, h := range []*Host{c.Host, c.Same, c.Remove} {
		if h != nil {
			out = append(out, h)
		}
	}
	return out
}
