// list.go: lists, a page at a time.

package admin

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// Bounds of one page of a list.
const (
	usualLimit = 500
	mostLimit  = 5000
)

// window is the page that is asked for: what follows a cursor.
type window struct {
	after string
	limit int
}

func windowOf(r *http.Request) (window, error) {
	w := window{r.URL.Query().Get("cursor"), usualLimit}
	if s := r.URL.Query().Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > mostLimit {
			return w, boot.NewFault(boot.Malformed, "limit=%s: want 1 to %d", boot.CleanText(s, 20), mostLimit)
		}
		w.limit = n
	}
	return w, nil
}

func (w window) bad() error {
	return boot.NewFault(boot.Malformed, "cursor=%s is none that this list gave", boot.CleanText(w.after, 80))
}

// paged is one page of a list that is at hand as a whole, sorted by its keys.
func paged[T any](r *http.Request, all []T, key func(T) string) (any, error) {
	w, err := windowOf(r)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
	out := client.List[T]{Items: []T{}}
	if r.URL.Query().Get("total") == "1" {
		n := len(all)
		out.Total = &n
	}
	for _, x := range all {
		switch k := key(x); {
		case w.after != "" && k <= w.after:
		case len(out.Items) == w.limit:
			out.Next = key(out.Items[w.limit-1])
			return out, nil
		default:
			out.Items = append(out.Items, x)
		}
	}
	return out, nil
}
