package boot

// WithoutRule takes one rule out of the list until restore is called, so that
// a test can ask whether anybody would notice.
func WithoutRule(name string) (restore func()) {
	old := rules
	rules = nil
	for _, r := range old {
		if r.name != name {
			rules = append(rules, r)
		}
	}
	return func() { rules = old }
}

// RuleNames lists the rules in order.
func RuleNames() []string {
	var out []string
	for _, r := range rules {
		out = append(out, r.name)
	}
	return out
}

var Lacking = lacking
