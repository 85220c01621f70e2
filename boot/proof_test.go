package boot

import "testing"

func TestProofAtLeast(t *testing.T) {
	for i, p := range proofs {
		for j, least := range proofs {
			if p.AtLeast(least) != (i >= j) {
				t.Errorf("%s is as good as %s: %v", p, least, p.AtLeast(least))
			}
		}
	}
	for _, x := range []struct{ have, least Proof }{{"", ProofHeard}, {"wish", ProofHeard}, {ProofTPM, "wish"}, {"", ""}, {ProofTPM, ""}} {
		if x.have.AtLeast(x.least) {
			t.Errorf("%q is as good as %q", x.have, x.least)
		}
	}
}
