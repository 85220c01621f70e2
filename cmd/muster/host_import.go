// host_import.go: "muster host import" adds the machines that another DHCP server
// knows. Everything is read and checked before anything is added.

package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/reservation"
)

// importFlags are the flags of "muster host import".
type importFlags struct {
	from     string
	template string
	dryRun   bool
	approved bool
	install  bool
	skip     bool
}

func (a *app) hostImportCmd() *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use: "import FILE...", Short: "Add the machines of another DHCP server",
		Long: `Add the machines that another DHCP server has reservations for: host blocks of
dhcpd.conf, reservations of kea-dhcp4.conf, dhcp-host lines of dnsmasq.conf, a
dhcp-hostsfile or /etc/ethers, or a CSV file.

A CSV file has a header row with some of the columns name, mac (several separated
by a blank or ';'), uuid, serial, address, template and param.NAME.

Settings that a host cannot have are listed with file and line. All machines are added, or
none: two entries with one name, MAC address or address, and whatever the daemon
refuses, stop the import. A machine that is known already stays as it is; if the
file says otherwise, the command to change it is printed.

With --approved the file is a list of expected machines. Those that are pending
already are approved, with what the list says of them. The others boot at once when
they come, known by MAC address or serial number. --install installs each of them,
once.`,
		Example: `  muster host import --dry-run /etc/dhcp/dhcpd.conf
  muster host import --approved /etc/dhcp/dhcpd.conf
  muster host import --from dnsmasq /etc/dnsmasq.d/lab /etc/ethers
  muster host import --approved --install --template debian12 pallet-17.csv
  muster host import --json --dry-run /etc/kea/kea-dhcp4.conf`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("host import wants a file; see: muster host import --help")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if f.install && !f.approved {
				return usagef("--install wants --approved: a machine that waits installs nothing")
			}
			return a.hostImport(c, f, args)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.from, "from", "", "format of the files: isc, kea, dnsmasq, csv or log (default: found out for each file)")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be done, and change nothing")
	fl.BoolVar(&f.approved, "approved", false, "let them boot at once; without it they wait for approval")
	fl.BoolVar(&f.install, "install", false, "arm one installation for each; needs --approved and a template with install = true")
	fl.StringVar(&f.template, "template", "", "template to boot, for machines whose file names none")
	fl.BoolVar(&f.skip, "skip-conflicts", false, "leave out machines that are in conflict or refused, and add the rest")
	return c
}

// What an import does with an entry.
const (
	hostAdded    = "added"
	hostLetIn    = "let in" // it was pending
	hostKnown    = "known already"
	hostDiffers  = "differs"
	hostConflict = "conflict"
	hostRefused  = "refused"
	hostNotAdded = "not added" // because other entries have mistakes
)

// importedHost is one entry and what the import does with it.
type importedHost struct {
	File     string         `json:"file"`
	Line     int            `json:"line"`
	Host     client.NewHost `json:"host"`
	Result   string         `json:"result"`
	Why      string         `json:"why,omitempty"`
	Commands []string       `json:"commands,omitempty"` // commands that would make the host on the roll agree with the entry
}

// importReport is the result of the whole import.
type importReport struct {
	DryRun    bool `json:"dry_run"`
	install   bool
	Added     int                `json:"added"`
	LetIn     int                `json:"let_in"`
	Known     int                `json:"known"`
	Differ    int                `json:"differ"`
	Conflicts int                `json:"conflicts"`
	Refused   int                `json:"refused"`
	Lost      int                `json:"not_carried_over"` // entries from which no host can be made
	Parts     int                `json:"parts_not_carried_over"`
	Hosts     []importedHost     `json:"hosts"`
	Notes     []reservation.Note `json:"notes"`
	Warnings  []string           `json:"warnings,omitempty"`
}

func (a *app) hostImport(c *cobra.Command, f importFlags, files []string) error {
	r, err := readReservations(reservation.Format(f.from), files)
	if err != nil {
		return err
	}
	r.DryRun, r.install = f.dryRun, f.install
	for i := range r.Hosts {
		h := &r.Hosts[i].Host
		if f.approved {
			h.State = boot.Approved
		}
		h.Template = cmp.Or(h.Template, f.template)
	}
	r.conflicts()
	// A dry run always comes first: it finds all mistakes at once.
	if err := r.ask(c, a.client(), true); err != nil {
		return err
	}
	blocked := r.count(hostConflict)+r.count(hostRefused) > 0 && !f.skip
	if !blocked && !f.dryRun {
		if err := r.ask(c, a.client(), false); err != nil {
			return err
		}
	}
	if blocked {
		for i := range r.Hosts {
			if h := &r.Hosts[i]; h.Result == hostAdded || h.Result == hostLetIn {
				h.Result = hostNotAdded
			}
		}
	}
	r.LetIn = r.count(hostLetIn)
	r.Added, r.Known, r.Differ = r.count(hostAdded), r.count(hostKnown), r.count(hostDiffers)
	r.Conflicts, r.Refused = r.count(hostConflict), r.count(hostRefused)
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else {
		a.showImport(r)
	}
	if blocked {
		would := "was"
		if f.dryRun {
			would = "would be"
		}
		return fmt.Errorf("nothing %s added: %d in conflict, %d refused; mend the file, or leave them out with --skip-conflicts", would, r.Conflicts, r.Refused)
	}
	return nil
}

