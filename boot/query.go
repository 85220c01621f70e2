// query.go: facts about a machine that a boot script puts into the query of a URL.

package boot

import (
	"net/url"
	"strings"
)

// maxParams bounds the loop over parameters, which anybody can send.
const maxParams = 32

// ReadQuery takes facts from a query. It is not url.ParseQuery: '+' is a plus
// (iPXE escapes blanks as %20), a bad escape is kept as it is, and the first
// occurrence wins, because old iPXE lets an SMBIOS text add parameters.
func (in *Sighting) ReadQuery(raw string) {
	seen := map[string]bool{}
	arch, platform := "", ""
	q := &in.Want.Query
	for range maxParams {
		var part string
		part, raw, _ = strings.Cut(raw, "&")
		k, v, _ := strings.Cut(part, "=")
		// GRUB, which puts them into a name of TFTP, encodes nothing.
		if u, err := url.PathUnescape(v); err == nil && in.Via != TFTP {
			v = u
		}
		if k != "" && !seen[k] && len(v) <= 1024 {
			seen[k] = true
			switch k {
			case "mac":
				q.Asked = true
				if m, err := ParseMAC(v); err == nil {
					q.MAC = m
				}
			case "uuid":
				q.Asked = true
				if u, err := ParseUUID(v); err == nil {
					in.ID.UUID = u
				}
			case "serial":
				q.Asked = true
				in.ID.Serial = v
			case "arch":
				arch = v
			case "platform":
				platform = v
			case "stage":
				q.Stage = v
			case "at":
				if v == "kernel" || v == "initrd" || v == "boot" {
					q.Step = v
				}
			case "errno":
				v = strings.TrimPrefix(v, "0x")
				if len(v) <= 8 && strings.Trim(v, "0123456789abcdef") == "" {
					q.Errno = v
				}
			case "text":
				q.Text = v
			case "version":
				q.Version = v
			}
		}
		if raw == "" {
			break
		}
	}
	if q.Step == "" || q.Errno == "" {
		q.Step, q.Errno = "", "" // both, or it is no failure
	}
	if p := PlatformFromIPXE(arch, platform); p != "" {
		in.Firmware.PlatformHint = p
	}
}
