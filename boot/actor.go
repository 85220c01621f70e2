// actor.go: who gave an order. Every order has an actor, and every event names it.

package boot

// ActorKind is the kind of an actor.
type ActorKind string

// Kinds of actors.
const (
	Person   ActorKind = "person"
	ByRule   ActorKind = "rule"    // a rule of the configuration or of a template
	AMachine ActorKind = "machine" // a machine, by its own requests
	Program  ActorKind = "program" // a script, a reader of events, the appliance itself
)

// Actor is who gave an order.
type Actor struct {
	Kind ActorKind `json:"kind"`
	Name string    `json:"name,omitempty"` // of the person, rule, machine or program
	Via  string    `json:"via,omitempty"`  // how the order came in: by a protocol, by the socket, or by the API's port
	From string    `json:"from,omitempty"` // the address of who gave it
}

// String names the actor in a sentence.
func (a Actor) String() string {
	switch {
	case a.Kind == "":
		return "a person" // an event of an older version, which knew no other actor
	case a.Name == "":
		return "a " + string(a.Kind)
	case a.Kind == Person:
		return a.Name
	}
	return string(a.Kind) + " " + a.Name
}
