// context.go: which appliance the commands speak to: the one here, the one that the
// environment names, or one that this user has signed in to.

package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// here is the name that means the daemon on this computer.
const here = "local"

// contexts are the appliances that a user has signed in to. The file has tokens, and is
// the user's alone.
type contexts struct {
	Current  string             `json:"current,omitempty"`
	Contexts map[string]contact `json:"contexts"`
}

// contact is what it takes to speak to one.
type contact struct {
	URL   string `json:"url"`
	User  string `json:"user,omitempty"`
	Token string `json:"token"`
	CA    string `json:"ca,omitempty"` // PEM
}

// contextFile is where they are kept; "" where the user has no home.
func (a *app) contextFile() string {
	dir := a.getenv("XDG_CONFIG_HOME")
	switch home := a.getenv("HOME"); {
	case dir != "":
	case runtime.GOOS == "windows":
		dir = a.getenv("AppData")
	case home != "" && runtime.GOOS == "darwin":
		dir = filepath.Join(home, "Library", "Application Support")
	case home != "":
		dir = filepath.Join(home, ".config")
	}
	if !filepath.IsAbs(dir) {
		return ""
	}
	return filepath.Join(dir, "muster", "contexts.json")
}

func (a *app) readContexts() (c contexts, err error) {
	file := a.contextFile()
	if file == "" {
		return c, nil
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w: muster login writes it anew where it is removed", file, err)
	}
	return c, nil
}

