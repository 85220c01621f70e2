// menu.go: the menu that firmware shows, [network.menu].

package config

import (
	"strings"

	"github.com/musterboot/muster/boot"
)

// fileMenu is [network.menu].
type fileMenu struct {
	Prompt  string         `toml:"prompt"`
	Timeout *int           `toml:"timeout"`
	Items   []fileMenuItem `toml:"item"`
}

type fileMenuItem struct {
	Text   string `toml:"text"`
	Loader string `toml:"loader"`
	Local  bool   `toml:"local"`
}

// check turns [network.menu] into its typed form.
func (r *fileMenu) check(bad complain) (*boot.Menu, error) {
	if r == nil {
		return nil, nil
	}
	m := &boot.Menu{Prompt: r.Prompt, Timeout: 10}
	if r.Timeout != nil {
		if *r.Timeout < 0 || *r.Timeout > 255 {
			return nil, bad("menu.timeout", "timeout %d: want seconds from 0 (the first line at once) to 255 (wait)", *r.Timeout)
		}
		m.Timeout = uint8(*r.Timeout)
	}
	if m.Prompt == "" {
		m.Prompt = "Press F8 for a menu"
	}
	// Firmware accepts one option of 255 bytes, and 24 lines (edk2).
	if len(r.Items) < 1 || len(r.Items) > 24 {
		return nil, bad("menu.item", "a menu wants 1 to 24 lines: [[network.menu.item]]")
	}
	size := 12 + len(m.Prompt)
	for _, it := range r.Items {
		x := boot.MenuItem{Text: it.Text, Loader: it.Loader}
		switch {
		case it.Text == "":
			return nil, bad("menu.item", "a line of the menu needs a text")
		case it.Local && it.Loader != "":
			return nil, bad("menu.item", "line %q: local = true boots the disk and wants no loader", it.Text)
		case !it.Local && it.Loader == "":
			x.Loader = "default"
		case strings.ContainsAny(it.Loader, "/\\"):
			return nil, bad("menu.item", "line %q: loader %q: want the name of a file in the loaders folder", it.Text, it.Loader)
		}
		size += 10 + len(it.Text)
		m.Items = append(m.Items, x)
	}
	if size > 255 {
		return nil, bad("menu.item", "the menu takes %d bytes of the 255 that firmware reads: fewer lines or shorter texts", size)
	}
	return m, nil
}
