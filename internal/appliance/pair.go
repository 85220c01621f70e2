// pair.go: a certificate and its key in files that a person renews.

package appliance

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// pair is a certificate and its key in files, read again when they change.
type pair struct {
	table     string // of the configuration that names them, for messages
	cert, key string
	log       func(error)
	now       func() time.Time

	mu      sync.Mutex
	have    *tls.Certificate
	looked  time.Time
	stamped []time.Time
}

// lookEvery is how often the files are looked at.
const lookEvery = 10 * time.Second

func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now().Sub(p.looked) > lookEvery {
		if err := p.refresh(); err != nil {
			p.log(err)
		}
	}
	return p.have, nil
}

// ends is when the certificate does. It looks at the files as a handshake would: where
// nobody calls, a certificate that was renewed must not seem to end.
func (p *pair) ends() time.Time {
	c, err := p.get(nil)
	if err != nil || c.Leaf == nil {
		return time.Time{}
	}
	return c.Leaf.NotAfter
}

func (p *pair) load() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refresh()
}

// refresh reads the files if they have changed. The caller holds the lock.
func (p *pair) refresh() error {
	p.looked = p.now()
	var stamps []time.Time
	for _, f := range []string{p.cert, p.key} {
		st, err := os.Stat(f)
		if err != nil {
			return fmt.Errorf("%s: %w", p.table, err)
		}
		stamps = append(stamps, st.ModTime())
	}
	if slices.Equal(stamps, p.stamped) {
		return nil
	}
	c, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		return fmt.Errorf("%s: certificate %s with key %s: %w", p.table, p.cert, p.key, err)
	}
	if c.Leaf != nil && p.now().After(c.Leaf.NotAfter) {
		return errors.New(p.table + ": certificate " + p.cert + " ended on " + c.Leaf.NotAfter.Format(time.DateOnly))
	}
	p.have, p.stamped = &c, stamps
	return nil
}