// writeContexts replaces the file as a whole.
func (a *app) writeContexts(c contexts) error {
	file := a.contextFile()
	if file == "" {
		return errors.New("there is no home directory to keep a token in: set MUSTER_URL and MUSTER_TOKEN")
	}
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".contexts-*") // which nobody else can read
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(b, '\n'))
	if err = cmp.Or(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// remote is the client of an appliance elsewhere: the one that the environment names, or
// the one in use. It is nil for the daemon here, which --data-dir always means.
func (a *app) remote() (*client.Client, error) {
	if at := a.getenv("MUSTER_URL"); at != "" {
		token := a.getenv("MUSTER_TOKEN")
		if token == "" {
			return nil, errors.New("MUSTER_URL is set, and no MUSTER_TOKEN: make one on the appliance with muster token create")
		}
		var ca []byte
		if f := a.getenv("MUSTER_CA"); f != "" {
			var err error
			if ca, err = os.ReadFile(f); err != nil {
				return nil, err
			}
		}
		return client.Remote(at, token, ca)
	}
	if a.getenv("MUSTER_DATA_DIR") != "" || a.atHome != nil && a.atHome() {
		return nil, nil
	}
	c, err := a.readContexts()
	if err != nil {
		return nil, err
	}
	name := cmp.Or(a.getenv("MUSTER_CONTEXT"), c.Current, here)
	if name == here {
		return nil, nil
	}
	x, is := c.Contexts[name]
	if !is {
		return nil, fmt.Errorf("no context is called %s: muster context list", name)
	}
	return x.client()
}

func (x contact) client() (*client.Client, error) {
	var ca []byte
	if x.CA != "" {
		ca = []byte(x.CA)
	}
	return client.Remote(x.URL, x.Token, ca)
}

func (a *app) loginCmd() *cobra.Command {
	var user, passwordFile, tokenFile, caFile, fingerprint, name string
	c := &cobra.Command{
		Use: "login https://APPLIANCE:8067", Short: "Sign in to an appliance elsewhere, and use it", Args: exactly(1, "the address of an appliance"),
		Long: `Sign in to an appliance elsewhere. Its token is kept in this user's configuration, and all
commands speak to that appliance until muster context use says otherwise. They go back to
the daemon here with muster context use local, with --data-dir, or with MUSTER_CONTEXT=local.

The appliance's own authority is trusted by --ca FILE (muster ca export --pem FILE, there),
or by its fingerprint as muster ca show prints it there.`,
		Example: "  muster login https://muster.example.org:8067 --fingerprint 5d:1e:…\n  muster login https://10.77.0.1:8067 --ca ca.pem --user ann\n  muster login https://10.77.0.1:8067 --ca ca.pem --token-file token   # of muster token create",
		RunE: func(c *cobra.Command, args []string) error {
			at := strings.TrimRight(args[0], "/")
			u, err := url.Parse(at)
			if err != nil || u.Host == "" {
				return usagef("%q is no address of an appliance: want https://HOST:8067", args[0])
			}
			x := contact{URL: at, User: user}
			switch {
			case caFile != "":
				b, err := os.ReadFile(caFile)
				if err != nil {
					return err
				}
				x.CA = string(b)
			case fingerprint != "":
				if x.CA, err = authorityAt(c.Context(), at, fingerprint); err != nil {
					return err
				}
			}
			if tokenFile != "" {
				if x.Token, _, err = password(tokenFile); err != nil {
					return err
				}
			} else if err := a.signIn(c.Context(), &x, passwordFile); err != nil {
				return err
			}
			cl, err := x.client()
			if err != nil {
				return err
			}
			var me client.Me
			if err := cl.Call(c.Context(), http.MethodGet, "/api/v1/me", nil, &me); err != nil {
				return err
			}
			x.User = me.Name
			name = cmp.Or(name, u.Hostname())
			if name == here {
				return usagef("the name %s means the daemon on this computer: choose another with --name", here)
			}
			all, err := a.readContexts()
			if err != nil {
				return err
			}
			if all.Contexts == nil {
				all.Contexts = map[string]contact{}
			}
			all.Contexts[name], all.Current = x, name
			if err := a.writeContexts(all); err != nil {
				return err
			}
			return a.said(map[string]any{"context": name, "url": at, "name": me.Name, "role": me.Role}, "%s at %s, role %s: in use as %s", me.Name, at, me.Role, name)
		},
	}
	c.Flags().StringVar(&user, "user", "", "name; it is asked for")
	c.Flags().StringVar(&passwordFile, "password-file", "", "file with the password in its first line, - for standard input; it is asked for")
	c.Flags().StringVar(&tokenFile, "token-file", "", "file with a token, - for standard input, in place of name and password")
	c.Flags().StringVar(&caFile, "ca", "", "PEM file of the authority to trust")
	c.Flags().StringVar(&fingerprint, "fingerprint", "", "SHA-256 of the appliance's own authority, as muster ca show prints it there")
	c.Flags().StringVar(&name, "name", "", "name of the context; default: the host")
	return c
}

// signIn asks for what is missing, and makes a token.
func (a *app) signIn(ctx context.Context, x *contact, passwordFile string) error {
	if a.in == nil && (x.User == "" || passwordFile == "") {
		return usagef("nobody can be asked here: give --user and --password-file, or --token-file")
	}
	if x.User == "" {
		a.note("Name: ")
		line, err := bufio.NewReader(io.LimitReader(a.in, 1024)).ReadString('\n')
		if err != nil {
			return err
		}
		x.User = strings.TrimSpace(line)
	}
	var text string
	var err error
	if passwordFile != "" {
		text, _, err = password(passwordFile)
	} else {
		a.note("Password: ")
		var b []byte
		b, err = typedSecret()
		a.note("\n")
		text = string(b)
	}
	if err != nil {
		return err
	}
	cl, err := x.client()
	if err != nil {
		return err
	}
	var made client.TokenMade
	if err := cl.Call(ctx, http.MethodPost, "/api/v1/login", client.Login{Name: x.User, Password: text}, &made); err != nil {
		return err
	}
	x.Token = made.Token
	return nil
}

// authorityAt fetches the authority of an appliance and compares it with the fingerprint
// that a person has read there. Nothing else is asked on the connection, which proves
// nothing, and nothing is sent on it.
func authorityAt(ctx context.Context, at, want string) (string, error) {
	hexed := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(strings.TrimPrefix(strings.ToLower(want), "sha256:")))
	if b, err := hex.DecodeString(hexed); err != nil || len(b) != sha256.Size {
		return "", usagef("--fingerprint wants the 64 hexadecimal digits that muster ca show prints on the appliance")
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at+"/api/v1/ca", nil)
	if err != nil {
		return "", err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the fingerprint is what is believed
	defer t.CloseIdleConnections()
	resp, err := (&http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var ca client.CA
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&ca); err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s tells no authority (%s): it has a certificate of another; trust that one with --ca FILE", at, resp.Status)
	}
	block, rest := pem.Decode([]byte(ca.PEM))
	if block == nil || len(strings.TrimSpace(string(rest))) > 0 {
		return "", fmt.Errorf("%s tells no authority: what it sends is not one certificate", at)
	}
	if sum := sha256.Sum256(block.Bytes); hex.EncodeToString(sum[:]) != hexed {
		return "", fmt.Errorf("the authority of %s has the fingerprint %x, and not that one: somebody may be between you and the appliance", at, sum)
	}
	return string(pem.EncodeToMemory(block)), nil
}

