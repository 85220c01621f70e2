#!/bin/bash
# Makes a Debian package of a built binary and the files in this folder, and
# prints its path.
#
#   build-deb.sh VERSION BINARY OUTDIR
#
# The same input gives the same bytes. From the environment:
#
#   DEB_ARCH            Debian's name of the binary's architecture (default: this machine's)
#   SOURCE_DATE_EPOCH   time of all files (default: the last commit's)
#   COMPLETER           a muster that runs here, if BINARY does not: writes the completions
#                       and the manual pages
#
# It needs Go too: the licences of what is linked are looked up in the modules.
set -euo pipefail
umask 022
export LC_ALL=C

die() { echo "build-deb.sh: $*" >&2; exit 1; }

[ $# = 3 ] || die "usage: build-deb.sh VERSION BINARY OUTDIR"
here=$(cd "$(dirname "$0")" && pwd)
binary=$2 out=$3
command -v dpkg-deb >/dev/null || die "dpkg-deb is missing: install the package dpkg"
command -v go >/dev/null || die "Go is missing: it says which modules are linked"
[ -f "$binary" ] || die "no binary $binary: go build -o $binary ./cmd/muster"

# v1.2.0-rc1 comes before 1.2.0, and 1.2.0-3-gabcdef (git describe) after it.
version=$(sed -E 's/^v//; s/-(alpha|beta|rc)/~\1/; s/-/+/g' <<<"$1")
[[ $version =~ ^[0-9][0-9A-Za-z.+~]*$ ]] || die "version $1: want something like 1.2.0 or v1.2.0-rc1"

arch=${DEB_ARCH:-$(dpkg --print-architecture)}
# Class and machine in the head of the ELF file, Go's name, and the signed GRUB.
case $arch in
amd64) elf=02:3e00 goarch=amd64 grub=grub-efi-amd64-signed ;;
arm64) elf=02:b700 goarch=arm64 grub=grub-efi-arm64-signed ;;
armhf) elf=01:2800 goarch=arm grub= ;;
i386) elf=01:0300 goarch=386 grub=grub-efi-ia32-signed ;;
riscv64) elf=02:f300 goarch=riscv64 grub= ;;
*) die "architecture $arch is not supported: want amd64, arm64, armhf, i386 or riscv64" ;;
esac
have=$(od -An -tx1 -j4 -N1 "$binary" | tr -d ' '):$(od -An -tx1 -j18 -N2 "$binary" | tr -d ' ')
[ "$have" = $elf ] ||
	die "$binary is not built for $arch: set DEB_ARCH, or build with GOARCH=$goarch"
maintainer='Muster maintainers <musterboot@users.noreply.github.com>'
# A binary that wants the C library would need a dependency on it.
if grep -qaE '/ld-linux[-a-z0-9_]*\.so\.[12]' < <(head -c 8192 "$binary"); then
	die "$binary is linked dynamically: build with CGO_ENABLED=0"
fi

if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
	SOURCE_DATE_EPOCH=$(git -C "$here" log -1 --format=%ct 2>/dev/null) ||
		die "not in a git checkout: set SOURCE_DATE_EPOCH to a number of seconds"
fi
export SOURCE_DATE_EPOCH

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
put() { install -D -m "$1" "$2" "$tree/$3"; }

put 755 "$binary" usr/bin/muster
put 644 "$here/muster.toml" etc/muster/muster.toml
put 644 "$here/muster.service" usr/lib/systemd/system/muster.service
put 644 "$here/sysusers.conf" usr/lib/sysusers.d/muster.conf
put 644 "$here/debian/lintian-overrides" usr/share/lintian/overrides/muster
for f in muster.rules.yml rules_test.yml grafana.json; do put 644 "$here/prometheus/$f" "usr/share/doc/muster/prometheus/$f"; done

made=$(mktemp -d)
trap 'rm -rf "$tree" "$made"' EXIT
(cd "$here/.." && env -u GOOS -u GOARCH go run ./packaging/gen -version "$version" -goarch $goarch \
	-at "$SOURCE_DATE_EPOCH" -maintainer "$maintainer" "$made") ||
	die "licences, changelog and manual could not be written"
gzip -9n "$made/changelog" "$made/muster.toml.5"
put 644 "$made/copyright" usr/share/doc/muster/copyright
put 644 "$made/changelog.gz" usr/share/doc/muster/changelog.gz
put 644 "$made/muster.toml.5.gz" usr/share/man/man5/muster.toml.5.gz

completer=$(realpath "${COMPLETER:-$binary}")
complete() {
	mkdir -p "$tree/$(dirname "$2")"
	"$completer" completion "$1" >"$tree/$2" ||
		die "$completer does not run here: set COMPLETER to a muster that does"
}
complete bash usr/share/bash-completion/completions/muster
complete zsh usr/share/zsh/vendor-completions/_muster
complete fish usr/share/fish/vendor_completions.d/muster.fish

mkdir -p "$tree/usr/share/man/man1"
"$completer" man "$tree/usr/share/man/man1" >/dev/null ||
	die "$completer does not run here: set COMPLETER to a muster that does"
gzip -9n "$tree"/usr/share/man/man1/*.1

size=$(find "$tree" -type f -printf '%s\n' | awk '{ kib += int(($1 + 1023) / 1024) } END { print kib }')
(cd "$tree" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$tree/.md5sums"
for script in postinst prerm postrm; do put 755 "$here/debian/$script" "DEBIAN/$script"; done
mv "$tree/.md5sums" "$tree/DEBIAN/md5sums"
echo /etc/muster/muster.toml >"$tree/DEBIAN/conffiles"
cat >"$tree/DEBIAN/control" <<END
Package: muster
Version: $version
Architecture: $arch
Maintainer: $maintainer
Installed-Size: $size
Depends: systemd | systemd-standalone-sysusers | systemd-sysusers
Recommends: ca-certificates, ipxe
Suggests: gpgv${grub:+, shim-signed, $grub}
Section: net
Priority: optional
Homepage: https://github.com/musterboot/muster
Description: network boot appliance that knows every machine
 Muster answers machines that boot from the network: DHCP, TFTP, UEFI HTTP boot
 and iPXE. It keeps a roll of every machine that ever asked, and says why a boot
 stopped. It works beside another DHCP server or as the only one.
END

find "$tree" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$out"
deb=$out/muster_${version}_$arch.deb
# One thread: with more, the compressed bytes follow the number of processors.
dpkg-deb --root-owner-group -Zxz --threads-max=1 --build "$tree" "$deb" >/dev/null
echo "$deb"
