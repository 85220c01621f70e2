// stages.go: the steps of a boot in order, how muster's entries show that a
// step is reached, and the likely cause if the next step is not.

package main

import (
	"fmt"
	"regexp"
	"time"
)

// entry is a line of `muster event list --all --json`: an event or a request.
type entry struct {
	Event *struct {
		At         time.Time
		Kind, Text string
	}
	Request *struct {
		At                                               time.Time
		Via, Step, Class, Path, Reply, Got, Outcome, Why string
	}
}

func (e entry) at() time.Time {
	if e.Event != nil {
		return e.Event.At
	}
	return e.Request.At
}

func (e entry) event(kind string) bool { return e.Event != nil && e.Event.Kind == kind }

// file reports a file that was transferred to its end.
func (e entry) file(via, name string) bool {
	r := e.Request
	return r != nil && r.Via == via && r.Got == name && r.Outcome == "complete"
}

// A stage is one step of a boot.
type stage struct {
	name string // what the machine must do, for a run that stops before it
	text string // what it has done
	is   func(entry) bool
	why  string // likely cause if the machine does not get there and muster named no reason
}

// stages follows a boot.
type stages struct {
	list    []stage // the stages that are not reached yet
	trouble string  // what muster last refused or could not do
}

func newStages() *stages {
	return &stages{list: []stage{
		{"the firmware asks for an address (DHCPDISCOVER)", "the firmware asks for an address",
			func(e entry) bool { return e.Request != nil && e.Request.Step == "discover" },
			"the firmware has not come to its network boot: the host is very slow, or its console shows another error"},
		{"muster offers an address", "an address is offered",
			func(e entry) bool { return e.Request != nil && e.Request.Reply == "offer" },
			"muster heard the machine but did not answer; its log above says why"},
		{"the machine takes the address and is enrolled", "never seen before: enrolled",
			func(e entry) bool { return e.event("host.enrolled") },
			"the machine was offered an address but did not request it: the offer did not reach it, or it wants another kind"},
		{"the firmware loads iPXE by TFTP", "the loader, by TFTP",
			func(e entry) bool { return e.file("tftp", "snponly.efi") },
			"the machine has an address but did not fetch its loader: the answer named none, or TFTP did not get through"},
		{"iPXE starts and asks for an address", "iPXE runs and asks for an address itself",
			func(e entry) bool {
				return e.Request != nil && e.Request.Step == "discover" && e.Request.Class == "ipxe"
			},
			"the machine has its loader but does not run it: Secure Boot is on, or the file is damaged; see the console"},
		{"iPXE gets its boot script by HTTP", "iPXE has its boot script",
			func(e entry) bool { return e.event("boot.script") },
			"iPXE runs but did not come for a script; its error is on the console"},
		{"iPXE loads the kernel by HTTP", "the kernel, by HTTP",
			func(e entry) bool { return e.file("http", kernelName) },
			"iPXE has a script but not the kernel; its error is on the console"},
		{"Linux starts and reports", "Linux runs and has reported",
			func(e entry) bool { return e.event("boot.report") },
			"the kernel was loaded but its system did not report: the host is slow, or the console shows where it stopped"},
	}}
}

// see handles an entry. It returns the texts of the stages that the entry
// reaches, and whether the entry shows a problem that stops the boot.
func (s *stages) see(e entry) (reached []string, trouble bool) {
	for i := 0; i < len(s.list); i++ {
		if !s.list[i].is(e) {
			continue
		}
		// The stages before it were passed too, even if no entry showed them.
		for _, st := range s.list[:i+1] {
			reached = append(reached, st.text)
		}
		s.list, s.trouble, i = s.list[i+1:], "", -1
	}
	switch r := e.Request; {
	case e.event("loader.missing"), e.event("pool.exhausted"), e.event("host.clash"):
		s.trouble, trouble = "muster says: "+e.Event.Text, true
	case r == nil:
	case r.Reply == "ignore", r.Reply == "nak", r.Reply == "refuse", r.Reply == "not found":
		s.trouble, trouble = fmt.Sprintf("muster's answer to %s %s %s was %q: %s", r.Via, r.Step, r.Path, r.Reply, r.Why), true
	case r.Outcome != "" && r.Outcome != "complete" && r.Outcome != "probe":
		s.trouble, trouble = fmt.Sprintf("the transfer of %s by %s ended early: %s", r.Got, r.Via, r.Outcome), true
	}
	return reached, trouble
}

// next is the first stage that is not reached; nil after the last.
func (s *stages) next() *stage {
	if len(s.list) == 0 {
		return nil
	}
	return &s.list[0]
}

// why is the likely reason that the next stage is not reached.
func (s *stages) why() string {
	if s.trouble != "" {
		return s.trouble
	}
	return s.next().why
}

// escapes are the terminal sequences with which firmware draws its screen.
var escapes = regexp.MustCompile(`\x1b(\[[0-9;?=]*[A-Za-z]|[()].|[=>78])`)
