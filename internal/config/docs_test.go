// docs_test.go: the manual has every key.

package config

import (
	"testing"

	"github.com/musterboot/muster/internal/tomltest"
)

func TestManualHasEveryKey(t *testing.T) {
	tomltest.Manual(t, "../../docs/configuration.md", "toml", file{})
}
