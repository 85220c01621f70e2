// csv.go: a spreadsheet with a header row.

package reservation

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/musterboot/muster/boot"
)

var csvColumns = []string{"name", "mac", "uuid", "serial", "address", "template", "tags"}

const csvParam = "param."

func isColumn(s string) bool {
	return slices.Contains(csvColumns, s) || len(s) > len(csvParam) && strings.HasPrefix(s, csvParam)
}

// delimiter is the character that the header row uses most as one.
func delimiter(header string) rune {
	best := ','
	for _, d := range ";\t" {
		if strings.Count(header, string(d)) > strings.Count(header, string(best)) {
			best = d
		}
	}
	return best
}

// excelSep reads the line "sep=;", by which Excel tells itself the delimiter; 0 is none.
func excelSep(line string) rune {
	rest, ok := strings.CutPrefix(strings.ToLower(strings.Trim(line, `"`)), "sep=")
	if rest = strings.Trim(rest, `"`); !ok || len(rest) != 1 {
		return 0
	}
	return rune(rest[0])
}

// column is the normalised name of a header cell; a parameter keeps its case.
func column(cell string) string {
	cell = strings.Trim(strings.TrimSpace(cell), `"`)
	if len(cell) > len(csvParam) && strings.EqualFold(cell[:len(csvParam)], csvParam) {
		return csvParam + cell[len(csvParam):]
	}
	cell = strings.ToLower(cell)
	if same := csvSame[strings.Map(func(r rune) rune {
		if strings.ContainsRune(" _-.", r) {
			return -1
		}
		return r
	}, cell)]; same != "" {
		return same
	}
	return cell
}

// csvSame are what other programs call the same columns, without what stands between
// their words.
var csvSame = map[string]string{"hostname": "name", "host": "name", "computername": "name", "ip": "address", "ipaddress": "address", "ipv4": "address", "ipv4address": "address",
	"macaddress": "mac", "macaddr": "mac", "hwaddr": "mac", "hwaddress": "mac", "ethernet": "mac", "sn": "serial", "serialnumber": "serial", "servicetag": "serial"}

// isHeader distinguishes a header row from the first line of other formats.
func isHeader(line string) bool {
	if len(line) > 1<<16 {
		return false
	}
	for _, c := range strings.Split(line, string(delimiter(line))) {
		if c := column(c); c == "mac" || c == "uuid" || c == "serial" {
			return true
		}
	}
	return false
}

func (r *reader) csv(data []byte) error {
	d, at := ',', 0
	for line := range bytes.Lines(data) {
		t := bytes.TrimSpace(line)
		if given := excelSep(string(t)); given != 0 {
			d = given
			data = slices.Insert(bytes.Clone(data), at, '#') // a comment, so that lines keep their numbers
			break
		}
		at += len(line)
		if len(t) > 0 && t[0] != '#' {
			d = delimiter(string(line))
			break
		}
	}
	c := csv.NewReader(bytes.NewReader(data))
	c.Comma, c.Comment, c.FieldsPerRecord, c.ReuseRecord = d, '#', -1, true
	c.TrimLeadingSpace = d != '\t'
	var header []string
	for {
		row, err := c.Read()
		var pe *csv.ParseError
		switch {
		case errors.Is(err, io.EOF) && header == nil:
			return r.errorf(1, "want a header row with some of: %s, param.NAME", strings.Join(csvColumns, ", "))
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &pe):
			return r.errorf(pe.StartLine, "%v", pe.Err)
		case err != nil:
			return r.errorf(0, "%v", err)
		}
		line, _ := c.FieldPos(0)
		if header == nil {
			if header, err = r.csvHeader(line, row); err != nil {
				return err
			}
			continue
		}
		if err := r.csvRow(line, header, row); err != nil {
			return err
		}
	}
}

func (r *reader) csvHeader(line int, row []string) ([]string, error) {
	if len(row) > maxWords {
		return nil, r.errorf(line, "%d columns: at most %d", len(row), maxWords)
	}
	header := []string{}
	known := false
	for i, cell := range row {
		name := column(cell)
		switch {
		case name == "" && i == len(row)-1: // an empty cell after a delimiter at the end of the line
		case !isColumn(name):
			return nil, r.errorf(line, "unknown column %s: want %s, or param.NAME", show(cell), strings.Join(csvColumns, ", "))
		case slices.Contains(header, name):
			return nil, r.errorf(line, "column %s is there twice", show(cell))
		}
		known = known || name == "mac" || name == "uuid" || name == "serial"
		header = append(header, name)
	}
	if !known {
		return nil, r.errorf(line, "no column mac, uuid or serial: nothing would identify the machines")
	}
	return header, nil
}

func (r *reader) csvRow(line int, header, row []string) error {
	d := &draft{line: line}
	empty := true
	for i, cell := range row {
		cell = strings.TrimSpace(cell)
		empty = empty && cell == ""
		if i < len(header) && header[i] == "name" {
			d.host.Name = cell
		}
	}
	if empty {
		return nil
	}
	d.label = word(d.host.Name)
	for i, cell := range row {
		if cell = strings.TrimSpace(cell); cell == "" {
			continue
		}
		if i >= len(header) || header[i] == "" {
			r.part(line, d.label, "%s stands beyond the last column", show(cell))
			continue
		}
		switch key := header[i]; key {
		case "name":
		case "mac":
			for _, m := range strings.FieldsFunc(cell, func(c rune) bool { return c == ';' || c == ' ' || c == ',' || c == '\n' }) {
				r.addMAC(d, line, m)
			}
		case "uuid":
			u, err := boot.ParseUUID(cell)
			if err != nil {
				r.part(line, d.label, "%s is not a UUID: want 32 hexadecimal digits", show(cell))
			}
			d.host.UUID = u
		case "serial":
			d.host.Serial = cell
		case "address":
			if _, err := netip.ParseAddr(cell); err != nil {
				// A person wrote this list for this import: a machine at another address than
				// it says is worse than no import.
				return r.errorf(line, "%s of %s is no address: want one like 10.77.0.50; names are not looked up", show(cell), cmp.Or(d.label, "this line"))
			}
			r.addAddress(d, line, cell)
		case "template":
			d.host.Template = cell
		case "tags":
			d.host.Tags = strings.FieldsFunc(cell, func(c rune) bool { return c == ';' || c == ' ' || c == ',' || c == '\n' })
		default:
			if d.host.Params == nil {
				d.host.Params = map[string]string{}
			}
			d.host.Params[strings.TrimPrefix(key, csvParam)] = cell
		}
	}
	return r.finish(d)
}
