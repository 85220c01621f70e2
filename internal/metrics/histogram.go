// histogram.go: how long something took, counted in classes.

package metrics

import "sync"

// Histogram counts durations, or whatever has a size. It is safe for concurrent use.
type Histogram struct {
	bounds []float64

	mu     sync.Mutex
	counts []uint64 // of each class; the last has what is above every bound
	sum    float64
}

// NewHistogram counts in classes with these upper bounds, which ascend.
func NewHistogram(bounds []float64) *Histogram {
	return &Histogram{bounds: bounds, counts: make([]uint64, len(bounds)+1)}
}

// Observe counts one value.
func (h *Histogram) Observe(v float64) {
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	h.mu.Lock()
	h.counts[i]++
	h.sum += v
	h.mu.Unlock()
}

// read returns how many values there were, their sum, and how many were no greater than
// each bound.
func (h *Histogram) read() (n uint64, sum float64, upTo map[float64]uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	upTo = make(map[float64]uint64, len(h.bounds))
	for i, b := range h.bounds {
		n += h.counts[i]
		upTo[b] = n
	}
	return n + h.counts[len(h.bounds)], h.sum, upTo
}

// Count is how many values there were.
func (h *Histogram) Count() uint64 {
	n, _, _ := h.read()
	return n
}