func (a *app) logoutCmd() *cobra.Command {
	return &cobra.Command{
		Use: "logout [CONTEXT]", Short: "End the token that muster login keeps, and forget it", Args: atMostOne,
		Example: "  muster logout\n  muster logout lab",
		RunE: func(c *cobra.Command, args []string) error {
			all, err := a.readContexts()
			if err != nil {
				return err
			}
			name := all.Current
			if len(args) == 1 {
				name = args[0]
			}
			x, is := all.Contexts[name]
			if !is {
				return fmt.Errorf("no context is called %s: muster context list", cmp.Or(name, here))
			}
			var kept string // why the token may still be good
			cl, err := x.client()
			if err == nil {
				err = cl.Call(c.Context(), http.MethodPost, "/api/v1/logout", nil, nil)
			}
			if f := boot.FaultOf(err); err != nil && (f == nil || f.Code != boot.Unauthorized) {
				kept = fmt.Sprintf("; the appliance was not told, and its token lasts until it is revoked there: %v", err)
			}
			delete(all.Contexts, name)
			if all.Current == name {
				all.Current = ""
			}
			if err := a.writeContexts(all); err != nil {
				return err
			}
			return a.said(map[string]any{"context": name, "told": kept == ""}, "%s is forgotten%s", name, kept)
		},
	}
}

func (a *app) contextCmd() *cobra.Command {
	c := group("context", "Which appliance the commands speak to")
	c.AddCommand(&cobra.Command{
		Use: "list", Short: "List the appliances that this user has signed in to", Args: exactly(0, "no arguments"),
		Example: "  muster context list\n  MUSTER_CONTEXT=lab muster host list",
		RunE: func(*cobra.Command, []string) error {
			all, err := a.readContexts()
			if err != nil {
				return err
			}
			type entry struct {
				Name    string `json:"name"`
				URL     string `json:"url,omitempty"`
				User    string `json:"user,omitempty"`
				Current bool   `json:"current"`
			}
			now := cmp.Or(a.getenv("MUSTER_CONTEXT"), all.Current, here)
			out := []entry{{here, "", "", now == here}}
			for _, n := range slices.Sorted(maps.Keys(all.Contexts)) {
				x := all.Contexts[n]
				out = append(out, entry{n, x.URL, x.User, n == now})
			}
			if a.json {
				return a.printJSON(out)
			}
			rows := [][]string{{"IN USE", "NAME", "URL", "USER"}}
			for _, e := range out {
				rows = append(rows, []string{map[bool]string{true: "*"}[e.Current], e.Name, cmp.Or(e.URL, "the daemon on this computer"), e.User})
			}
			a.table(rows)
			return nil
		},
	}, &cobra.Command{
		Use: "use NAME", Short: "Speak to another appliance from now on", Args: exactly(1, "a context, or local"),
		Example: "  muster context use lab\n  muster context use local",
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := a.readContexts()
			if err != nil {
				return err
			}
			if _, is := all.Contexts[args[0]]; !is && args[0] != here {
				return fmt.Errorf("no context is called %s: muster context list", args[0])
			}
			all.Current = args[0]
			if err := a.writeContexts(all); err != nil {
				return err
			}
			return a.said(map[string]any{"context": args[0]}, "%s is in use", args[0])
		},
	})
	return c
}
