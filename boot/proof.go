// proof.go: how well it is proven who asks. Rules and secrets name the weakest proof
// that they accept. Anybody can send any MAC address.

package boot

import "slices"

// Proof is what stands behind a claim of identity.
type Proof string

// Proofs, weakest first.
const (
	ProofNone        Proof = "none"
	ProofHeard       Proof = "heard"       // heard on our own link, and the lease is the sender's
	ProofToken       Proof = "token"       // a path that was signed for it
	ProofCertificate Proof = "certificate" // a client certificate that our CA issued
	ProofTPM         Proof = "tpm"         // a key that its TPM holds
)

var proofs = []Proof{ProofNone, ProofHeard, ProofToken, ProofCertificate, ProofTPM}

// AtLeast reports a proof that is as good as another. An unknown proof counts as
// none.
func (p Proof) AtLeast(least Proof) bool {
	return slices.Index(proofs, p) >= slices.Index(proofs, least) && slices.Contains(proofs, least)
}

// proven raises what is known of who asks.
func (t *turn) proven(p Proof) {
	if p.AtLeast(t.d.Proof) {
		t.d.Proof = p
	}
}
