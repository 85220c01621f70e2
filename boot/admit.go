// admit.go: a machine that waits turns out to be one that a person expected.

package boot

import "maps"

// Admit approves a machine that waits, as what a list of expected machines
// says of it: name, template, parameters and address, where the list has them.
type Admit struct {
	Name    string
	As      NewHost
	Install bool // arms a ticket
}

func (Admit) order() {}

func (a *applying) admit(o Admit) error {
	return a.change(o.Name, func(h *Host) error {
		if h.State != Pending {
			return NewFault(WrongState, "host %s is %s and waits for nothing", h.Name, h.State)
		}
		h.State = Approved
		if o.As.Name != "" {
			h.Name = o.As.Name
		}
		if o.As.Template != "" {
			if err := a.assign(h, o.As.Template); err != nil {
				return err
			}
		}
		for _, x := range o.As.host().Reserved() {
			h.reserve(x)
		}
		if err := a.checkAddress(h); err != nil {
			return err
		}
		if h.Params == nil {
			h.Params = map[string]string{}
		}
		maps.Copy(h.Params, o.As.Params)
		was := ""
		if h.Name != o.Name {
			was = ", which was " + o.Name + ","
		}
		a.event(HostApproved, h, "%s%s approved: it was expected", h.Name, was)
		if !o.Install {
			return nil
		}
		if err := a.expected(h); err != nil {
			return err
		}
		a.event(TicketArm, h, "%s: %s", h.Name, h.Ticket.Standing())
		return nil
	})
}
