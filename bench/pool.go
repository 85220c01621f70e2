// pool.go: the DHCP servers, each with the same addresses to give and, where a
// run needs it, with the same leases at the start.

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store/bolt"
)

// All servers have one subnet; only the range in it differs. It has room for
// boot.MaxPool addresses.
const (
	subnet     = "10.64.0.0/11"
	netmask    = "255.224.0.0"
	prefixBits = "/11"
	subnet6    = "fd80::/64"
	network    = "lab"
)

// pool describes a DHCP server's addresses when it starts.
type pool struct {
	size   int  // addresses
	leased int  // of them taken
	six    bool // of DHCPv6, which is measured without leases at the start
}

func (p pool) addr(i int) netip.Addr {
	if p.six {
		b := netip.MustParsePrefix(subnet6).Addr().As16()
		binary.BigEndian.PutUint32(b[12:], 1<<16+uint32(i))
		return netip.AddrFrom16(b)
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 10<<24|65<<16+1+uint32(i))
	return netip.AddrFrom4(b)
}

func (p pool) subnet() string {
	if p.six {
		return subnet6
	}
	return subnet
}

func (p pool) port() string {
	if p.six {
		return "udp/547"
	}
	return "udp/67"
}

func (p pool) first() string { return p.addr(0).String() }
func (p pool) last() string  { return p.addr(p.size - 1).String() }

// leases are the leases at the start, spread evenly. A pool in use has gaps
// everywhere, and an even spread neither favours nor harms a server's way of
// searching.
func (p pool) leases() iter.Seq2[mac, netip.Addr] {
	return func(yield func(mac, netip.Addr) bool) {
		for i := range p.leased {
			if !yield(present.number(i), p.addr(int(int64(i)*int64(p.size)/int64(p.leased)))) {
				return
			}
		}
	}
}

// leaseEnds is later than the end of the benchmark.
const leaseEnds = 24 * time.Hour

// noLimits are lines of a [[network]] that lift the bounds on unknown machines,
// because the other servers have none. A binary older than a key runs without
// that key.
func noLimits(muster string) (lines string, err error) {
	code, err := os.ReadFile(muster)
	if err != nil {
		return "", err
	}
	for _, s := range [][2]string{{"unknown_lease", `"1h"`}, {"unknown_share", "100"}, {"new_leases", "0"}, {"probe", "false"}} {
		if bytes.Contains(code, []byte(`toml:"`+s[0]+`"`)) {
			lines += s[0] + " = " + s[1] + "\n"
		}
	}
	return lines, nil
}

// musterServer is Muster as a user would start it. lines are added to its
// network; files are boot loaders by name, added by hard link.
func (b *bench) musterServer(name, port string, p pool, lines string, files map[string]string) program {
	return program{name, port, func(dir string) ([]string, []string, error) {
		conf := filepath.Join(dir, "muster.toml")
		data := filepath.Join(dir, "data")
		loaders := filepath.Join(data, "loaders")
		six, mode := "", "mode = \"full\"\n" // DHCPv6 has no proxy mode: full is the default
		if p.six {
			six, mode = "6", ""
		}
		err := errors.Join(
			os.WriteFile(conf, []byte(`[[network]]
name = "`+network+`"
interface = "eth0"
`+mode+`subnet`+six+` = "`+p.subnet()+`"
range`+six+` = "`+p.first()+"-"+p.last()+`"
lease = "1h"
`+lines), 0o644), os.MkdirAll(loaders, 0o755))
		for name, from := range files {
			err = errors.Join(err, os.Link(from, filepath.Join(loaders, name)))
		}
		if p.leased > 0 {
			err = errors.Join(err, b.seed(p, data))
		}
		// If it were pinned at the start, the Go runtime would keep to one
		// processor for good.
		env := []string{fmt.Sprint("GOMAXPROCS=", runtime.NumCPU())}
		return []string{b.muster, "serve", "--config", conf, "--data-dir", data}, env, err
	}}
}

