package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestMeant: a word that is no command, or no flag, is a mistake, and it is said which
// was meant.
func TestMeant(t *testing.T) {
	for line, want := range map[string]string{
		"nonsense":                         `there is no "muster nonsense"; see: muster --help`,
		"help nonsense":                    `there is no "muster nonsense"; see: muster --help`,
		"help host nonsense":               `there is no "muster host nonsense"; see: muster host --help`,
		"hsot list":                        `did you mean: muster host`,
		"host ls":                          `did you mean: muster host list`,
		"host get web1":                    `did you mean: muster host show`,
		"host delete web1":                 `did you mean: muster host rm`,
		"template delete web1":             `did you mean: muster template rm`,
		"lease list --netwrok lab":         `unknown flag: --netwrok; did you mean --network?`,
		"lease list --nothing":             `unknown flag: --nothing; see: muster lease list --help`,
		"lease list --json --netwrok=lab":  `{"error":"unknown flag: --netwrok; did you mean --network?","code":"usage"}`,
		"host show --json nobody":          `{"error":"`,
		"lease release lab --json --for=7": `"code":"usage"`,
	} {
		var out, err bytes.Buffer
		code := execute(t.Context(), append(strings.Fields(line), "--data-dir", t.TempDir()), func(string) string { return "" }, &out, &err)
		wrong := exitUsage
		if strings.Contains(line, "nobody") {
			wrong = exitFailed
		}
		if code != wrong || !strings.Contains(err.String(), want) || out.Len() > 0 {
			t.Errorf("%s: exit %d, %q, and %q", line, code, err.String(), out.String())
		}
	}
}

func TestCounted(t *testing.T) {
	for n, want := range map[int]string{0: "0 files", 1: "1 file", 2: "2 files"} {
		if got := counted(n, "file"); got != want {
			t.Errorf("%q", got)
		}
	}
}
