// template.go: the versions of templates, images, and the values that machines inherit.

package store

import "github.com/musterboot/muster/boot"

// templateByName leads to the newest version. A counter says which one is in force where
// that is another.
var templateByName = &lookup[boot.TemplateID, *boot.Template]{table: "template.name",
	keys: func(keys [][]byte, t *boot.Template) [][]byte { return text(keys, t.Name) }}

var templates = declare(kind[boot.TemplateID, *boot.Template]{
	what: "template", table: "template",
	key:     numbered[boot.TemplateID](),
	codec:   asJSON[boot.TemplateID, boot.Template](),
	check:   (*boot.Template).Validate,
	lookups: []*lookup[boot.TemplateID, *boot.Template]{templateByName},
})

func (r records) Template(id boot.TemplateID) (*boot.Template, error) {
	t, _, err := templates.get(r, id)
	return t, err
}

func (r records) NewestTemplate(name string) (*boot.Template, error) {
	t, _, err := templates.by(r, templateByName, []byte(name))
	return t, err
}

func (r records) TemplateByName(name string) (*boot.Template, error) {
	newest, err := r.NewestTemplate(name)
	if newest == nil || err != nil {
		return nil, err
	}
	if n, err := r.Counter(boot.InForce(name)); err != nil || n == 0 {
		return newest, err
	} else if t, err := r.Template(boot.TemplateID(n)); err != nil || t != nil && t.Name == name {
		return t, err
	}
	return newest, nil
}

func (r *readTx) Templates(after boot.TemplateID, n int) ([]*boot.Template, error) {
	return templates.list(r.s, nil, templates.key.to(after), n)
}

func (w *writeTx) PutTemplate(t *boot.Template) error { return templates.put(w, t.ID, t) }

func (w *writeTx) DropTemplate(name string) error {
	w.put(templateByName.table, []byte(name), nil)
	return nil
}

var images = declare(kind[string, *boot.Image]{
	what: "image", table: "image",
	key:   named(),
	codec: asJSON[string, boot.Image](),
	check: (*boot.Image).Validate,
})

func (r records) Image(name string) (*boot.Image, error) {
	i, _, err := images.get(r, name)
	return i, err
}

func (r *readTx) Images(after string, n int) ([]*boot.Image, error) {
	return images.list(r.s, nil, images.key.to(after), n)
}

func (w *writeTx) PutImage(i *boot.Image) error { return images.put(w, i.Name, i) }

func (w *writeTx) DeleteImage(name string) error { return images.delete(w, name) }

var values = declare(kind[boot.Scope, *boot.Values]{
	what: "parameters of", table: "param",
	key: keys[boot.Scope]{
		to:   func(s boot.Scope) []byte { return []byte(s) },
		from: func(b []byte) (boot.Scope, bool) { return boot.Scope(b), true },
	},
	codec:    asJSON[boot.Scope, boot.Values](),
	check:    (*boot.Values).Validate,
	revision: func(v *boot.Values) *uint64 { return &v.Revision },
})

func (r records) Values(s boot.Scope) (*boot.Values, error) {
	v, _, err := values.get(r, s)
	return v, err
}

func (r *readTx) AllValues(after boot.Scope, n int) ([]*boot.Values, error) {
	return values.list(r.s, nil, values.key.to(after), n)
}

func (w *writeTx) PutValues(v *boot.Values) error { return values.put(w, v.Scope, v) }

func (w *writeTx) DeleteValues(v *boot.Values) error { return values.delete(w, v.Scope) }
