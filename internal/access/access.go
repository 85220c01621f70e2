// Package access says who asks: by a token, by name and password, or by the socket. It
// hashes, compares and slows down; what each may do is boot.Role, and which route needs
// which is said in package admin. It must not know of routes or pages.
package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/engine"
	"github.com/musterboot/muster/boot/match"
)

// Who is somebody who may come in.
type Who struct {
	Actor boot.Actor
	Role  boot.Role
	Scope string // the query of the machines that are theirs; "" is all
	User  string // "" for a program, and for the socket
	Token string // name of the token that they showed

	scopes []match.Query // of the token, and of its user: both hold
}

// Confined reports somebody who has to do with some machines only.
func (w *Who) Confined() bool { return len(w.scopes) > 0 }

// Rights are what they may see and change of hosts.
func (w *Who) Rights() boot.Rights {
	if !w.Confined() {
		return boot.Rights{}
	}
	return boot.Rights{May: w.Sees, Scope: w.Scope}
}

// Sees reports whether a machine is theirs.
func (w *Who) Sees(h *boot.Host) bool {
	for _, q := range w.scopes {
		if !q.Match(match.Subject{Host: h}) {
			return false
		}
	}
	return true
}

// Local is who uses the socket, whom the kernel let in.
func Local(name string) *Who {
	return &Who{Actor: boot.Actor{Kind: boot.Person, Name: name, Via: "socket"}, Role: boot.Admin}
}

// Gate lets people and programs in. It is safe for concurrent use.
type Gate struct {
	Engine *engine.Engine

	slow     slow
	somebody atomic.Bool
}

// errNoEntry is the same whatever was wrong: it does not tell whether a name or a token
// exists.
func errNoEntry() *boot.Fault {
	return boot.NewFault(boot.Unauthorized, "the token is not known, or it has ended").Try("muster token create NAME, on the appliance")
}

