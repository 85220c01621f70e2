// layers_test.go holds the layer table: who may import whom inside the module,
// and which packages may see a third party's types. A new edge fails, and so
// does a package that is not in the table.

package boot_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/musterboot/muster/"

// layers lists, for each package, the packages of ours that it may import.
var layers = map[string][]string{
	"boot":                  {},
	"boot/engine":           {"boot", "boot/diagnose"},
	"boot/diagnose":         {"boot"},
	"boot/match":            {"boot"},
	"dhcpd":                 {"boot", "internal/socket"},
	"radv":                  {}, // what it hears and says is no machine's
	"tftpd":                 {"boot", "internal/socket"},
	"httpboot":              {"boot"},
	"syslogd":               {"boot", "internal/socket"},
	"trust/authority":       {},
	"templates":             {"boot", "systems", "images/iso", "internal/tomlfile"},
	"images":                {"boot", "images/iso", "systems"},
	"images/iso":            {},
	"mirror":                {},
	"systems":               {"internal/tomlfile"},
	"client":                {"boot", "boot/diagnose"}, // what is sent and answered: no part that serves
	"store":                 {"boot"},
	"store/bolt":            {"boot", "store"},
	"store/mem":             {"boot", "store"},
	"store/journal":         {"boot"},
	"store/storetest":       {"boot"},
	"internal/admin":        {"boot", "client", "boot/engine", "boot/diagnose", "boot/match", "internal/access", "internal/plan", "internal/backup", "templates", "images", "trust/authority", "internal/hook"},
	"internal/access":       {"boot", "boot/engine", "boot/match"},
	"internal/web":          {"boot", "boot/diagnose", "client"}, // a client of the API, and nothing more
	"internal/plan":         {"boot", "client", "boot/engine", "boot/match"},
	"internal/hook":         {"boot", "client"},
	"internal/trace":        {"boot", "internal/hook"},
	"internal/config":       {"boot", "radv", "internal/tomlfile"},
	"internal/content":      {"boot", "templates", "images", "internal/seal"},
	"internal/reservation":  {"boot"},
	"internal/capture":      {"boot"},
	"internal/dns":          {},
	"internal/metrics":      {},
	"internal/mutate":       {}, // puts faults into the others' source; runs their tests
	"internal/run":          {},
	"internal/spell":        {},
	"internal/backup":       {},
	"internal/seal":         {},
	"internal/socket":       {},
	"internal/tomlfile":     {},
	"internal/tomltest":     {"internal/tomlfile"},
	"internal/nettest":      {},
	"internal/nettest/demo": {"internal/nettest"},
	"internal/roll":         {"boot", "client", "internal/tomlfile"},
	"packaging/gen":         {}, // reads the modules, and pages of the manual
	// A machine in software shares nothing with the server it judges.
	"internal/simclient":        {"internal/simclient/script"},
	"internal/simclient/script": {},
	// Whole systems use the built binary, and share no part of the server.
	"test":          {"internal/nettest", "internal/simclient", "test/clock"},
	"test/clock":    {},
	"test/progress": {},
	// The daemon sees every part and hands each what it needs.
	"internal/appliance": {"boot", "client", "boot/engine", "boot/diagnose", "dhcpd", "radv", "tftpd", "httpboot", "syslogd", "trust/authority", "templates", "images", "store", "store/bolt", "store/journal",
		"internal/access", "internal/admin", "internal/web", "internal/capture", "internal/config", "internal/content", "internal/dns", "internal/hook", "internal/metrics", "internal/run", "internal/seal", "internal/spell", "internal/trace"},
	// The command line sees the daemon on Linux alone, and otherwise what it prints
	// and sends.
	"cmd/muster": {"boot", "client", "boot/engine", "boot/diagnose", "boot/match", "templates", "images", "mirror", "systems", "store/bolt",
		"internal/admin", "internal/appliance", "internal/backup", "internal/capture", "internal/config", "internal/hook", "internal/plan", "internal/reservation", "internal/roll", "internal/run", "internal/seal", "internal/simclient", "internal/spell", "internal/tomlfile"},
	"bench": {"*"},
}

// pure lists what the core may not touch: what it decides is a value, and whoever
// holds it does the rest. sync is there for the pool of turns alone.
var pure = []string{"os", "log", "log/slog", "net/http", "sync/atomic", "math/rand", "os/exec", "syscall"}

// confined lists third-party modules whose types may not leave some packages.
var confined = map[string][]string{
	"github.com/insomniacslk/dhcp":   {"dhcpd", "internal/simclient", "test"},
	"github.com/pin/tftp":            {"internal/simclient", "test"},
	"github.com/mdlayher/ndp":        {"radv"},
	"go.etcd.io/bbolt":               {"store/bolt", "test"},
	"github.com/spf13/cobra":         {"cmd/muster"},
	"github.com/BurntSushi/toml":     {"internal/tomlfile"},
	"github.com/vishvananda/netlink": {"internal/run"},
	"github.com/coreos/go-systemd":   {"internal/run"},
	"filippo.io/age":                 {"internal/backup"},
	"github.com/prometheus":          {"internal/metrics"},
	"go.yaml.in/yaml":                {"templates", "cmd/muster"},
	"github.com/pmezard/go-difflib":  {"internal/admin"},
	"github.com/getkin/kin-openapi":  {"internal/admin"}, // its test
	"github.com/chromedp":            {"test"},
	"go.opentelemetry.io":            {"internal/trace", "test"}, // their tests
}

func TestLayers(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := map[string]bool{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath  string
			Imports     []string
			TestImports []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := layers[name]
		if !known {
			if len(p.Imports) > 0 {
				t.Errorf("package %s is not in the layer table: say in boot/layers_test.go what it may import", name)
			}
			continue
		}
		seen[name] = true
		if name == "test" { // which is nothing but tests
			p.Imports = p.TestImports
		}
		for _, imp := range p.Imports {
			if own, ours := strings.CutPrefix(imp, module); ours {
				if !slices.Contains(allowed, own) && !slices.Contains(allowed, "*") {
					t.Errorf("%s imports %s, which its layer may not", name, own)
				}
				continue
			}
			if (name == "boot" || name == "boot/diagnose") && (strings.Contains(imp, ".") || slices.Contains(pure, imp)) {
				t.Errorf("%s imports %s: the core is pure and of the standard library only", name, imp)
			}
			for mod, where := range confined {
				if strings.HasPrefix(imp, mod) && !slices.Contains(where, name) {
					t.Errorf("%s imports %s, whose types may not leave %s", name, imp, strings.Join(where, ", "))
				}
			}
		}
	}
	for name := range layers {
		if !seen[name] && name != "bench" && name != "internal/nettest/demo" {
			t.Errorf("the table names %s, which does not exist", name)
		}
	}
}

// TestElsewhere: the commands are for every system, and the daemon is Linux's: on
// others the command line does not see it.
func TestElsewhere(t *testing.T) {
	for _, system := range []string{"darwin", "windows"} {
		cmd := exec.Command("go", "list", "-deps", "./cmd/muster")
		cmd.Dir = ".."
		cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list for %s: %v", system, err)
		}
		deps := strings.Fields(string(out))
		if !slices.Contains(deps, module+"internal/config") {
			t.Fatalf("the list for %s is not that of the commands:\n%s", system, out)
		}
		for _, p := range []string{"internal/appliance", "dhcpd", "tftpd", "httpboot", "syslogd", "store/bolt"} {
			if slices.Contains(deps, module+p) {
				t.Errorf("on %s the command line sees %s: import internal/appliance from a file that ends in _linux.go", system, p)
			}
		}
	}
}