// readReservations reads all files before anything is checked.
func readReservations(from reservation.Format, files []string) (*importReport, error) {
	given, err := readForeign(from, files, reservation.Formats)
	if err != nil {
		return nil, err
	}
	r := &importReport{Hosts: []importedHost{}, Notes: []reservation.Note{}}
	for _, f := range given {
		res, err := reservation.Parse(f.Format, f.Name, f.Data)
		if err != nil {
			return nil, usageError{err}
		}
		if len(r.Hosts)+len(res.Entries) > reservation.MaxHosts {
			return nil, usagef("%s: more than %d machines in all: import the files one by one", f.Name, reservation.MaxHosts)
		}
		for _, e := range res.Entries {
			r.Hosts = append(r.Hosts, importedHost{File: e.File, Line: e.Line, Host: client.NewHost(e.Host)})
		}
		r.Notes = append(r.Notes, res.Notes...)
		r.Lost += res.Lost
		r.Parts += res.Parts
	}
	return r, nil
}

// readForeign reads the files of another server. from is their format, "" to find it out;
// known are those that will do.
func readForeign(from reservation.Format, names []string, known []reservation.Format) (files []reservation.File, err error) {
	var words []string
	for _, f := range known {
		words = append(words, string(f))
	}
	which := strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	if from != "" && !slices.Contains(known, from) {
		return nil, usagef("--from %q: want %s", from, which)
	}
	left := reservation.MaxBytes
	for _, name := range names {
		data, err := readUpTo(name, left)
		if err != nil {
			return nil, err
		}
		left -= len(data)
		format := cmp.Or(from, reservation.Detect(name, data))
		if format == "" {
			return nil, usagef("%s: cannot tell whose file this is: say --from %s", name, which)
		}
		files = append(files, reservation.File{Name: name, Format: format, Data: data})
	}
	return files, nil
}

func readUpTo(name string, most int) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, usageError{err}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err != nil {
		return nil, usageError{err}
	}
	if len(data) > most {
		return nil, usagef("%s: more than %d MiB in all: split it", name, reservation.MaxBytes>>20)
	}
	return data, nil
}

func (r *importReport) count(result string) (n int) {
	for i := range r.Hosts {
		if r.Hosts[i].Result == result {
			n++
		}
	}
	return n
}

// conflicts marks entries that claim a name, MAC or address of an earlier entry.
func (r *importReport) conflicts() {
	es := make([]reservation.Entry, len(r.Hosts))
	for i := range r.Hosts {
		h := &r.Hosts[i]
		es[i] = reservation.Entry{File: h.File, Line: h.Line, Host: boot.NewHost(h.Host)}
	}
	for _, c := range reservation.Conflicts(es) {
		first := &r.Hosts[c.First]
		h := &r.Hosts[c.Entry]
		h.Result = hostConflict
		h.Why = fmt.Sprintf("%s is %s's already, %s:%d; if they are one machine, write it once with all its MAC addresses", c.What, hostLabel(&first.Host), first.File, first.Line)
	}
}

// ask sends the daemon every entry that is not settled or refused yet.
func (r *importReport) ask(c *cobra.Command, cl *client.Client, dry bool) error {
	in := client.HostImport{DryRun: dry, Install: r.install, Hosts: []client.NewHost{}}
	var place []int
	for i := range r.Hosts {
		if h := &r.Hosts[i]; h.Result == "" || h.Result == hostAdded || h.Result == hostLetIn {
			in.Hosts, place = append(in.Hosts, h.Host), append(place, i)
		}
	}
	out, err := cl.ImportHosts(c.Context(), in)
	if err != nil {
		return err
	}
	if dry {
		r.Warnings = out.Warnings
	}
	for n, i := range place {
		h, res := &r.Hosts[i], &out.Results[n]
		switch {
		case res.Refused != "":
			h.Result, h.Why = hostRefused, res.Refused
		case res.LetIn:
			h.Result, h.Host.Name = hostLetIn, res.Name
		case res.Known != nil:
			h.Result = hostKnown
			var diffs []string
			if diffs, h.Commands = differences(&h.Host, res.Known); len(diffs) > 0 {
				h.Result, h.Why = hostDiffers, strings.Join(diffs, ", ")
			}
			h.Host.Name = res.Name
		default:
			h.Result, h.Host.Name = hostAdded, res.Name
		}
	}
	return nil
}