// Token is who shows a token.
func (g *Gate) Token(ctx context.Context, secret string, from netip.Addr) (*Who, error) {
	digest, ok := digestOf(secret)
	if !ok {
		return nil, errNoEntry() // no look-up for what is no token
	}
	now := g.Engine.Now()
	var t *boot.APIToken
	var u *boot.User
	err := g.Engine.View(ctx, func(tx boot.ReadTx) (err error) {
		u = nil
		if t, err = tx.Token(digest); err != nil || t == nil || t.User == "" {
			return err
		}
		u, err = tx.User(t.User)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case t == nil || !t.Lets(u, now):
		return nil, errNoEntry()
	}
	w := &Who{Actor: boot.Actor{Kind: boot.Program, Name: t.Name, Via: "api", From: from.Unmap().String()}, Role: t.Role, Token: t.Name, User: t.User}
	if err := w.within(t.Scope); err != nil {
		return nil, err
	}
	if u != nil {
		w.Actor.Kind, w.Actor.Name = boot.Person, u.Name
		if err := w.within(u.Scope); err != nil {
			return nil, err
		}
		if !u.Role.Allows(w.Role) { // it was lowered since
			w.Role = u.Role
		}
	}
	if now.Sub(t.Used) >= time.Hour {
		// Where it cannot be written, as with a full disk, they come in all the same.
		_, _ = g.Engine.Do(ctx, w.Actor, boot.UseToken{Digest: digest, From: w.Actor.From})
	}
	return w, nil
}

// within adds a scope. One that cannot be read lets nobody in.
func (w *Who) within(scope string) error {
	if scope == "" {
		return nil
	}
	q, err := Scope(scope)
	if err != nil {
		return err
	}
	w.scopes = append(w.scopes, q)
	w.Scope = strings.TrimSpace(w.Scope + " " + scope)
	return nil
}

// CheckScope judges a scope that somebody gives; "" is none, which every machine is in.
func CheckScope(s string) error {
	if s == "" {
		return nil
	}
	_, err := Scope(s)
	return err
}

// lasting are the keys of a scope.
var lasting = []string{"tag", "net", "port", "arch", "vendor", "name", "serial", "mac", "uuid"}

// Scope reads a query that is a scope: it asks only what a host's record says, so that it
// can be judged where the record is changed.
func Scope(s string) (match.Query, error) {
	q, err := match.Parse(s)
	if err != nil {
		return q, boot.NewFault(boot.Invalid, "scope: %v", err)
	}
	if q.Empty() {
		return q, boot.NewFault(boot.Invalid, "scope: it means every machine: leave it out")
	}
	for _, k := range append(match.Keys(), "param") {
		if !slices.Contains(lasting, k) && q.Asks(k) {
			return q, boot.NewFault(boot.Invalid, "scope %q: it says by key what a host is: %s; neither words, nor what a host does", boot.CleanText(s, 200), strings.Join(lasting, ", "))
		}
	}
	return q, nil
}

// Somebody reports whether anybody could ever come in.
func (g *Gate) Somebody(ctx context.Context) (is bool, err error) {
	if g.somebody.Load() {
		return true, nil
	}
	err = g.Engine.View(ctx, func(tx boot.ReadTx) error {
		us, err := tx.Users("", 1)
		if err != nil {
			return err
		}
		ts, err := tx.APITokens("", 1)
		is = len(us)+len(ts) > 0
		return err
	})
	if is && err == nil {
		g.somebody.Store(true)
	}
	return is, err
}

// Tidy removes the tokens that let nobody in any more.
func (g *Gate) Tidy(ctx context.Context) (removed int, err error) {
	const page = 500
	by := boot.Actor{Kind: boot.Program, Name: "muster"}
	for after := ""; ; {
		var ts []*boot.APIToken
		var over []string
		err := g.Engine.View(ctx, func(tx boot.ReadTx) (err error) {
			over = nil
			if ts, err = tx.APITokens(after, page); err != nil {
				return err
			}
			for _, t := range ts {
				var u *boot.User
				if t.User != "" {
					if u, err = tx.User(t.User); err != nil {
						return err
					}
				}
				if !t.Lets(u, g.Engine.Now()) {
					over = append(over, t.Name)
				}
			}
			return nil
		})
		if err != nil {
			return removed, err
		}
		for _, name := range over {
			if _, err := g.Engine.Do(ctx, by, boot.RevokeToken{Name: name, Silent: true}); err != nil && boot.FaultOf(err) == nil {
				return removed, err
			}
			removed++
		}
		if len(ts) < page {
			return removed, nil
		}
		after = ts[len(ts)-1].Digest
	}
}

// LoginLife is how long the token of a login lasts, SessionIdle how long that of a browser
// does without a request: who walks away in the evening signs in again in the morning.
const (
	LoginLife   = 30 * 24 * time.Hour
	SessionIdle = 12 * time.Hour
)

// Login makes a token for who knows a name and its password.
func (g *Gate) Login(ctx context.Context, name, password string, session bool, from netip.Addr) (string, *boot.APIToken, error) {
	if err := g.slow.enter(from, g.Engine.Now()); err != nil {
		return "", nil, err
	}
	defer g.slow.leave(from)
	var u *boot.User
	if err := g.Engine.View(ctx, func(tx boot.ReadTx) (err error) { u, err = tx.User(name); return err }); err != nil {
		return "", nil, err
	}
	hash := nobody
	if u != nil && u.Hash != "" {
		hash = u.Hash
	}
	right, err := Verify(ctx, hash, password)
	if err != nil {
		return "", nil, err
	}
	if !right || u == nil || u.Hash == "" {
		if err := g.wrong(ctx, from); err != nil {
			return "", nil, err
		}
		return "", nil, boot.NewFault(boot.Unauthorized, "the name or the password is wrong").Try("sudo muster user passwd NAME, on the appliance")
	}
	g.slow.right(from)
	return g.signIn(ctx, u, session, from)
}

// signIn makes the token of a person who has shown who they are.
func (g *Gate) signIn(ctx context.Context, u *boot.User, session bool, from netip.Addr) (string, *boot.APIToken, error) {
	t := boot.APIToken{User: u.Name, Role: u.Role, Expires: g.Engine.Now().Add(LoginLife).UTC()}
	if session {
		t.Idle = SessionIdle
	}
	return g.Make(ctx, person(u.Name, from), t)
}

func person(name string, from netip.Addr) boot.Actor {
	return boot.Actor{Kind: boot.Person, Name: name, Via: "api", From: from.Unmap().String()}
}

// wrong counts one who guessed, and tells of it once in a while.
func (g *Gate) wrong(ctx context.Context, from netip.Addr) error {
	n, tell := g.slow.wrong(from, g.Engine.Now())
	if !tell {
		return nil
	}
	return g.Engine.Record(ctx, boot.Event{Kind: boot.LoginRefused, Text: fmt.Sprintf("%d wrong names or passwords came from %s, one after the other", n, from)})
}

// Invitation is a link's secret, which is said once, and what is kept of it.
func Invitation() (secret, digest string) {
	secret = newSecret()
	digest, _ = digestOf(secret)
	return secret, digest
}

// Join lets the bearer of a link choose a password, and signs them in. A password that is
// not taken leaves the link as it is.
func (g *Gate) Join(ctx context.Context, name, secret, password string, session bool, from netip.Addr) (string, *boot.APIToken, error) {
	if err := g.slow.enter(from, g.Engine.Now()); err != nil {
		return "", nil, err
	}
	defer g.slow.leave(from)
	digest, _ := digestOf(secret)
	var u *boot.User
	if err := g.Engine.View(ctx, func(tx boot.ReadTx) (err error) { u, err = tx.User(name); return err }); err != nil {
		return "", nil, err
	}
	hash := nobody
	if u != nil && u.Invites(digest, g.Engine.Now()) {
		var err error
		if hash, err = Hash(password); err != nil {
			return "", nil, err
		}
	}
	c, err := g.Engine.Do(ctx, person(boot.CleanText(name, 64), from), boot.JoinUser{Name: name, Invite: digest, Hash: hash})
	if err != nil {
		if f := boot.FaultOf(err); f != nil && f.Code == boot.Unauthorized {
			if e := g.wrong(ctx, from); e != nil {
				return "", nil, e
			}
		}
		return "", nil, err
	}
	g.slow.right(from)
	return g.signIn(ctx, c.User, session, from)
}

// Make stores a token, and returns what must be shown to come in. It is said once. One
// without a name gets one.
func (g *Gate) Make(ctx context.Context, by boot.Actor, t boot.APIToken) (string, *boot.APIToken, error) {
	if err := CheckScope(t.Scope); err != nil {
		return "", nil, err
	}
	secret := newSecret()
	t.Digest, _ = digestOf(secret)
	if t.Name == "" {
		t.Name = "login " + t.User + " " + t.Digest[:8]
	}
	c, err := g.Engine.Do(ctx, by, boot.AddToken{Token: t})
	if err != nil {
		return "", nil, err
	}
	return secret, c.Token, nil
}

// prefix begins every token, so that those who look for secrets in files find it.
const prefix = "mst_"

// newSecret is 256 bits of chance and a checksum, which keeps what was typed wrongly from
// being looked up.
func newSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	body := hex.EncodeToString(b)
	return prefix + body + sum(body)
}

func sum(body string) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body))) }

// digestOf is what is kept of a token. The store finds a record by it: what is compared
// is the digest, so that time tells nothing of the token.
func digestOf(secret string) (string, bool) {
	body, ok := strings.CutPrefix(secret, prefix)
	if !ok || len(body) != 72 || sum(body[:64]) != body[64:] {
		return "", false
	}
	d := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(d[:]), true
}
