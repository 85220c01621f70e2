// people.go: users and tokens of the API.

package store

import "github.com/musterboot/muster/boot"

var users = declare(kind[string, *boot.User]{
	what: "user", table: "user",
	key:      named(),
	codec:    asJSON[string, boot.User](),
	check:    (*boot.User).Validate,
	revision: func(u *boot.User) *uint64 { return &u.Revision },
})

var tokensByName = &lookup[string, *boot.APIToken]{
	table: "token.name",
	keys:  func(keys [][]byte, t *boot.APIToken) [][]byte { return text(keys, t.Name) },
	sole:  called("token"),
}

var tokens = declare(kind[string, *boot.APIToken]{
	what: "token", table: "token",
	key:     named(),
	codec:   asJSON[string, boot.APIToken](),
	check:   (*boot.APIToken).Validate,
	title:   func(t *boot.APIToken) string { return t.Name },
	lookups: []*lookup[string, *boot.APIToken]{tokensByName},
})

func (r records) User(name string) (*boot.User, error) {
	u, _, err := users.get(r, name)
	return u, err
}

func (r records) Token(digest string) (*boot.APIToken, error) {
	t, _, err := tokens.get(r, digest)
	return t, err
}

func (r records) TokenByName(name string) (*boot.APIToken, error) {
	t, _, err := tokens.by(r, tokensByName, []byte(name))
	return t, err
}

func (r *readTx) Users(after string, n int) ([]*boot.User, error) {
	return users.list(r.s, nil, users.key.to(after), n)
}

func (r *readTx) APITokens(after string, n int) ([]*boot.APIToken, error) {
	return tokens.list(r.s, nil, tokens.key.to(after), n)
}

func (w *writeTx) PutUser(u *boot.User) error { return users.put(w, u.Name, u) }

func (w *writeTx) DeleteUser(u *boot.User) error { return users.delete(w, u.Name) }

func (w *writeTx) PutToken(t *boot.APIToken) error { return tokens.put(w, t.Digest, t) }

func (w *writeTx) DeleteToken(t *boot.APIToken) error { return tokens.delete(w, t.Digest) }
