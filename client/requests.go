// shapes.go: what a client may send; field names are stable. These types are separate
// from the stored records, so a request cannot set what only the machine or the engine
// writes. An unknown field is refused (see read).

package client

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
)

// NewHost is a machine that is put on the roll. It has the fields of
// boot.NewHost, and is converted to one.
type NewHost struct {
	Name      string            `json:"name"`
	State     boot.State        `json:"state,omitempty"` // "" is pending
	MACs      []boot.MAC        `json:"macs,omitempty"`
	UUID      boot.UUID         `json:"uuid,omitzero"`
	Serial    string            `json:"serial,omitempty"`
	DUID      string            `json:"duid,omitempty"` // hexadecimal
	Address   netip.Addr        `json:"address,omitzero"`
	Address6  netip.Addr        `json:"address6,omitzero"`
	Template  string            `json:"template,omitempty"`
	Params    map[string]string `json:"params,omitempty"`
	Typed     []string          `json:"typed,omitempty"` // of Params, those that were typed on a command line: a secret is refused that way
	Tags      []string          `json:"tags,omitempty"`
	Options   []boot.Option     `json:"options,omitempty"`
	Protected bool              `json:"protected,omitempty"`
	BoundPort string            `json:"bound_port,omitempty"`
}

// HostPatch is what "host set" changes; absent fields stay.
type HostPatch struct {
	Name      *string            `json:"name,omitempty"`
	AddMACs   []boot.MAC         `json:"add_macs,omitempty"`
	DropMACs  []boot.MAC         `json:"drop_macs,omitempty"`
	UUID      *boot.UUID         `json:"uuid,omitempty"`
	Serial    *string            `json:"serial,omitempty"`
	Address   *netip.Addr        `json:"address,omitempty"`
	Address6  *netip.Addr        `json:"address6,omitempty"` // the second one, where both are changed
	Template  *string            `json:"template,omitempty"`
	Port      *string            `json:"bound_port,omitempty"`
	Protected *bool              `json:"protected,omitempty"`
	Params    map[string]*string `json:"params,omitempty"`
	Options   []boot.Option      `json:"options,omitempty"`
	NoOption  []string           `json:"drop_options,omitempty"`
	Typed     []string           `json:"typed,omitempty"`     // of Params, those that were typed on a command line: a secret is refused that way
	Tags      []string           `json:"tags,omitempty"`      // set; in place of one with the same key
	NoTags    []string           `json:"drop_tags,omitempty"` // tags, or keys of them
}

// ParamPatch is what "param set" changes of a scope; absent parameters stay.
type ParamPatch struct {
	Params map[string]*string `json:"params,omitempty"`
	Typed  []string           `json:"typed,omitempty"` // as in HostPatch

	Options  []boot.Option `json:"options,omitempty"`      // DHCP options, in place of those with their codes
	NoOption []string      `json:"drop_options,omitempty"` // by name or number
}

// HostImport adds many hosts, all of them or none. One that is on the roll
// already stays as it is. A dry run changes nothing.
type HostImport struct {
	DryRun  bool      `json:"dry_run,omitempty"`
	Install bool      `json:"install,omitempty"` // arm a ticket for each
	Hosts   []NewHost `json:"hosts"`
}

// Approval may name a template.
type Approval struct {
	Template *string `json:"template,omitempty"`
}

// Installation arms a ticket.
type Installation struct {
	Template *string `json:"template,omitempty"`
	Again    bool    `json:"again,omitempty"`   // even where the last installation may be running
	Expires  string  `json:"expires,omitempty"` // how long it waits: "24h", "7d" or "never"; 7 days
}

// Rescue names the template of the next boot.
type Rescue struct {
	Template string `json:"template"`
}

// Inbox says which of the machines that wait are meant, and what they boot.
type Inbox struct {
	boot.Selector
	All      bool          `json:"all,omitempty"`  // lets an empty selector mean every machine; without it that is a mistake
	Seen     time.Duration `json:"seen,omitempty"` // only machines that asked for something this recently; nanoseconds
	Template *string       `json:"template,omitempty"`
	DryRun   bool          `json:"dry_run,omitempty"`
}

// Merge names the other host that is the same machine.
type Merge struct {
	Other string `json:"other"`
}

// Split says what of a host is another machine's.
type Split struct {
	Name   string     `json:"name,omitempty"`
	MACs   []boot.MAC `json:"macs,omitempty"`
	UUID   bool       `json:"uuid,omitempty"`
	Serial bool       `json:"serial,omitempty"`
}

