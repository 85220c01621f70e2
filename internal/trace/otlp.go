// otlp.go: ExportTraceServiceRequest of opentelemetry-proto 1, in its JSON: IDs in hex, 64-bit
// numbers as texts.

package trace

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	"github.com/musterboot/muster/boot"
)

// told is one boot, or what came since it was told before.
type told struct {
	Source, Version string // of the appliance
	Event           boot.Event
	Asked           []boot.Request
	Since           time.Time // zero: the whole boot
}

type (
	export struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resource     `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resource struct {
		Attributes attributes `json:"attributes"`
	}
	scopeSpans struct {
		Scope scope  `json:"scope"`
		Spans []span `json:"spans"`
	}
	scope struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
	}
	span struct {
		TraceID    string      `json:"traceId"`
		SpanID     string      `json:"spanId"`
		Parent     string      `json:"parentSpanId,omitempty"`
		Name       string      `json:"name"`
		Kind       int         `json:"kind"`
		Start      nanos       `json:"startTimeUnixNano"`
		End        nanos       `json:"endTimeUnixNano"`
		Attributes attributes  `json:"attributes,omitempty"`
		Events     []spanEvent `json:"events,omitempty"`
		Status     status      `json:"status"`
	}
	spanEvent struct {
		At         nanos      `json:"timeUnixNano"`
		Name       string     `json:"name"`
		Attributes attributes `json:"attributes,omitempty"`
	}
	status struct {
		Code    int    `json:"code,omitempty"`
		Message string `json:"message,omitempty"`
	}
	attribute struct {
		Key   string            `json:"key"`
		Value map[string]string `json:"value"`
	}
	attributes []attribute
	nanos      time.Time
)

func (n nanos) MarshalJSON() ([]byte, error) {
	return json.Marshal(strconv.FormatInt(time.Time(n).UnixNano(), 10))
}

// Values of Span.SpanKind and Status.StatusCode.
const (
	server     = 2
	statusOK   = 1
	statusFail = 2
)

func (l *attributes) text(key, v string) {
	if v != "" {
		*l = append(*l, attribute{key, map[string]string{"stringValue": v}})
	}
}

func (l *attributes) number(key string, n int64) {
	if n != 0 {
		*l = append(*l, attribute{key, map[string]string{"intValue": strconv.FormatInt(n, 10)}})
	}
}

// The IDs are made from what they name, so that a trace that is sent again is the same one.
type traceID [sha256.Size]byte

func (t *told) id() traceID {
	b := append([]byte(t.Source), 0)
	b = binary.BigEndian.AppendUint64(b, uint64(t.Event.Host))
	b = binary.BigEndian.AppendUint32(b, t.Event.Boot)
	if t.Event.Boot == 0 { // it came to no script: each stop is a trace
		b = binary.BigEndian.AppendUint64(b, t.Event.Seq)
	}
	return sha256.Sum256(b)
}

func (id traceID) String() string { return hex.EncodeToString(id[:16]) }

func (id traceID) span(what string, numbers ...uint64) string {
	b := append(id[:], what...)
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:8])
}

func (t *told) export() export {
	id, e := t.id(), t.Event
	root := span{TraceID: id.String(), SpanID: id.span("boot"), Name: "boot", Kind: server, Start: nanos(e.At), End: nanos(e.At), Status: status{Code: statusOK}}
	spans := make([]span, 1, 1+len(t.Asked))
	for i := range t.Asked {
		spans = append(spans, question(id, root.SpanID, &t.Asked[i]))
	}
	if !t.Since.IsZero() { // the span of the whole boot was told with it
		root.Parent, root.SpanID, root.Name, root.Start = root.SpanID, id.span("goes on", e.Seq), "boot goes on", nanos(t.Since)
	} else if len(t.Asked) > 0 {
		root.Start = nanos(t.Asked[0].At)
	}
	for i := range t.Asked {
		if o := over(&t.Asked[i]); o.After(time.Time(root.End)) {
			root.End = nanos(o)
		}
	}
	if e.Finding() != "" || e.Kind == boot.HostParked || e.Stage() == boot.StageFailed {
		root.Status = status{statusFail, e.Text}
	}
	a := &root.Attributes
	a.text("host.name", e.Name)
	if !e.UUID.IsZero() {
		a.text("host.id", e.UUID.String())
	}
	if !e.MAC.IsZero() {
		a.text("host.mac", e.MAC.String())
	}
	a.text("muster.serial", e.Serial)
	a.text("muster.template", e.Template)
	a.text("muster.network", e.Network)
	a.number("muster.boot", int64(e.Boot))
	a.text("muster.stage", e.Stage())
	a.text("muster.finding", e.Finding())
	end := spanEvent{At: nanos(e.At), Name: string(e.Kind)}
	end.Attributes.text("muster.text", e.Text)
	end.Attributes.number("muster.event", int64(e.Seq))
	root.Events = []spanEvent{end}
	spans[0] = root
	var who attributes
	who.text("service.name", "muster")
	who.text("service.version", t.Version)
	who.text("service.instance.id", t.Source)
	return export{[]resourceSpans{{resource{who}, []scopeSpans{{scope{"muster", t.Version}, spans}}}}}
}

// question is the span of one question and its answer, or of one transfer.
func question(id traceID, parent string, r *boot.Request) span {
	x := span{
		TraceID: id.String(), SpanID: id.span(string(r.Via)+" "+string(r.Step)+" "+r.MAC.String()+" "+r.Path, uint64(r.At.UnixNano())), Parent: parent,
		Name: string(r.Via) + " " + string(r.Step), Kind: server, Start: nanos(r.At), End: nanos(over(r)), Status: status{Code: statusOK},
	}
	a := &x.Attributes
	a.text("muster.reply", r.Reply)
	a.text("muster.got", r.Got)
	a.text("url.path", r.Path)
	a.text("muster.class", string(r.Class))
	a.text("muster.network", r.Network)
	if r.Source.IsValid() {
		a.text("client.address", r.Source.String())
	}
	a.number("muster.bytes", r.Bytes)
	a.number("muster.repeated", int64(r.Repeated))
	why := *r
	why.Render()
	a.text("muster.why", why.Why)
	a.text("muster.outcome", r.Outcome)
	if r.Short() || r.Unserved() {
		x.Status = status{Code: statusFail, Message: r.Outcome}
	}
	return x
}
