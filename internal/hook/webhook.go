// webhook.go: a message as a CloudEvent, posted and signed.

package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/musterboot/muster/boot"
)

// Keys sign messages. The first key is the present one. Former keys sign too for a time
// after a change, until the receiver knows the new one.
type Keys [][]byte

const (
	minKey, maxKey = 24, 64 // bytes, by the Standard Webhooks specification
	maxKeys        = 4
)

// ParseKeys reads a file with a key in base64 on each line, with or without
// "whsec_" before it. Its errors do not show the text.
func ParseKeys(text []byte) (Keys, error) {
	var ks Keys
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		k, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(line, "whsec_"))
		switch {
		case err != nil:
			return nil, errors.New("it is not base64")
		case len(k) < minKey || len(k) > maxKey:
			return nil, fmt.Errorf("a key of %d bytes is in it: want %d to %d", len(k), minKey, maxKey)
		case len(ks) == maxKeys:
			return nil, fmt.Errorf("it has more than %d lines", maxKeys)
		}
		ks = append(ks, k)
	}
	if len(ks) == 0 {
		return nil, errors.New("it is empty")
	}
	return ks, nil
}

// sign is a webhook-signature header.
func (ks Keys) sign(id, timestamp string, body []byte) string {
	var out []string
	for _, k := range ks {
		h := hmac.New(sha256.New, k)
		io.WriteString(h, id+"."+timestamp+".")
		h.Write(body)
		out = append(out, "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	return strings.Join(out, " ")
}

// cloudEvent is CloudEvents 1.0 in structured JSON.
type cloudEvent struct {
	SpecVersion string     `json:"specversion"`
	ID          string     `json:"id"`
	Source      string     `json:"source"`
	Type        string     `json:"type"`
	Time        time.Time  `json:"time"`
	Subject     string     `json:"subject,omitempty"`
	ContentType string     `json:"datacontenttype"`
	Data        boot.Event `json:"data"`
}

// WebhookConfig is where to post, signed with what. The caller has checked it.
type WebhookConfig struct {
	URL  *url.URL
	Keys Keys
}

// Where is the URL without the parts that may be secret.
func Where(u *url.URL) string {
	x := *u
	x.RawQuery, x.Fragment, x.User = "", "", nil
	return x.String()
}

type webhook struct {
	WebhookConfig
	post *Poster
}

// Poster posts what it is given to a receiver outside, within a time for the whole
// exchange.
type Poster struct {
	timeout time.Duration
	client  *http.Client
	now     func() time.Time
}

// maxAnswer is how much of an answer's body is read, so that its connection can be
// used again. The body is ignored.
const maxAnswer = 64 << 10

// NewPoster trusts cas, or the system's if they are nil. It ignores proxies of the
// environment: only the configuration says where events go.
func NewPoster(cas *x509.CertPool, timeout time.Duration, now func() time.Time) *Poster {
	return &Poster{timeout, &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{}).DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: cas, MinVersion: tls.VersionTLS12},
			DisableCompression:     true,
			MaxIdleConns:           1,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: maxAnswer,
		},
	}, now}
}

// NewWebhook posts events to a URL.
func NewWebhook(c WebhookConfig, p *Poster) Sender { return &webhook{c, p} }

func (w *webhook) Send(ctx context.Context, m Message) Answer {
	body, err := json.Marshal(cloudEvent{"1.0", m.ID, m.Source, "muster." + string(m.Event.Kind), m.Event.At.UTC(), m.Event.Name, "application/json", m.Event})
	if err != nil {
		return Answer{Result: Refused, Words: err.Error()}
	}
	stamp := strconv.FormatInt(w.post.now().Unix(), 10)
	return w.post.Post(ctx, w.URL, body, http.Header{
		"Content-Type":      {"application/cloudevents+json"},
		"Webhook-Id":        {m.ID},
		"Webhook-Timestamp": {stamp},
		"Webhook-Signature": {w.Keys.sign(m.ID, stamp, body)},
	})
}

// Post sends body. Its errors name neither the URL, whose query may be secret, nor more
// than a little of what the receiver says.
func (p *Poster) Post(ctx context.Context, to *url.URL, body []byte, head http.Header) Answer {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return Answer{Result: Refused, Words: plain(err)}
	}
	r.Header = head
	r.Header.Set("User-Agent", "muster")
	resp, err := p.client.Do(r)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return Answer{Result: Later, Words: fmt.Sprintf("no answer within %s", rough(p.timeout))}
		}
		return Answer{Result: Later, Words: plain(err)}
	}
	defer resp.Body.Close()
	// The status is the answer, even if the rest of the response is broken.
	if resp.StatusCode >= 200 {
		// After a 101 nothing would end the connection.
		io.CopyN(io.Discard, resp.Body, maxAnswer)
	}
	// The receiver chooses the text after the status code, so the usual text is used.
	a := Answer{Words: strings.TrimSpace(fmt.Sprintf("HTTP %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))}
	switch c := resp.StatusCode; {
	case c >= 200 && c < 300:
		a.Result = Delivered
	case c >= 300 && c < 400:
		a.Result = Refused
		a.Words += ": redirects are not followed; if the receiver moved, change url"
	case c == http.StatusRequestTimeout, c == http.StatusTooManyRequests, c >= 500:
		a.Result, a.After = Later, p.after(resp.Header.Get("Retry-After"))
	default:
		a.Result = Refused
	}
	return a
}

// after reads Retry-After: seconds or a date.
func (p *Poster) after(s string) time.Duration {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(0, t.Sub(p.now()))
	}
	return 0
}

// plain is an error of the exchange without the URL, whose query may be secret. It is
// kept short, because the receiver can influence the text.
func plain(err error) string {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "connection refused: nothing listens there"
	}
	return clean(err.Error(), 200)
}

// clean makes text from outside fit on one line.
func clean(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "?"))
	if s = strings.TrimSpace(s); len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + " …"
	}
	return s
}
