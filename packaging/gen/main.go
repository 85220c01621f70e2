// Command gen writes what the Debian package says of itself: the licences of all that is
// linked into muster, the changelog in Debian's form, and the manual page of muster.toml.
//
//	go run ./packaging/gen -version 1.2.0 -goarch arm64 -at 1700000000 OUTDIR
//
// It is run in the repository by build-deb.sh.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	version := flag.String("version", "", "Debian's version of the package")
	goarch := flag.String("goarch", "", "architecture that the binary was built for")
	at := flag.Int64("at", 0, "time of the package, in seconds")
	maintainer := flag.String("maintainer", "", "name and address")
	flag.Parse()
	if flag.NArg() != 1 || *version == "" || *goarch == "" || *maintainer == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := write(flag.Arg(0), *version, *goarch, *maintainer, time.Unix(*at, 0).UTC()); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func write(dir, version, goarch, maintainer string, at time.Time) error {
	modules, err := linked(goarch)
	if err != nil {
		return err
	}
	licences, err := copyright(modules)
	if err != nil {
		return err
	}
	notes, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		return err
	}
	changes, err := changelog(string(notes), version, maintainer, at)
	if err != nil {
		return err
	}
	keys, err := os.ReadFile("docs/configuration.md")
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"copyright": licences, "changelog": changes,
		"muster.toml.5": manual(string(keys), "muster.toml", "configuration of Muster", at),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