// seed puts a store with the pool's leases into dir. The store is made once and
// then copied. It is on disk before the run, so that the run does not write it.
func (b *bench) seed(p pool, dir string) error {
	made := filepath.Join(b.dir, fmt.Sprintf("seed-%d-%d", p.leased, p.size))
	if _, err := os.Stat(made); err != nil {
		if err := p.write(made + ".new"); err != nil {
			return err
		}
		if err := os.Rename(made+".new", made); err != nil {
			return err
		}
	}
	files, err := os.ReadDir(made)
	for _, f := range files {
		err = errors.Join(err, copySynced(filepath.Join(dir, f.Name()), filepath.Join(made, f.Name())))
	}
	return err
}

func (p pool) write(dir string) error {
	s, err := bolt.Open(filepath.Join(dir, "muster.db"))
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	var ls []boot.Lease
	put := func() error {
		defer func() { ls = ls[:0] }()
		return s.Update(context.Background(), func(tx boot.Tx) error {
			for _, l := range ls {
				if err := tx.PutLease(l); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for m, a := range p.leases() {
		ls = append(ls, boot.Lease{Network: network, Addr: a, Holder: boot.HeldBy(boot.MAC(m)), Kind: boot.Dynamic, Starts: now, Expires: now.Add(leaseEnds)})
		if len(ls) == 5000 {
			err = errors.Join(err, put())
		}
	}
	return errors.Join(err, put(), s.Close())
}

func copySynced(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Sync(), dst.Close())
}

func kea(p pool) program {
	return program{"Kea", p.port(), func(dir string) ([]string, []string, error) {
		conf, leases := filepath.Join(dir, "kea.conf"), filepath.Join(dir, "leases.csv")
		version, more, on := 4, "", ""
		if p.six {
			// Its DUID is stored with its leases. Messages that come without a
			// relay carry no address of the subnet.
			version, more, on = 6, fmt.Sprintf("\"data-directory\": %q,\n\t", dir), `"interface": "eth0", `
		}
		err := os.WriteFile(conf, fmt.Appendf(nil, `{"Dhcp%[1]d": {
	%[2]s"interfaces-config": {"interfaces": ["eth0"]},
	"lease-database": {"type": "memfile", "persist": true, "name": "%[3]s"},
	"multi-threading": {"enable-multi-threading": true},
	"valid-lifetime": 3600,
	"subnet%[1]d": [{"id": 1, %[4]s"subnet": "%[5]s", "pools": [{"pool": "%[6]s-%[7]s"}]}],
	"loggers": [{"name": "kea-dhcp%[1]d", "severity": "WARN", "output_options": [{"output": "stderr"}]}]
}}
`, version, more, leases, on, p.subnet(), p.first(), p.last()), 0o644)
		ends := time.Now().Add(leaseEnds).Unix()
		text := []byte("address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n")
		for m, a := range p.leases() {
			text = fmt.Appendf(text, "%s,%s,,%d,%d,1,0,0,,0,\n", a, m, int(leaseEnds.Seconds()), ends)
		}
		if p.leased > 0 {
			err = errors.Join(err, os.WriteFile(leases, text, 0o644))
		}
		return []string{fmt.Sprintf("kea-dhcp%d", version), "-c", conf}, []string{"KEA_LOCKFILE_DIR=" + dir, "KEA_PIDFILE_DIR=" + dir}, err
	}}
}

func dnsmasqDHCP(p pool) program {
	return program{"dnsmasq", "udp/67", func(dir string) ([]string, []string, error) {
		leases := filepath.Join(dir, "leases")
		ends := time.Now().Add(leaseEnds).Unix()
		var text []byte
		for m, a := range p.leases() {
			text = fmt.Appendf(text, "%d %s %s * *\n", ends, m, a)
		}
		err := os.WriteFile(leases, text, 0o644)
		return dnsmasq(dir, "--dhcp-range="+p.first()+","+p.last()+","+netmask+",1h", "--dhcp-authoritative", "--no-ping", "--quiet-dhcp",
			"--dhcp-lease-max=200000", "--dhcp-leasefile="+leases), nil, err
	}}
}

// dnsmasq is its command without DNS and without the machine's configuration.
func dnsmasq(dir string, args ...string) []string {
	return append([]string{"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces",
		"--user=root", "--pid-file=" + filepath.Join(dir, "pid"), "--log-facility=" + filepath.Join(dir, "log")}, args...)
}
