// shapes_test.go: what --json and the socket answer, as far as these tests read
// it, and the words in it. Who writes a program against Muster has only these.

package test

import (
	"encoding/json"
	"net/netip"
	"time"
)

type host struct {
	ID       uint64            `json:"id"`
	Name     string            `json:"name"`
	State    string            `json:"state"`
	MACs     []string          `json:"macs"`
	UUID     string            `json:"uuid"`
	Serial   string            `json:"serial"`
	Template string            `json:"template"`
	Pin      uint64            `json:"pin"`
	Params   map[string]string `json:"params"`
	Platform string            `json:"platform"`
	Boots    int               `json:"boots"`
	Stage    string            `json:"stage"`
	Secure   string            `json:"secure_boot"`
	Network  string            `json:"network"`
	Lease    netip.Addr        `json:"lease"`
	Lease6   netip.Addr        `json:"lease6"`
	Ticket   struct {
		State string `json:"state"`
	} `json:"ticket"`

	// Of "host show" alone.
	Timeline  []entry `json:"timeline"`
	Inventory struct {
		Threads int               `json:"threads"`
		Memory  int64             `json:"memory"`
		NICs    []json.RawMessage `json:"nics"`
	} `json:"inventory"`
}

// What a machine is, and where it stands.
const (
	bios      = "bios"
	x64UEFI   = "x64-uefi"
	arm64UEFI = "arm64-uefi"
	raspberry = "raspberry-pi"

	pending  = "pending"
	approved = "approved"
	denied   = "denied"
)

type lease struct {
	Network string     `json:"network"`
	Addr    netip.Addr `json:"addr"`
	Holder  string     `json:"holder"`
	MAC     string     `json:"mac"`
	Host    uint64     `json:"host"`
	Kind    string     `json:"kind"`
	Starts  time.Time  `json:"starts"`
	Expires time.Time  `json:"expires"`
}

// Kinds of lease.
const (
	dynamic  = "dynamic"
	unknown  = "unknown"
	reserved = "reserved"
	declined = "declined"
)

// entry is one line of a timeline or of "event list --all".
type entry struct {
	Event   *event   `json:"event"`
	Request *request `json:"request"`
}

type event struct {
	Seq  uint64 `json:"seq"`
	Kind string `json:"kind"`
	Name string `json:"name"`
	MAC  string `json:"mac"`
	Text string `json:"text"`
}

type request struct {
	Seq      uint64     `json:"seq"`
	Source   netip.Addr `json:"source"`
	Network  string     `json:"network"`
	Via      string     `json:"via"`
	Step     string     `json:"step"`
	Class    string     `json:"class"`
	Path     string     `json:"path"`
	Reply    string     `json:"reply"`
	Got      string     `json:"got"`
	Outcome  string     `json:"outcome"`
	Bytes    int64      `json:"bytes"`
	Why      string     `json:"why"`
	Repeated int        `json:"repeated"`
	Line     *struct{}  `json:"line"` // of the machine's own log
}

type imported struct {
	Files map[string]struct {
		Digest string `json:"digest"`
		Size   int64  `json:"size"`
	} `json:"files"`
}

// webhook is a line of "webhook list".
type webhook struct {
	Name   string `json:"name"`
	Where  string `json:"where"`
	State  string `json:"state"`
	Behind uint64 `json:"behind"`
	Error  string `json:"error"`
	Counts struct {
		Delivered int `json:"delivered"`
		Failed    int `json:"failed"`
	} `json:"counts"`
}

type status struct {
	Networks []struct {
		Mode   string   `json:"mode"`
		Ranges []string `json:"ranges"`
		Rivals []struct {
			Server netip.Addr `json:"server"`
		} `json:"rivals"`
		RA *struct {
			Says    string `json:"says"`
			State   string `json:"state"`
			Routers []struct {
				OK   bool      `json:"ok"`
				Last time.Time `json:"last"`
			} `json:"routers"`
		} `json:"ra"`
	} `json:"networks"`
}
