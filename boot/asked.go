// asked.go: what a file request asks for. The path is parsed once, here, for loaders,
// scripts, a Raspberry Pi's files, GRUB's names, U-Boot's and placed files. A new dialect is
// added here.

package boot

import "strings"

// Dialect is the language of what is served, by who reads it.
type Dialect string

// Dialects. A file that anybody may read has none.
const (
	IPXEScript  Dialect = "ipxe"
	GRUBScript  Dialect = "grub"
	UBootScript Dialect = "uboot"
	Extlinux    Dialect = "extlinux" // what U-Boot's PXE command reads, which is a list and no script
	PiFiles     Dialect = "pi"       // the firmware of a Raspberry Pi: no script, one file after the other
)

// asking is the kind of thing that is asked for.
type asking uint8

const (
	askFile   asking = iota // by a name that its template knows
	askScript               // meant is which one
	askReport
	askLoader // meant is which one, whatever folder and case it is asked for in
	askPlaced // meant is its name in the initial file system
	askImage  // meant is the file inside image
)

// asked is one path.
type asked struct {
	token   string // the path's first part beneath boot/; "" where there is none
	kind    asking
	dialect Dialect
	name    string // beneath the token, and beneath a Raspberry Pi's folder
	meant   string
	image   string

	// A Raspberry Pi puts a folder before its files: the last eight digits of its
	// serial number, or its MAC with dashes.
	serial string
	mac    MAC
}

// againFolder is where the script of an iPXE that asked for itself finds the loader.
const againFolder = "again/"

// bootPrefix begins a signed path.
const bootPrefix = "boot/"

// readAsked reads a path that CleanPath has been over.
func readAsked(path string) asked {
	a := asked{name: path}
	if rest, ok := strings.CutPrefix(path, bootPrefix); ok {
		a.token, a.name, _ = strings.Cut(rest, "/")
	} else {
		a.readPi()
	}
	if a.name == ReportFile {
		a.kind = askReport
	} else if s := scriptName(a.name); s != "" {
		a.kind, a.meant, a.dialect = askScript, s, dialectOf(s)
	} else if l := asLoader(strings.TrimPrefix(a.name, againFolder)); l != "" {
		a.kind, a.meant = askLoader, l
	} else if at, ok := placedName(a.name); ok {
		a.kind, a.meant = askPlaced, at
	} else if img, file, ok := imageFile(a.name); ok {
		a.kind, a.image, a.meant = askImage, img, file
	}
	return a
}

// readPi takes a Raspberry Pi's folder off.
func (a *asked) readPi() {
	first, rest, ok := strings.Cut(a.name, "/")
	switch {
	case !ok:
		if a.name == piLoader {
			a.dialect = PiFiles
		}
		return
	case len(first) == 8 && strings.Trim(first, "0123456789abcdef") == "":
		a.serial, _ = CleanSerial(first)
	case len(first) == 17 && strings.Count(first, "-") == 5:
		m, err := ParseMAC(first)
		if err != nil {
			return
		}
		a.mac = m
	default:
		return
	}
	a.dialect, a.name = PiFiles, rest
}

// script is which script is asked for, or "".
func (a *asked) script() string {
	if a.kind != askScript {
		return ""
	}
	return a.meant
}

// dialectOf is the language of a script.
func dialectOf(script string) Dialect {
	switch script {
	case scriptFile:
		return IPXEScript
	case ubootScript:
		return UBootScript
	case ubootPXE, extlinuxFile:
		return Extlinux
	}
	return GRUBScript
}

// scriptName says which script a file is, or "".
func scriptName(file string) string {
	b := base(file)
	switch {
	case file == scriptFile, b == "autoexec.ipxe" && strings.HasSuffix(file, "-sb/autoexec.ipxe"):
		return scriptFile
	case b == grubConfig, strings.HasPrefix(b, grubConfig+"-"):
		return grubConfig
	case isPXEName(file):
		return ubootPXE
	case file == ubootScript, file == extlinuxFile, file == grubLocked, file == grubOpen, file == grubDirect, file == grubDisk:
		return file
	}
	return ""
}
