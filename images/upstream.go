// upstream.go: the client by which declared files are fetched. What it asks is somebody's
// who may declare it; where an upstream sends it on to is not.

package images

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

type sentOn struct{}

// maxSentOn is how often an upstream may send us on.
const maxSentOn = 5

// Upstream is the client of a Puller.
func Upstream() *http.Client {
	d := &net.Dialer{Timeout: 15 * time.Second, ControlContext: func(ctx context.Context, _, address string, _ syscall.RawConn) error {
		if ctx.Value(sentOn{}) == nil {
			return nil
		}
		a, err := netip.ParseAddrPort(address)
		if ip := a.Addr().Unmap(); err != nil || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Errorf("it sends on to %s, which is this computer's own", address)
		}
		return nil
	}}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         d.DialContext,
			TLSHandshakeTimeout: 15 * time.Second,
			MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
			DisableCompression: true, // a .gz is wanted as it is
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			first := via[0].URL
			switch {
			case len(via) > maxSentOn:
				return fmt.Errorf("it sends on more than %d times", maxSentOn)
			case first.Scheme == "https" && r.URL.Scheme != "https":
				return errors.New("it sends on from https to http")
			case r.URL.Host != first.Host:
				*r = *r.WithContext(context.WithValue(r.Context(), sentOn{}, true))
			}
			return nil
		},
	}
}
