// password.go: passwords as argon2id (RFC 9106), written as a PHC string so that the costs
// can grow.

package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/musterboot/muster/boot"
)

// Costs of a hash: OWASP's for argon2id. Each login holds that memory for a tenth of a
// second.
const (
	memoryKiB = 19 * 1024
	passes    = 2
	lanes     = 1
	saltLen   = 16
	keyLen    = 32
)

// Bounds of a password, in characters and bytes.
const (
	MinPassword = 12
	maxPassword = 1024
)

// hashing bounds the memory of logins.
var hashing = make(chan struct{}, 2)

// Hash judges a new password and makes what is kept of it.
func Hash(password string) (string, error) {
	switch {
	case !utf8.ValidString(password) || len(password) > maxPassword:
		return "", boot.NewFault(boot.Invalid, "a password is UTF-8 text of at most %d bytes", maxPassword)
	case utf8.RuneCountInString(password) < MinPassword:
		return "", boot.NewFault(boot.Invalid, "the password is too short: want %d characters or more; a few words will do", MinPassword)
	}
	salt := make([]byte, saltLen)
	_, _ = rand.Read(salt) // never fails
	key := argon2.IDKey([]byte(password), salt, passes, memoryKiB, lanes, keyLen)
	b := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memoryKiB, passes, lanes, b.EncodeToString(salt), b.EncodeToString(key)), nil
}

// nobody is compared where there is no user, so that the answer takes as long.
var nobody = "$argon2id$v=19$m=19456,t=2,p=1$" + base64.RawStdEncoding.EncodeToString(make([]byte, saltLen)) + "$" + base64.RawStdEncoding.EncodeToString(make([]byte, keyLen))

// Verify compares a password with what is kept. Costs beyond bounds, which nothing of
// ours writes, are an error and not obeyed.
func Verify(ctx context.Context, hash, password string) (bool, error) {
	parts := strings.Split(hash, "$")
	var version, m, t, p int
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, fmt.Errorf("a password's hash has an unknown form")
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &m, &t, &p); err != nil || version != argon2.Version || m < 8 || m > 1<<18 || t < 1 || t > 16 || p < 1 || p > 8 {
		return false, fmt.Errorf("a password's hash has unknown costs")
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	key, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || err2 != nil || len(salt) == 0 || len(key) < 16 || len(key) > 64 {
		return false, fmt.Errorf("a password's hash is damaged")
	}
	if len(password) > maxPassword {
		password = "" // it is nobody's, and costs what others cost
	}
	select {
	case hashing <- struct{}{}:
		defer func() { <-hashing }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	got := argon2.IDKey([]byte(password), salt, uint32(t), uint32(m), uint8(p), uint32(len(key)))
	return subtle.ConstantTimeCompare(got, key) == 1, nil
}
