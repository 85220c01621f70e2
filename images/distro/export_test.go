package distro

// Medium is one of the made media, for tests from outside.
type Medium struct {
	Name, Label string
	Folder      bool
	Files       map[string]string
}

// Media are all of them.
func Media() (out []Medium) {
	for _, m := range media {
		out = append(out, Medium{m.name, m.label, m.folder, m.files})
	}
	return out
}
