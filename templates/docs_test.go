// docs_test.go: the manual has every key.

package templates

import (
	"testing"

	"github.com/musterboot/muster/internal/tomltest"
)

func TestManualHasEveryKey(t *testing.T) {
	tomltest.Manual(t, "../docs/templates.md", "toml template", Spec{})
}
