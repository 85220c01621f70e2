// actor.go: who ordered something. Every order has one, and every event says it.

package boot

// ActorKind is what kind of one ordered it.
type ActorKind string

// Kinds of actors.
const (
	Person   ActorKind = "person"
	ByRule   ActorKind = "rule"    // of the configuration or of a template
	AMachine ActorKind = "machine" // its own requests
	Program  ActorKind = "program" // a script, a reader of events, the appliance itself
)

// Actor is one who orders.
type Actor struct {
	Kind ActorKind `json:"kind"`
	Name string    `json:"name,omitempty"` // of the person, rule, machine or program
	Via  string    `json:"via,omitempty"`  // the door it came by: a protocol, or the socket
}

// String names the actor in a sentence.
func (a Actor) String() string {
	switch {
	case a.Kind == "":
		return "a person" // of an older version, which knew nobody else
	case a.Name == "":
		return "a " + string(a.Kind)
	case a.Kind == Person:
		return a.Name
	}
	return string(a.Kind) + " " + a.Name
}
