// thisrun.go: the template of one run, made from --kernel and --initrd. No file is
// copied, and the template is gone when the process ends.

package appliance

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/content"
	"github.com/musterboot/muster/templates"
)

// thisRunBit marks identifiers that the store's counter never reaches.
const thisRunBit = 1 << 31

func thisRun(ctx context.Context, b Bench, network string, fs content.Files) (*boot.Template, error) {
	t := &boot.Template{Name: "this-run", Version: 1, Files: map[string]boot.Blob{}, AutoApprove: true, ThisRun: true, GRUBBoots: true, UBootBoots: true,
		Match: boot.Selector{Network: []string{network}}, Priority: 1000}
	add := func(flag, path string) (string, error) {
		file, err := os.Open(path)
		if err != nil {
			return "", config.Mistakef("%s: %w", flag, err)
		}
		defer file.Close()
		if st, err := file.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() == 0 {
			return "", config.Mistakef("%s: %s is not a file with something in it", flag, path)
		}
		blob, err := images.Digest(file)
		if err != nil {
			return "", fmt.Errorf("%s: %w", flag, err)
		}
		name := filepath.Base(path)
		if templates.ValidFile(name) != nil || t.Files[name] != (boot.Blob{}) {
			name = fmt.Sprintf("%s%d", strings.TrimPrefix(flag, "--"), len(t.Files))
		}
		t.Files[name] = blob
		fs.Run[blob.Digest] = path
		return name, nil
	}
	kernel, err := add("--kernel", b.Kernel)
	if err != nil {
		return nil, err
	}
	var initrd []string
	for _, p := range b.Initrd {
		n, err := add("--initrd", p)
		if err != nil {
			return nil, err
		}
		initrd = append(initrd, strconv.Quote(n))
	}
	spec := fmt.Sprintf("name = %q\nauto_approve = true\npriority = 1000\n[match]\nnetwork = [%q]\n[boot]\nkernel = %q\ninitrd = [%s]\ncmdline = %q\n",
		t.Name, network, kernel, strings.Join(initrd, ", "), b.Cmdline)
	blob, err := fs.Store.Put(ctx, strings.NewReader(spec), "")
	if err != nil {
		return nil, err
	}
	t.Files[templates.SpecFile] = blob
	// The identifier is derived from the bytes. So a machine can go on booting after
	// a restart with the same files, and never gets a mix of two sets.
	var all bytes.Buffer
	for _, n := range append([]string{templates.SpecFile, kernel}, initrd...) {
		if q, err := strconv.Unquote(n); err == nil {
			n = q
		}
		all.WriteString(t.Files[n].Digest)
	}
	sum, err := images.Digest(&all)
	if err != nil {
		return nil, err
	}
	raw, err := hex.DecodeString(sum.Digest[:8])
	if err != nil {
		return nil, err
	}
	t.ID = boot.TemplateID(binary.BigEndian.Uint32(raw) | thisRunBit)
	return t, nil
}
