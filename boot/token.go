// token.go: signed boot paths. A TFTP request says nothing about who asks, nor does
// firmware over HTTP. So the path that DHCP hands out names the machine and the boot.

package boot

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"strings"
	"time"
)

// TokenKind limits what a token can do.
type TokenKind byte

// A boot token fetches this boot's files, a report token can only report.
const (
	BootToken   TokenKind = 1
	ReportToken TokenKind = 2
	// A maybe token is a boot token of a machine that may be a known host. Only what
	// its script's request says of the machine settles that.
	MaybeToken TokenKind = 3
)

// Token lifetimes. A boot path is good for a day.
const (
	BootTokenLife   = 24 * time.Hour
	reportTokenLife = 7 * 24 * time.Hour
)

// Token is what a boot path says. It proves no more than the MAC in the DHCP request
// did, so it must not give access to anything secret.
type Token struct {
	Kind    TokenKind
	Host    HostID     // or
	MAC     MAC        // while the machine is not enrolled
	Boot    uint32     // 0 until the first script
	Version TemplateID // fixes every later file of that boot
	Issued  time.Time  // whole minutes, UTC
}

// Key signs tokens; it is made once and kept in the store.
type Key [32]byte

// Errors of Key.Open.
var (
	ErrBadToken     = errors.New("token is not ours or was altered")
	ErrExpiredToken = errors.New("token has expired")
)

// Lower-case base32 survives firmware and servers that fold case, and the
// whole path stays far below the 127 bytes of a DHCP header field.
var tokenText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

const (
	tokenBody = 1 + 8 + 4 + 4 + 4
	tokenTag  = 16
)

// TokenLen is the length of a token in a path.
var TokenLen = tokenText.EncodedLen(tokenBody + tokenTag)

const macSubject = 0x80

func (k *Key) tag(body []byte) []byte {
	h := hmac.New(sha256.New, k[:])
	h.Write([]byte("muster boot path 1\x00"))
	h.Write(body)
	return h.Sum(nil)[:tokenTag]
}

// Sign returns the text of a token.
func (k *Key) Sign(t Token) string {
	b := make([]byte, tokenBody)
	b[0] = byte(t.Kind)
	if t.Host == 0 {
		b[0] |= macSubject
		copy(b[3:9], t.MAC[:])
	} else {
		binary.BigEndian.PutUint64(b[1:9], uint64(t.Host))
	}
	binary.BigEndian.PutUint32(b[9:], t.Boot)
	binary.BigEndian.PutUint32(b[13:], uint32(t.Version))
	binary.BigEndian.PutUint32(b[17:], uint32(t.Issued.Unix()/60))
	// The tag goes first: it tells tokens apart where a log keeps only the beginning.
	return tokenText.EncodeToString(append(k.tag(b), b...))
}

// Open checks a token's text. A token from the future is refused as an old one is,
// unless it is at most a day ahead: the clock may have been set back.
func (k *Key) Open(s string, now time.Time) (Token, error) {
	if len(s) != TokenLen {
		return Token{}, ErrBadToken
	}
	raw, err := tokenText.DecodeString(strings.ToLower(s))
	// The last letter has bits to spare: of its spellings only ours counts.
	if err != nil || len(raw) != tokenBody+tokenTag || tokenText.EncodeToString(raw) != strings.ToLower(s) {
		return Token{}, ErrBadToken
	}
	tag, body := raw[:tokenTag], raw[tokenTag:]
	if !hmac.Equal(tag, k.tag(body)) {
		return Token{}, ErrBadToken
	}
	t := Token{
		Kind:    TokenKind(body[0] &^ macSubject),
		Boot:    binary.BigEndian.Uint32(body[9:]),
		Version: TemplateID(binary.BigEndian.Uint32(body[13:])),
		Issued:  time.Unix(int64(binary.BigEndian.Uint32(body[17:]))*60, 0).UTC(),
	}
	if body[0]&macSubject != 0 {
		copy(t.MAC[:], body[3:9])
	} else {
		t.Host = HostID(binary.BigEndian.Uint64(body[1:9]))
	}
	life := BootTokenLife
	if t.Kind == ReportToken {
		life = reportTokenLife
	}
	if age := now.Sub(t.Issued); age > life || age < -BootTokenLife {
		return t, ErrExpiredToken
	}
	return t, nil
}

// Short is a token as logs show it: enough to tell two apart, too little to use.
func Short(token string) string {
	if len(token) <= 8 {
		return token
	}
	return token[:8] + "…"
}

// ShortPath shortens the token inside a boot path, for logs.
func ShortPath(p string) string {
	rest, ok := strings.CutPrefix(p, "boot/")
	if !ok {
		return p
	}
	tok, file, _ := strings.Cut(rest, "/")
	return "boot/" + Short(tok) + "/" + file
}
