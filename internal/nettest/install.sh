#!/bin/bash
# Installs what the lab in this directory needs, on Debian 12 or 13.
#
#   install.sh demo    x86 guests: QEMU, firmware, iPXE, a guest kernel
#   install.sh test    demo, plus arm64 guests and the clients the tests drive
#   install.sh bench   test, plus the servers Muster is measured against
#
# Running it again is quick and silent once everything is there, and safe after
# an interrupted run: every part of the cache is made aside and then renamed.
# No service is started or enabled, and the machine's own package sources,
# kernel and boot loader stay as they are: guest kernels, signed loaders, and
# packages of another release or architecture are only unpacked in the cache.
set -euo pipefail

cache=${MUSTER_CACHE:-/var/cache/muster-lab}
policy=/usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

die() { echo "install.sh: $*" >&2; exit 1; }

# ---- what each level needs -------------------------------------------------

level=${1:-}
packages=(qemu-system-x86 ovmf ipxe ipxe-qemu iproute2)
parts=(kernel-amd64 busybox-amd64)
case $level in demo|test|bench) ;; *) die "say which level to install: demo, test or bench" ;; esac
if [ "$level" != demo ]; then
	packages+=(qemu-system-arm qemu-efi-aarch64 dnsmasq-base tcpdump isc-dhcp-client
		udhcpc busybox dhcpcd-base systemd tshark iputils-arping ndisc6 radvd radvdump kea-admin tftp-hpa atftp curl mtools nftables
		xz-utils xorriso openssl libfl2 python3 python3-yaml util-linux gcc libc6-dev procps netbase mount openssh-client lintian chromium mmdebstrap squashfs-tools fdisk e2fsprogs mandoc zsh fish bash-completion gpg gpg-agent gpgv dpkg-dev
		ansible-core libxml2-utils yamllint python3-configobj python3-jinja2 python3-jsonpatch python3-jsonschema python3-netifaces python3-oauthlib python3-requests)
	# riscv64 is a package of its own in Debian 13.
	case $(. /etc/os-release && echo "${VERSION_CODENAME:-}") in
	bookworm) packages+=(qemu-system-misc) ;;
	*) packages+=(qemu-system-riscv opensbi) ;;
	esac
	# The packages of ISC's relay and of WIDE's DHCPv6 client, which wants libfl2,
	# would start them at the next boot, as those of DHCP servers would, and Ignition's
	# has hooks for an initramfs; they are only unpacked, and so is Prometheus for its promtool,
	# and cloud-init, for its schema, whose package would make this machine its own. So is QEMU for single programs,
	# whose package would make the machine run those of other architectures.
	parts+=(kernel-arm64 busybox-arm64 kernel-riscv64 busybox-riscv64 qemu-user uboot uboot-13 ipxe-13 ovmf-13 secureboot secureboot-arm64 di-amd64 di-arm64 dhcrelay dhcp6c dhcpservers ignition cloud-init memtest prometheus axe)
fi
if [ "$level" = bench ]; then
	# The two TFTP servers exclude each other as packages, so they are only
	# unpacked; these are the libraries they want.
	packages+=(kea-dhcp4-server kea-dhcp6-server nginx-light libwrap0 libpcre2-8-0)
	parts+=(tftpd)
fi

missing_packages() {
	dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null |
		awk -v want="${packages[*]}" '
			$2 == "installed" { have[$1] = 1 }
			END { n = split(want, w, " "); for (i = 1; i <= n; i++) if (!have[w[i]]) print w[i] }'
}

missing_parts() {
	local p
	for p in "${parts[@]}"; do [ -e "$cache/$p" ] || echo "$p"; done
}