// Push is a template's folder: every file by digest. The files themselves are
// put beforehand.
type Push struct {
	Files  map[string]boot.Blob `json:"files"`
	DryRun bool                 `json:"dry_run,omitempty"` // says what a push would, and stores nothing; the files need not be there
	Spec   string               `json:"spec,omitempty"`    // template.toml, for a dry run; without it that of Files, which is there
	Count  int                  `json:"count,omitempty"`   // of machines that boot it next; needed where they are many
}

// Preview asks what a version would change of what machines read: one that is stored, or
// files that were put beforehand and are not pushed.
type Preview struct {
	Files   map[string]boot.Blob `json:"files,omitempty"`
	Name    string               `json:"name,omitempty"`    // of a stored one
	Version int                  `json:"version,omitempty"` // 0: the newest
	Query   string               `json:"q,omitempty"`       // machines; without it and Names those that would boot it
	Names   []string             `json:"names,omitempty"`
}

// Pin puts a version in force; 0 is the newest, whatever is pushed later.
type Pin struct {
	Version int `json:"version"`
}

// TemplateShown is the version of a template in force.
type TemplateShown struct {
	boot.Template
	Spec string `json:"spec,omitempty"` // template.toml, with what it takes of the template that it extends; with ?spec=true
}

// InForce answers a pin: every version of the template, and what a person should know.
type InForce struct {
	Versions []Version `json:"versions"`
	Warnings []string  `json:"warnings,omitempty"`
}

// NewImage describes an image. Its files were put beforehand. In an import as one
// stream the files follow, and Files are those that are declared alone, which Upstream has.
type NewImage struct {
	Name     string `json:"name"`
	Upstream string `json:"upstream,omitempty"`

	Public  bool                 `json:"public,omitempty"`
	Files   map[string]boot.Blob `json:"files,omitempty"`
	Tree    string               `json:"tree,omitempty"`
	Kind    string               `json:"kind,omitempty"`
	Title   string               `json:"title,omitempty"`
	Cmdline string               `json:"cmdline,omitempty"`
	BootCfg string               `json:"bootcfg,omitempty"`

	Boots    []boot.ImageBoot    `json:"boots,omitempty"`
	Variants []boot.ImageVariant `json:"variants,omitempty"`
	Params   []boot.ImageParam   `json:"params,omitempty"`
	DiscAt   string              `json:"disc_at,omitempty"`
}

// DescribeImage is an image as an import describes it, without its files.
func DescribeImage(i *boot.Image) NewImage {
	return NewImage{Upstream: i.Upstream, Files: i.Files, Name: i.Name, Public: i.Public, Tree: i.Tree, Kind: i.Kind, Title: i.Title, Cmdline: i.Cmdline, BootCfg: i.BootCfg,
		Boots: i.Boots, Variants: i.Variants, Params: i.Params, DiscAt: i.DiscAt}
}

// Image is the record that an import of it makes.
func (i *NewImage) Image() boot.Image {
	return boot.Image{Upstream: i.Upstream, Name: i.Name, Public: i.Public, Files: i.Files, Tree: i.Tree, Kind: i.Kind, Title: i.Title, Cmdline: i.Cmdline, BootCfg: i.BootCfg,
		Boots: i.Boots, Variants: i.Variants, Params: i.Params, DiscAt: i.DiscAt}
}

// ExplainRequest describes a machine, stored or imagined.
type ExplainRequest struct {
	Host       string        `json:"host,omitempty"`
	MAC        boot.MAC      `json:"mac,omitzero"`
	UUID       boot.UUID     `json:"uuid,omitzero"`
	Serial     string        `json:"serial,omitempty"`
	Platform   boot.Platform `json:"platform,omitempty"`
	HTTP       bool          `json:"http,omitempty"`
	Network    string        `json:"network,omitempty"`
	Relay      netip.Addr    `json:"relay,omitzero"`
	SecureBoot bool          `json:"secure_boot,omitempty"`
	IPv6       bool          `json:"ipv6,omitempty"` // by DHCPv6
	// Port is the switch port that the relay tells: remote-id:circuit-id.
	Port        string     `json:"switch_port,omitempty"`
	VendorClass string     `json:"vendor_class,omitempty"` // in place of the platform's
	UserClass   string     `json:"user_class,omitempty"`
	Arch        *boot.Arch `json:"arch,omitempty"` // in place of the platform's
}

// Resend names the events that a webhook is to be sent again.
type Resend struct {
	Seqs []uint64 `json:"seqs,omitempty"`
	Dead bool     `json:"dead,omitempty"` // all events whose delivery was given up
}

