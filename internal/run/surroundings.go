// surroundings.go: conditions outside the process that keep a first boot from
// working: a firewall, a container, a missing privilege.

package run

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ContainerAdvice says what is wrong with serving an interface from inside a
// container; "" if nothing is. A veth whose peer is in another namespace never
// sees the broadcasts of a real network.
func ContainerAdvice(iface string) string {
	in := false
	for _, f := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(f); err == nil {
			in = true
		}
	}
	if !in {
		return ""
	}
	if _, err := os.Stat(filepath.Join("/sys/class/net", iface, "device")); err == nil {
		return "" // the container has a real NIC
	}
	index, err1 := os.ReadFile(filepath.Join("/sys/class/net", iface, "ifindex"))
	peer, err2 := os.ReadFile(filepath.Join("/sys/class/net", iface, "iflink"))
	if err1 != nil || err2 != nil || string(index) == string(peer) {
		return ""
	}
	// The container engine's bridge has the default route. A veth without it is
	// a bench that somebody built.
	routes, err := os.ReadFile("/proc/net/route")
	if err != nil || !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(iface)+`\s+00000000\s`).Match(routes) {
		return ""
	}
	return fmt.Sprintf("this is a container and %s is its bridge network: broadcasts of the real network do not reach it; start the container with --network host", iface)
}

var dropPolicy = regexp.MustCompile(`type filter hook input[^;]*;[^}]*policy drop`)

// FirewallAdvice reads the packet filter and says whether it would drop
// requests on iface to the given UDP and TCP ports. It returns "" if it finds
// no such rule, or if it cannot read the filter.
func FirewallAdvice(ctx context.Context, iface string, udp, tcp []int) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "ufw", "status").Output(); err == nil && strings.Contains(string(out), "Status: active") {
		if !strings.Contains(string(out), "67/udp") && !strings.Contains(string(out), "on "+iface) {
			return fmt.Sprintf("ufw is active and lets nothing to port 67 through; allow it with: sudo ufw allow in on %s", iface)
		}
		return ""
	}
	if err := exec.CommandContext(ctx, "firewall-cmd", "--state").Run(); err == nil {
		out, _ := exec.CommandContext(ctx, "firewall-cmd", "--get-zone-of-interface="+iface).Output()
		if z := strings.TrimSpace(string(out)); z != "trusted" {
			return fmt.Sprintf("firewalld is active and %s is in zone %q; allow it with: sudo firewall-cmd --zone=trusted --change-interface=%s", iface, z, iface)
		}
		return ""
	}
	out, err := exec.CommandContext(ctx, "nft", "list", "ruleset").Output()
	if err != nil {
		return ""
	}
	return nftAdvice(string(out), iface, udp, tcp)
}

// nftAdvice judges a ruleset's text: an input chain that drops by default and
// that names neither the interface nor one of the ports, or a rule that drops
// one of them.
func nftAdvice(rules, iface string, udp, tcp []int) string {
	table, chain, depth := "", "", 0
	var body strings.Builder
	var advice string
	judge := func() {
		text := body.String()
		if advice != "" || !strings.Contains(text, "hook input") {
			return
		}
		open := regexp.MustCompile(`iif(name)? (\{[^}]*)?"?` + regexp.QuoteMeta(iface) + `"?[^\n]*accept`).MatchString(text)
		accept := fmt.Sprintf("sudo nft insert rule %s %s iifname %s udp dport { %s } accept; sudo nft insert rule %s %s iifname %s tcp dport { %s } accept",
			table, chain, iface, ports(udp), table, chain, iface, ports(tcp))
		for _, p := range udp {
			if regexp.MustCompile(fmt.Sprintf(`udp dport (\{[^}]*\b)?%d\b[^\n]*(drop|reject)`, p)).MatchString(text) {
				advice = fmt.Sprintf("the firewall drops UDP port %d (nftables, %s chain %s); let it in with: %s", p, table, chain, accept)
				return
			}
		}
		mentions := regexp.MustCompile(`udp dport (\{[^}]*\b)?67\b[^\n]*accept`).MatchString(text)
		if dropPolicy.MatchString(text) && !open && !mentions {
			advice = fmt.Sprintf("the firewall drops what it does not know (nftables, %s chain %s) and does not know our ports; let them in with: %s", table, chain, accept)
		}
	}
	for _, line := range strings.Split(rules, "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) >= 4 && f[0] == "table" && f[len(f)-1] == "{":
			table = f[1] + " " + f[2]
		case len(f) >= 3 && f[0] == "chain" && f[2] == "{":
			chain = f[1]
			body.Reset()
			depth = 1
			continue
		}
		if depth > 0 {
			depth += strings.Count(line, "{") - strings.Count(line, "}")
			body.WriteString(line + "\n")
			if depth <= 0 {
				judge()
				depth = 0
			}
		}
	}
	return advice
}

func ports(l []int) string {
	var s []string
	for _, p := range l {
		s = append(s, fmt.Sprint(p))
	}
	return strings.Join(s, ", ")
}

// Neighbours is how many machines the kernel's IPv4 neighbour table holds; 0
// where that cannot be read.
func Neighbours() uint64 {
	b, err := os.ReadFile("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n
}