// differences says where a file differs from the roll, and which commands would
// change the roll. A value that the file does not have does not differ.
func differences(file *client.NewHost, known *boot.Host) (diffs, commands []string) {
	var set []string
	field := func(what, want, have, flag string) {
		if want == "" || want == have {
			return
		}
		diffs = append(diffs, fmt.Sprintf("%s %s, known with %s", what, want, cmp.Or(have, "none")))
		set = append(set, flag, shellWord(want))
	}
	if file.State == boot.Approved && known.State != boot.Approved {
		diffs = append(diffs, fmt.Sprintf("approved, known as %s", known.State))
		commands = append(commands, "muster host approve "+known.Name)
	}
	field("name", file.Name, known.Name, "--name")
	field("address", addrText(file.Address), addrText(known.Address), "--address")
	field("UUID", file.UUID.String(), known.UUID.String(), "--uuid")
	field("serial", file.Serial, known.Serial, "--serial")
	field("template", file.Template, known.Template, "--template")
	for _, t := range file.Tags {
		if !slices.Contains(known.Tags, t) {
			diffs = append(diffs, "tag "+t)
			set = append(set, "--tag", shellWord(t))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(file.Params)) {
		want := file.Params[k]
		if have, ok := known.Params[k]; !ok || have != want {
			diffs = append(diffs, fmt.Sprintf("parameter %s=%s, known with %s", k, want, cmp.Or(have, "none")))
			set = append(set, shellWord(k+"="+want))
		}
	}
	if len(set) > 0 {
		commands = append(commands, "muster host set "+known.Name+" "+strings.Join(set, " "))
	}
	return diffs, commands
}

// shellWord quotes a word for a shell if it needs it. People paste the printed
// commands, and the words in them come from a file.
func shellWord(s string) string {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.,:/=@%+", c)
	}
	if s != "" && strings.IndexFunc(s, func(c rune) bool { return !plain(c) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// hostLabel is what to call a host that may have no name yet.
func hostLabel(h *client.NewHost) string {
	switch {
	case h.Name != "":
		return h.Name
	case len(h.MACs) > 0:
		return h.MACs[0].String()
	}
	return cmp.Or(h.Serial, h.UUID.String())
}

// maxRows bounds the table of hosts; programs read --json.
const maxRows = 1000

func (a *app) showImport(r *importReport) {
	for _, n := range r.Notes {
		a.print("%s\n", n)
	}
	if more := r.Lost + r.Parts - len(r.Notes); more > 0 {
		a.print("and %d more like these\n", more)
	}
	rows := [][]string{{"NAME", "RESULT", "MAC", "ADDRESS", "TEMPLATE", "FROM"}}
	for i := range r.Hosts {
		h := &r.Hosts[i]
		if h.Why != "" {
			a.print("%s:%d: %s: %s: %s\n", h.File, h.Line, hostLabel(&h.Host), h.Result, h.Why)
		}
		for _, line := range h.Commands {
			a.print("    %s\n", line)
		}
		if len(rows) > maxRows {
			continue
		}
		mac := ""
		if len(h.Host.MACs) > 0 {
			mac = h.Host.MACs[0].String()
		}
		if len(h.Host.MACs) > 1 {
			mac += fmt.Sprintf(" +%d", len(h.Host.MACs)-1)
		}
		result := h.Result
		if r.DryRun && (result == hostAdded || result == hostLetIn) {
			result = "would be " + result
		}
		rows = append(rows, []string{h.Host.Name, result, mac, addrText(h.Host.Address), h.Host.Template, fmt.Sprintf("%s:%d", h.File, h.Line)})
	}
	if len(rows) > 1 {
		a.print("\n")
		a.table(rows)
	}
	if more := len(r.Hosts) - maxRows; more > 0 {
		a.print("and %d more (--json has all of them)\n", more)
	}
	for _, w := range r.Warnings {
		a.print("\nwarning: %s\n", w)
	}
	added := "added"
	if r.DryRun {
		added = "would be added"
	}
	a.print("\n")
	sum := [][]string{{added, fmt.Sprint(r.Added)}, {"let in", fmt.Sprint(r.LetIn)}, {"known already", fmt.Sprint(r.Known)}, {"known, but differ", fmt.Sprint(r.Differ)},
		{"not carried over", fmt.Sprint(r.Lost + r.Conflicts + r.Refused + r.count(hostNotAdded))}, {"details not carried over", fmt.Sprint(r.Parts)}}
	a.table(sum)
	if slices.ContainsFunc(r.Notes, func(n reservation.Note) bool { return n.Net }) {
		a.print("\ntheir networks as muster.toml has them: muster config from FILE...\n")
	}
	if n := r.Added; n > 0 && !r.DryRun && slices.ContainsFunc(r.Hosts, func(h importedHost) bool { return h.Result == hostAdded && h.Host.State == boot.Pending }) {
		a.print("\nthey wait for approval: muster host approve NAME\n")
	}
}
