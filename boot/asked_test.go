package boot

import "testing"

func TestReadAsked(t *testing.T) {
	pi := MAC{0xdc, 0xa6, 0x32, 0, 0, 1}
	for path, want := range map[string]asked{
		"boot.ipxe":                              {kind: askScript, meant: scriptFile, dialect: IPXEScript, name: "boot.ipxe"},
		"boot/TOKEN/boot.ipxe":                   {token: "TOKEN", kind: askScript, meant: scriptFile, dialect: IPXEScript, name: "boot.ipxe"},
		"boot/TOKEN/x/boot.ipxe":                 {token: "TOKEN", name: "x/boot.ipxe"}, // a template's own
		"boot/TOKEN/x86_64-sb/autoexec.ipxe":     {token: "TOKEN", kind: askScript, meant: scriptFile, dialect: IPXEScript, name: "x86_64-sb/autoexec.ipxe"},
		"autoexec.ipxe":                          {name: "autoexec.ipxe"},
		"EFI/debian/grub.cfg":                    {kind: askScript, meant: grubConfig, dialect: GRUBScript, name: "EFI/debian/grub.cfg"},
		"boot/TOKEN/grub.cfg-01-52-54":           {token: "TOKEN", kind: askScript, meant: grubConfig, dialect: GRUBScript, name: "grub.cfg-01-52-54"},
		"boot/TOKEN/locked.cfg":                  {token: "TOKEN", kind: askScript, meant: grubLocked, dialect: GRUBScript, name: "locked.cfg"},
		"boot/TOKEN/x/locked.cfg":                {token: "TOKEN", name: "x/locked.cfg"},
		"boot/TOKEN/report":                      {token: "TOKEN", kind: askReport, name: "report"},
		"boot/TOKEN":                             {token: "TOKEN"},
		"boot/TOKEN/EFI/BOOT/GRUBX64.EFI":        {token: "TOKEN", kind: askLoader, meant: "grubx64.efi", name: "EFI/BOOT/GRUBX64.EFI"},
		"boot/TOKEN/dir/x86_64-sb/ipxe.efi":      {token: "TOKEN", kind: askLoader, meant: "x86_64-sb/ipxe.efi", name: "dir/x86_64-sb/ipxe.efi"},
		"undionly.kpxe":                          {kind: askLoader, meant: "undionly.kpxe", name: "undionly.kpxe"},
		"images/debian12/linux":                  {kind: askImage, image: "debian12", meant: "linux", name: "images/debian12/linux"},
		"boot/T/placed/proxmox.iso/archive.cpio": {token: "T", kind: askPlaced, meant: "/proxmox.iso", name: "placed/proxmox.iso/archive.cpio"},
		"0abc1234/config.txt":                    {dialect: PiFiles, serial: "0abc1234", name: "config.txt"},
		"dc-a6-32-00-00-01/config.txt":           {dialect: PiFiles, mac: pi, name: "config.txt"},
		"dc-a6-32-00-00-zz/config.txt":           {name: "dc-a6-32-00-00-zz/config.txt"},
		"0ABC1234/config.txt":                    {name: "0ABC1234/config.txt"},
		"bootcode.bin":                           {dialect: PiFiles, kind: askLoader, meant: "bootcode.bin", name: "bootcode.bin"},
		"config.txt":                             {name: "config.txt"},
	} {
		if got := readAsked(path); got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", path, got, want)
		}
	}
}
