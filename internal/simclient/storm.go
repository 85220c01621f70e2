package simclient

// This file boots many machines at once and adds up the results.

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// NewMachine makes machine number n of a kind. seed tells the machines of one
// host from another's. The same seed and number always make the same machine,
// so that a server's list of machines does not grow with each run.
func NewMachine(k *Kind, seed string, n int) *Machine {
	sum := sha256.Sum256([]byte("muster simulate " + seed + " " + k.Name))
	low := (uint32(sum[0])<<16 | uint32(sum[1])<<8 | uint32(sum[2])) + uint32(n)
	m := &Machine{Kind: k, MAC: MAC{k.mac[0], k.mac[1], k.mac[2], byte(low >> 16), byte(low >> 8), byte(low)}}
	m.Identify()
	return m
}

// After is the machine whose MAC is n higher.
func (m *Machine) After(n int) *Machine {
	c := *m
	low := binary.BigEndian.Uint32(c.MAC[2:])&0xffffff + uint32(n)
	c.MAC[3], c.MAC[4], c.MAC[5] = byte(low>>16), byte(low>>8), byte(low)
	c.Identify()
	return &c
}

// Identify gives a machine the UUID and serial number that go with its MAC.
func (m *Machine) Identify() {
	sum := sha256.Sum256(append([]byte("muster simulate "), m.MAC[:]...))
	copy(m.UUID[:], sum[:])
	m.UUID[6], m.UUID[8] = m.UUID[6]&0x0f|0x40, m.UUID[8]&0x3f|0x80 // RFC 9562
	m.Serial = fmt.Sprintf("SIM-%X", m.MAC[:])
	if m.Kind.pi != nil {
		m.Serial = fmt.Sprintf("%x", m.MAC[2:])
	}
}

// StepSum is one step of all machines.
type StepSum struct {
	Name          string
	Done, Failed  int
	P50, P90, Max time.Duration
}

// MarshalJSON gives times in milliseconds.
func (s StepSum) MarshalJSON() ([]byte, error) {
	f := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return json.Marshal(struct {
		Name   string  `json:"step"`
		Done   int     `json:"done"`
		Failed int     `json:"failed"`
		P50    float64 `json:"p50_ms"`
		P90    float64 `json:"p90_ms"`
		Max    float64 `json:"max_ms"`
	}{s.Name, s.Done, s.Failed, f(s.P50), f(s.P90), f(s.Max)})
}

// A Reason is why machines failed; similar failures are counted together.
type Reason struct {
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
	Count int    `json:"count"`
}

// A Sum is the result of many machines.
type Sum struct {
	Count    int           `json:"count"`
	Ends     map[End]int   `json:"ends"`
	Twice    int           `json:"addresses_twice"`
	Bytes    int64         `json:"bytes"`
	Took     time.Duration `json:"-"`
	Steps    []StepSum     `json:"steps"`
	Whole    StepSum       `json:"whole"`
	Reasons  []Reason      `json:"failures,omitempty"`
	Machines []*Transcript `json:"machines,omitempty"`
}

// MarshalJSON adds the time in milliseconds.
func (s Sum) MarshalJSON() ([]byte, error) {
	type plain Sum
	return json.Marshal(struct {
		plain
		Took float64 `json:"ms"`
	}{plain(s), float64(s.Took.Microseconds()) / 1000})
}

// Storm boots n machines. It starts rate machines a second, and at most
// parallel run at once. progress is called as each one ends.
func (h *Host) Storm(ctx context.Context, machine func(int) *Machine, n int, rate float64, parallel int, progress func(*Transcript)) *Sum {
	start := time.Now()
	slots := make(chan struct{}, max(1, parallel))
	all := make([]*Transcript, n)
	var mu sync.Mutex
	var wg sync.WaitGroup
	begun := 0
	for i := range n {
		if rate > 0 {
			// Start times are absolute, so a late start does not delay the
			// others.
			t := time.NewTimer(time.Until(start.Add(time.Duration(float64(i) / rate * float64(time.Second)))))
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
			}
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		begun++
		wg.Go(func() {
			defer func() { <-slots }()
			t := h.Boot(ctx, machine(i), nil)
			mu.Lock()
			defer mu.Unlock()
			all[i] = t
			if progress != nil {
				progress(t)
			}
		})
	}
	wg.Wait()
	s := sum(all[:begun])
	s.Count, s.Took = n, time.Since(start)
	if n > begun {
		s.Ends[Broken] += n - begun
		s.Reasons = append(s.Reasons, Reason{Text: "never started: interrupted", Count: n - begun})
	}
	h.mu.Lock()
	s.Twice = h.twice
	h.mu.Unlock()
	return s
}

func sum(all []*Transcript) *Sum {
	s := &Sum{Ends: map[End]int{}, Machines: all}
	times := map[string][]time.Duration{}
	rows := map[string]*StepSum{}
	var order []string
	reasons := map[string]*Reason{}
	var whole []time.Duration
	for _, t := range all {
		s.Ends[t.End]++
		whole = append(whole, t.Took)
		s.Whole.Done++
		if t.End == Broken {
			s.Whole.Done--
			s.Whole.Failed++
			key := alike(t.Text)
			if reasons[key] == nil {
				reasons[key] = &Reason{Text: t.Text, Hint: t.Hint}
			}
			reasons[key].Count++
		}
		for _, st := range t.Steps {
			if rows[st.Name] == nil {
				rows[st.Name] = &StepSum{Name: st.Name}
				order = append(order, st.Name)
			}
			switch st.Verdict {
			case OK:
				rows[st.Name].Done++
			case Failed:
				rows[st.Name].Failed++
			}
			s.Bytes += st.Bytes
			times[st.Name] = append(times[st.Name], st.Took)
		}
	}
	for _, name := range order {
		r := rows[name]
		r.P50, r.P90, r.Max = ranks(times[name])
		s.Steps = append(s.Steps, *r)
	}
	s.Whole.Name = "whole boot"
	s.Whole.P50, s.Whole.P90, s.Whole.Max = ranks(whole)
	for _, r := range reasons {
		s.Reasons = append(s.Reasons, *r)
	}
	slices.SortFunc(s.Reasons, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Text, b.Text))
	})
	return s
}

func ranks(v []time.Duration) (p50, p90, most time.Duration) {
	if len(v) == 0 {
		return 0, 0, 0
	}
	v = slices.Sorted(slices.Values(v))
	at := func(p int) time.Duration { return v[min(len(v)-1, len(v)*p/100)] }
	return at(50), at(90), v[len(v)-1]
}

// alike replaces every word with a digit in it, because such words differ from
// machine to machine.
func alike(t string) string {
	words := strings.Fields(t)
	for i, w := range words {
		if strings.ContainsAny(w, "0123456789") {
			words[i] = "#"
		}
	}
	return strings.Join(words, " ")
}
