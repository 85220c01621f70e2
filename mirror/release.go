package mirror

// This file judges a release: who signed it, what it is of, and when.

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// release is what an archive says of a suite, and the files that say so.
type release struct {
	files   map[string][]byte // InRelease, Release, Release.gpg
	head    paragraph
	date    time.Time
	indexes map[string]file
}

// release fetches the files of a release and judges them; none is stored here. apt reads
// InRelease, and the installer Release and its signature.
func (t *taking) release(ctx context.Context) (*release, error) {
	base := "dists/" + t.w.Suite + "/"
	r := &release{files: map[string][]byte{}}
	for _, n := range []string{"InRelease", "Release", "Release.gpg"} {
		b, err := t.small(ctx, base+n)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r.files[n] = b
	}
	if r.files["Release"] == nil || r.files["Release.gpg"] == nil { // one without the other proves nothing
		delete(r.files, "Release")
		delete(r.files, "Release.gpg")
	}
	in, text := r.files["InRelease"], r.files["Release"]
	if in == nil && text == nil {
		return nil, fmt.Errorf("there is no %sInRelease, nor a Release with its signature: is that the root of an archive, and is the suite called %s?", base, t.w.Suite)
	}
	if text != nil {
		if _, err := verify(ctx, t.w.Keyring, text, r.files["Release.gpg"]); err != nil {
			return nil, fmt.Errorf("%sRelease: %w", base, err)
		}
	}
	if in != nil {
		signed, err := verify(ctx, t.w.Keyring, in, nil)
		if err != nil {
			return nil, fmt.Errorf("%sInRelease: %w", base, err)
		}
		// What stands at the end of lines is not signed there (RFC 9580, 7.2).
		if text != nil && !slices.EqualFunc(lines(signed), lines(text), bytes.Equal) {
			return nil, fmt.Errorf("%sInRelease and Release say different things: the archive may be changing, try again later", base)
		}
		text = signed
	}
	if err := r.read(text, t.w.Suite, time.Now()); err != nil {
		return nil, fmt.Errorf("%sRelease: %w", base, err)
	}
	return r, nil
}

// lines are those of a text without what stands at their ends.
func lines(text []byte) (out [][]byte) {
	for l := range bytes.Lines(bytes.TrimSpace(text)) {
		out = append(out, bytes.TrimRight(l, " \t\r\n"))
	}
	return out
}

// read reads the text, and refuses what is another suite's or too old.
func (r *release) read(text []byte, suite string, now time.Time) (err error) {
	if err := paragraphs(bytes.NewReader(text), func(p paragraph) bool { r.head = p; return false }); err != nil {
		return err
	}
	name := suite[strings.LastIndexByte(suite, '/')+1:]
	if before, of, ok := strings.Cut(suite, "/"); ok && of == "updates" {
		name = before // "buster/updates" is signed as "buster"
	}
	if is, code := r.head["suite"], r.head["codename"]; name != is && name != code {
		return fmt.Errorf("it is of the suite %q, %q, and %s was asked for: the archive is wrong, or somebody answers with another release", is, code, suite)
	}
	if r.date, err = date(r.head["date"]); err != nil {
		return fmt.Errorf("its Date: %w", err)
	}
	if v, ok := r.head["valid-until"]; ok {
		until, err := date(v)
		if err != nil {
			return fmt.Errorf("its Valid-Until: %w", err)
		}
		if now.After(until) {
			return fmt.Errorf("it was valid until %s, and machines would refuse it: the archive is not kept up to date, or somebody answers with an old one; take another, and look at the clock here", v)
		}
	}
	r.indexes, err = readIndexes(r.head["sha256"])
	return err
}

