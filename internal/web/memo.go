// memo.go: answers that are dear on a large roll, and wanted by every open page each time
// that something happens.

package web

import (
	"sync"
	"time"
)

const (
	// share is how many times as long an answer is kept as it took to make: all open pages
	// together take a fifth of one processor at most.
	share = 5
	// least is how long it is kept at least. The page's script asks so long after an event at
	// the earliest, so that what it gets is not from before.
	least = 100 * time.Millisecond
)

// memo keeps one answer. While it is made anew, readers get the one before.
type memo[T any] struct {
	mu    sync.Mutex
	made  T
	until time.Time
	has   bool

	making sync.Mutex
}

func (m *memo[T]) get(now func() time.Time, ask func() (T, error)) (T, error) {
	m.mu.Lock()
	v, has, fresh := m.made, m.has, now().Before(m.until)
	m.mu.Unlock()
	if fresh {
		return v, nil
	}
	if !m.making.TryLock() {
		if has {
			return v, nil
		}
		m.making.Lock() // the first answer is waited for
	}
	defer m.making.Unlock()
	begun := now()
	v, err := ask()
	if err != nil {
		return v, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	end := now()
	m.made, m.has, m.until = v, true, end.Add(max(least, share*end.Sub(begun)))
	return v, nil
}

// forget has the next reader get a new answer.
func (m *memo[T]) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.has, m.until = false, time.Time{}
}

// memos are one for each right of those who look; rights make the answers differ.
type memos[T any] struct {
	mu  sync.Mutex
	all map[string]*memo[T]
}

// maxScopes bounds them; with more, all are forgotten.
const maxScopes = 64

func (m *memos[T]) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = nil
}

func (m *memos[T]) of(scope string) *memo[T] {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil || len(m.all) >= maxScopes && m.all[scope] == nil {
		m.all = map[string]*memo[T]{}
	}
	if m.all[scope] == nil {
		m.all[scope] = &memo[T]{}
	}
	return m.all[scope]
}