// ConfigText is a configuration that is to be compared with the one in force.
type ConfigText struct {
	Name string `json:"name"` // of the file, for errors
	Text string `json:"text"`
}

// ConfigPlan is what a configuration changes.
type ConfigPlan struct {
	Changes []string      `json:"changes"` // key by key
	Restart []string      `json:"restart"` // what changes only with a restart
	Leases  Leaving       `json:"leases"`
	Hosts   AffectedHosts `json:"hosts"`
	Names   []string      `json:"names,omitempty"` // networks whose URLs would carry our address where a name is wished for, and why
}

// Leaving are leases that are in no range any more.
type Leaving struct {
	Count  int            `json:"count"`
	Listed []LeavingLease `json:"listed"` // the first of them
}

// LeavingLease is one of them.
type LeavingLease struct {
	Network string     `json:"network"`
	Addr    netip.Addr `json:"addr"`
	Holder  string     `json:"holder"`
	Host    string     `json:"host,omitempty"`
	Expires time.Time  `json:"expires"`
	Becomes string     `json:"becomes"`
}

// AffectedHosts are hosts that boot or get something else.
type AffectedHosts struct {
	Count  int            `json:"count"`
	Listed []AffectedHost `json:"listed"`
}

// AffectedHost is one of them.
type AffectedHost struct {
	Name    string `json:"name"`
	Becomes string `json:"becomes"`
}

// Summary is the plan in one line.
func (p ConfigPlan) Summary() string {
	const most = 10
	out := strings.Join(p.Changes[:min(most, len(p.Changes))], "; ")
	if out == "" {
		out = "nothing changed"
	}
	if more := len(p.Changes) - most; more > 0 {
		out += fmt.Sprintf("; and %d more", more)
	}
	if p.Leases.Count > 0 {
		out += fmt.Sprintf("; leases that leave the range: %d", p.Leases.Count)
	}
	if p.Hosts.Count > 0 {
		out += fmt.Sprintf("; hosts that get something else: %d", p.Hosts.Count)
	}
	if len(p.Names) > 0 {
		out += "; " + strings.Join(p.Names, "; ")
	}
	if len(p.Restart) > 0 {
		out += "; only with a restart: " + strings.Join(p.Restart, ", ")
	}
	return boot.CleanText(out, 1000)
}

// Login is a person who signs in.
type Login struct {
	Name     string `json:"name"`
	Password string `json:"password"`
	Session  bool   `json:"session,omitempty"` // a browser's: the token ends after twelve hours without a request
}

// Joining is who comes by a link and chooses a password.
type Joining struct {
	Name     string `json:"name"`
	Link     string `json:"link"`
	Password string `json:"password"`
	Session  bool   `json:"session,omitempty"` // as in Login
}

// NewUser is a person who may come in.
type NewUser struct {
	Name     string    `json:"name"`
	Password string    `json:"password,omitempty"` // "" with Link
	Link     bool      `json:"link,omitempty"`     // they choose it by a link that is answered
	Role     boot.Role `json:"role"`
	Scope    string    `json:"scope,omitempty"` // a query: only these machines
}

// UserPatch is what is changed of a user; absent fields stay. A new password ends the
// user's tokens.
type UserPatch struct {
	Password *string    `json:"password,omitempty"`
	Link     bool       `json:"link,omitempty"` // they choose one by a link that is answered; the present one works until then
	Role     *boot.Role `json:"role,omitempty"`
	Scope    *string    `json:"scope,omitempty"`
}

// NewToken lets a program in.
type NewToken struct {
	Name    string    `json:"name"`
	Role    boot.Role `json:"role"`
	Scope   string    `json:"scope,omitempty"`
	Expires string    `json:"expires,omitempty"` // how long it lasts: "24h", "30d" or "never"; a year
}

// PlanRequest asks for a plan.
type PlanRequest struct {
	Action   string     `json:"action"` // approve, deny, install, local, update, rescue, set or rm
	Query    string     `json:"q,omitempty"`
	Names    []string   `json:"names,omitempty"`
	All      bool       `json:"all,omitempty"`   // every machine, where there is neither query nor names
	Share    string     `json:"share,omitempty"` // a number of the machines that would change, or "10%" of them, spread over the roll
	Template *string    `json:"template,omitempty"`
	Again    bool       `json:"again,omitempty"`
	Expires  string     `json:"expires,omitempty"`
	Set      *HostPatch `json:"set,omitempty"`
}

// PlanRun runs a plan.
type PlanRun struct {
	Count int `json:"count,omitempty"` // of machines; needed where many would be installed
}
