package web

import (
	"errors"
	"testing"
	"time"
)

// TestMemo: an answer is kept five times as long as it took; one that failed is not; and
// while one is made, nobody waits who can have the one before.
func TestMemo(t *testing.T) {
	at := time.Unix(1000, 0)
	now := func() time.Time { return at }
	asked := 0
	var m memo[int]
	ask := func() (int, error) {
		asked++
		at = at.Add(time.Second)
		return asked, nil
	}
	get := func() int {
		t.Helper()
		v, err := m.get(now, ask)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if _, err := m.get(now, func() (int, error) { return 0, errors.New("no") }); err == nil {
		t.Error("a failure is kept")
	}
	for range 2 {
		if get() != 1 {
			t.Error("it was made again at once")
		}
	}
	if at = at.Add(4999 * time.Millisecond); get() != 1 {
		t.Error("it was made again too early")
	}
	if at = at.Add(time.Millisecond); get() != 2 {
		t.Error("it was kept too long")
	}
	quick := func() (int, error) { asked++; return asked, nil }
	var q memo[int]
	was, _ := q.get(now, quick)
	at = at.Add(least - 1)
	if v, _ := q.get(now, quick); v != was {
		t.Error("a quick answer was made again at once")
	}
	at = at.Add(1)
	if v, _ := q.get(now, quick); v == was {
		t.Error("a quick answer was kept too long")
	}
	q.forget()
	if v, _ := q.get(now, quick); v != was+2 {
		t.Error("what is forgotten is kept")
	}
	asked = 2
	at = at.Add(time.Minute)
	m.making.Lock()
	if get() != 2 {
		t.Error("a reader waited")
	}
	m.making.Unlock()
	if get() != 3 {
		t.Error("it was never made again")
	}
	var all memos[int]
	first := all.of("a")
	if all.of("a") != first || all.of("b") == first {
		t.Error("scopes share an answer")
	}
	for i := range 2 * maxScopes {
		all.of(string(rune('A' + i)))
	}
	if len(all.all) > maxScopes {
		t.Errorf("%d are kept", len(all.all))
	}
}