// date reads one of a release, which is in UTC.
func date(s string) (time.Time, error) {
	for _, zone := range []string{"UTC", "GMT", "Z", "+0000"} {
		if t, err := time.Parse("Mon, 2 Jan 2006 15:04:05 "+zone, s); err == nil && strings.HasSuffix(s, zone) {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no date as Sat, 01 Aug 2026 10:00:00 UTC", s)
}

// readIndexes lists the files of a release, beneath its own folder.
func readIndexes(sums string) (map[string]file, error) {
	out := map[string]file{}
	for line := range strings.Lines(sums) {
		f := strings.Fields(line)
		if len(f) != 3 || len(f[0]) != 64 {
			continue
		}
		if _, err := hex.DecodeString(f[0]); err != nil {
			continue
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err == nil && n >= 0 && n < maxFile && fs.ValidPath(f[2]) {
			out[f[2]] = file{f[2], n, strings.ToLower(f[0])}
		}
	}
	if len(out) == 0 {
		return nil, errors.New("it lists no files with their SHA-256")
	}
	return out, nil
}

// verify checks a text and its signature by gpgv, or one that is signed in itself, and
// returns what is signed.
func verify(ctx context.Context, keyring string, text, signature []byte) ([]byte, error) {
	// gpgv looks for a name without a folder in ~/.gnupg.
	keyring, err := filepath.Abs(keyring)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "muster-gpgv-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	at := func(n string) string { return filepath.Join(dir, n) }
	if err := os.WriteFile(at("text"), text, 0o600); err != nil {
		return nil, err
	}
	args := []string{"--keyring", keyring, "--status-fd", "1"}
	if signature != nil {
		if err := os.WriteFile(at("signature"), signature, 0o600); err != nil {
			return nil, err
		}
		args = append(args, at("signature"), at("text"))
	} else {
		if !oneMessage(text) {
			return nil, errors.New("it is not one signed message and nothing else")
		}
		args = append(args, "--output", at("signed"), at("text"))
	}
	var status, said bytes.Buffer
	cmd := exec.CommandContext(ctx, "gpgv", args...)
	cmd.Stdout, cmd.Stderr = &status, &said
	err = cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("its signature cannot be checked: install gpgv (apt install gpgv)")
	}
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := verdict(status.String(), err == nil); err != nil {
		return nil, fmt.Errorf("its signature is not one of %s: %w\n%s", keyring, err, strings.TrimSpace(said.String()))
	}
	if signature != nil {
		return text, nil
	}
	return os.ReadFile(at("signed"))
}

// oneMessage says that nothing stands around a signed message, nor a second one: gpgv
// would overlook it, and who reads the file afterwards may not. apt refuses these too.
func oneMessage(b []byte) bool {
	const begin, end = "-----BEGIN PGP SIGNED MESSAGE-----", "-----END PGP SIGNATURE-----"
	l := lines(b)
	count := func(s string) (n int) {
		for _, x := range l {
			if string(x) == s {
				n++
			}
		}
		return n
	}
	return len(l) > 1 && string(l[0]) == begin && string(l[len(l)-1]) == end && count(begin) == 1 && count(end) == 1
}

// verdict reads what gpgv says for programs (doc/DETAILS of GnuPG) as apt does. Its exit
// code is another: it fails where one of two signatures is of a key that is not here, and
// passes one by an expired key.
func verdict(status string, passed bool) error {
	good, counts, excused := "", false, false
	why := errors.New("there is none")
	for l := range strings.Lines(status) {
		f := strings.Fields(l)
		if len(f) < 2 || f[0] != "[GNUPG:]" {
			continue
		}
		arg := func(n int) string {
			if len(f) > n+1 {
				return f[n+1]
			}
			return ""
		}
		switch f[1] {
		case "NEWSIG":
			good = ""
		case "GOODSIG":
			good = arg(1)
		case "VALIDSIG":
			switch {
			case good == "" || !strings.HasSuffix(arg(1), good):
			case slices.Contains(digests, arg(8)):
				counts = true
			default:
				why = fmt.Errorf("that of %s is made with a weak digest, as SHA-1 and MD5 are", arg(1))
			}
			good = ""
		case "EXPKEYSIG":
			good, why, excused = "", fmt.Errorf("the key %s has expired", arg(1)), true
		case "REVKEYSIG":
			good, why, excused = "", fmt.Errorf("the key %s is revoked", arg(1)), true
		case "EXPSIG":
			good, why, excused = "", fmt.Errorf("that of the key %s has expired", arg(1)), true
		case "ERRSIG", "NO_PUBKEY":
			good, excused = "", true
			if !counts && why.Error() == "there is none" {
				why = fmt.Errorf("the key %s is not there", arg(1))
			}
		case "BADSIG":
			return errors.New("the text is not what was signed")
		case "NODATA", "UNEXPECTED", "BADARMOR", "ERROR":
			return errors.New("it cannot be read")
		}
	}
	if !counts {
		return why
	}
	if !passed && !excused {
		return errors.New("gpgv failed")
	}
	return nil
}

// digests are those that count, by their numbers (RFC 9580, 9.5): SHA-2 and SHA-3.
var digests = []string{"8", "9", "10", "11", "12", "14"}