mapfile -t need_packages < <(missing_packages)
mapfile -t need_parts < <(missing_parts)
# npm fetches axe-core; a machine may have an npm that is no package of Debian's.
case " ${need_parts[*]} " in *" axe "*) command -v npm >/dev/null || need_packages+=(npm) ;; esac
[ $((${#need_packages[@]} + ${#need_parts[@]})) -gt 0 ] || exit 0

# ---- one run at a time, cleaned up behind itself ---------------------------

[ "$(id -u)" = 0 ] || die "run as root: it installs packages (${need_packages[*]}) and fills $cache"
. /etc/os-release
release=${VERSION_CODENAME:-}
case $release in bookworm | trixie) ;; *) die "made for Debian 12 (bookworm) and 13 (trixie), this is ${PRETTY_NAME:-unknown}" ;; esac

mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
rm -rf "$cache"/.new.*   # left by an interrupted run
work=$(mktemp -d "$cache/.new.XXXXXX")

# While packages are being installed this policy keeps maintainer scripts from
# starting services. A policy the machine had before is put back afterwards,
# also by the next run if this one is killed.
hold_services() {
	if [ -e "$policy" ] && ! grep -q muster-lab "$policy"; then mv "$policy" "$policy.muster-saved"; fi
	printf '#!/bin/sh\n# muster-lab: no service starts during this install\nexit 101\n' >"$policy"
	chmod 755 "$policy"
}
release_services() {
	if grep -qs muster-lab "$policy"; then rm -f "$policy"; fi
	if [ -e "$policy.muster-saved" ]; then mv "$policy.muster-saved" "$policy"; fi
}
trap 'release_services; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
release_services

log=$work/log
patient=$(cd "$(dirname "$0")" && pwd)/patient.sh
quietly() {
	# Its lines go past the log; the lock is not for what a package may start.
	"$patient" install.sh bash -c 'exec "$@" >"$0" 2>&1' "$log" "$@" 9>&- || { cat "$log" >&2; die "failed: $*"; }
}

echo "install.sh: refreshing the package lists" >&2
quietly apt-get update

# ---- packages installed on this machine ------------------------------------

# A service that came with a package just installed would still start at the
# next boot of a machine run by systemd; one that was here before is kept.
disable_services() {
	[ -d /run/systemd/system ] || return 0
	local unit
	for unit in $(dpkg -L "${need_packages[@]}" nginx nginx-common 2>/dev/null |
		sed -n 's|^/lib/systemd/system/\([^/@]*\.service\)$|\1|p' | sort -u); do
		systemctl is-active --quiet "$unit" || systemctl disable --quiet "$unit" || true
	done
}

if [ ${#need_packages[@]} -gt 0 ]; then
	echo "install.sh: installing ${need_packages[*]}" >&2
	hold_services
	quietly apt-get install -y --no-install-recommends "${need_packages[@]}"
	release_services
	disable_services
fi

# ---- packages only unpacked in the cache -----------------------------------

# use_apt ARCH WANTED: sets $apt to options for a package database of its own,
# whose sources are this machine's Debian sources at another release.
use_apt() {
	local arch=$1 wanted=$2 dir=$work/apt-$1-$2
	apt=(-o APT::Architecture="$arch" -o APT::Architectures="$arch" -o Acquire::Languages=none
		-o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts="$dir/none"
		-o Dir::State="$dir" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir"
		-o APT::Sandbox::User=root)
	[ ! -d "$dir" ] || return 0
	mkdir -p "$dir/none" "$dir/lists/partial" "$dir/archives/partial"
	: >"$dir/status"
	apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' \
		'Identifier: Packages' 'Origin: Debian' | sort -u |
		sed -e 's|^|deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] |' \
			-e "s/ $release/ $wanted/" >"$dir/sources.list"
	[ -s "$dir/sources.list" ] || die "no Debian package source is set up on this machine: add one to /etc/apt/sources.list"
	quietly apt-get "${apt[@]}" update
}

# unpack TREE PACKAGE...: downloads packages by $apt and unpacks them in TREE.
unpack() {
	local tree=$1 deb debs
	shift
	debs=$(mktemp -d "$work/debs.XXXXXX")
	(cd "$debs" && quietly apt-get "${apt[@]}" download "$@")
	mkdir -p "$tree"
	for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$tree"; done
}

# kernel ARCH: the cloud kernel is small and has what a virtual guest needs; riscv64
# has the general one only, whose modules are compressed.
kernel() {
	local arch=$1 tree=$work/kernel-$1 image meta=linux-image-cloud-$1
	[ "$arch" != riscv64 ] || meta=linux-image-riscv64
	image=$(apt-cache "${apt[@]}" depends "$meta" |
		sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
	[ -n "$image" ] || die "$meta names no kernel package"
	unpack "$tree" "$image"
	[ ! -d "$tree/usr/lib/modules" ] || mv "$tree/usr/lib" "$tree/lib"
	find "$tree/lib/modules" \( -name 'virtio*.ko.xz' -o -name '*failover.ko.xz' \) -exec xz -d {} +
	rm -rf "$cache/modules-$arch"
	mv "$tree"/lib/modules/* "$cache/modules-$arch"
	mv "$tree"/boot/vmlinu[xz]-* "$cache/kernel-$arch"   # last: it says that both are there
}

for part in ${need_parts[@]+"${need_parts[@]}"}; do
	echo "install.sh: unpacking $part in $cache" >&2
	tree=$work/$part
	case $part in *-arm64) arch=arm64 ;; *-riscv64) arch=riscv64 ;; *) arch=amd64 ;; esac
	# What a guest boots is the same on every machine; what runs on this one is of its
	# own release, like the libraries, and so are signed loaders, like the firmware: on
	# arm64 that of Debian 13 ends Debian 12's GRUB with an exception (data that runs).
	case $part in
	*-13 | *-riscv64) use_apt $arch trixie ;; # Debian 12 has no riscv64
	dhcrelay | dhcp6c | dhcpservers | tftpd | ignition | cloud-init | secureboot*) use_apt $arch "$release" ;;
	*) use_apt $arch bookworm ;;
	esac
	case $part in
	kernel-*)
		kernel $arch
		continue ;;
	busybox-*)
		unpack "$tree-tree" busybox-static
		mv "$(find "$tree-tree" -path '*bin/busybox')" "$cache/$part"
		continue ;;
	qemu-user) unpack "$tree" qemu-user-static ;;
	uboot*) unpack "$tree" u-boot-qemu ;;
	ipxe-13) unpack "$tree" ipxe ;;
	ovmf-13) unpack "$tree" ovmf ;;
	secureboot*) unpack "$tree" shim-signed shim-helpers-$arch-signed grub-efi-$arch-signed ;;
	di-*) unpack "$tree" debian-installer-12-netboot-$arch ;;
	dhcpservers) unpack "$tree" isc-dhcp-server kea-dhcp4-server ;;
	dhcrelay) unpack "$tree" isc-dhcp-relay ;;
	dhcp6c) unpack "$tree" wide-dhcpv6-client ;;
	tftpd) unpack "$tree" tftpd-hpa atftpd ;;
	ignition | cloud-init) unpack "$tree" "$part" ;;
	prometheus) unpack "$tree" prometheus ;;
	memtest) unpack "$tree" memtest86+ ;;
	axe)
		# The rules that tell whether everybody can use a page.
		mkdir "$tree"
		(cd "$tree" && quietly npm pack --cache "$work/npm" axe-core@4.14.1 &&
			echo "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745  axe-core-4.14.1.tgz" | quietly sha256sum -c && quietly tar -xzf axe-core-4.14.1.tgz package/axe.min.js) ;;
	esac
	mv "$tree" "$cache/$part"
done
