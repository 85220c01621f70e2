#!/bin/bash
# Makes a Debian to boot in the lab's guests, of this machine's own release:
#
#   debian.sh live DIR   DIR/vmlinuz, DIR/initrd.img and DIR/filesystem.squashfs:
#                        a live system as Debian's own images have it, for
#                        "boot=live fetch=http://…/filesystem.squashfs"
#   debian.sh disk DIR   DIR/debian.raw.gz: a disk with cloud-init (NoCloud) that
#                        boots by BIOS, by UEFI and with Secure Boot; its root file
#                        system is in the last partition, which grows with the disk
#   debian.sh dracut DIR DIR/vmlinuz, DIR/initrd.img and DIR/squashfs.img: a live system
#                        as Fedora and SUSE have it, whose initramfs dracut made, for
#                        "root=live:http://…/squashfs.img rd.neednet=1 ip=dhcp"; it
#                        reports to muster.report=URL
#   debian.sh both DIR arm64
#                        what live and disk make, of one system and by UEFI alone: it
#                        is made by emulation, which takes long enough for one
#
# All have the console on the first serial port too, and no source of packages.
# What was made is kept in the cache until the packages, this file or the release
# change. It is made aside and then renamed: an interrupted run leaves nothing.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
umask 022

die() { echo "debian.sh: $*" >&2; exit 1; }
say() { echo "debian.sh: $*" >&2; }

self=$(realpath "$0")
cache=${MUSTER_CACHE:-/var/cache/muster-lab}

# ---- what goes into each ---------------------------------------------------

[ $# = 2 ] || [ $# = 3 ] || die "say what to make and where: debian.sh live|disk|dracut DIR, or debian.sh both DIR arm64"
kind=$1 target=$2 arch=${3:-amd64} hooks=() emulated=()
base=("linux-image-$arch" systemd-sysv udev dbus iproute2 ifupdown isc-dhcp-client netbase openssh-server
	wget ca-certificates procps kmod util-linux fdisk e2fsprogs dosfstools sudo)
case $kind-$arch in
live-amd64)
	files=(vmlinuz initrd.img filesystem.squashfs)
	tools=(mmdebstrap:mmdebstrap mksquashfs:squashfs-tools)
	# user-setup makes the user "user", with sudo, as on Debian's images.
	packages=("${base[@]}" live-boot live-config live-config-systemd user-setup
		xz-utils zstd efibootmgr nvme-cli hdparm) ;;
disk-amd64)
	files=(debian.raw.gz)
	tools=(mmdebstrap:mmdebstrap sfdisk:fdisk mke2fs:e2fsprogs mformat:mtools gzip:gzip)
	# grub-pc and grub-efi-amd64 exclude each other; the packages that hold what they
	# install do not.
	packages=("${base[@]}" cloud-init cloud-guest-utils
		grub2-common grub-pc-bin "grub-efi-$arch-bin" "grub-efi-$arch-signed" shim-signed) ;;
both-arm64)
	files=(vmlinuz initrd.img filesystem.squashfs debian.raw.gz)
	tools=(mmdebstrap:mmdebstrap mksquashfs:squashfs-tools sfdisk:fdisk mke2fs:e2fsprogs mformat:mtools gzip:gzip)
	# No more than the two need: a package costs seconds, and all modules in an initramfs minutes.
	packages=("linux-image-cloud-$arch" systemd-sysv udev dbus iproute2 ifupdown isc-dhcp-client netbase openssh-server
		wget procps kmod util-linux fdisk e2fsprogs sudo live-boot live-config live-config-systemd
		cloud-init cloud-guest-utils "grub-efi-$arch-signed" shim-signed)
	emulated=(bash -c 'emulated "$@"' "$cache/qemu-user/usr/bin/qemu-aarch64-static") ;;
dracut-amd64)
	files=(vmlinuz initrd.img squashfs.img)
	tools=(mmdebstrap:mmdebstrap mksquashfs:squashfs-tools mke2fs:e2fsprogs)
	# With NetworkManager, as Fedora and SUSE have it, dracut does not use its own old
	# scripts. The kernel for virtual machines has fewer modules to pack.
	packages=("linux-image-cloud-$arch" dracut dracut-network dracut-live network-manager dmsetup binutils
		systemd-sysv udev dbus kmod iproute2 curl ca-certificates)
	# Not as the kernel is installed: that would be for no other machine, and without
	# the modules that are named here.
	export INITRD=No
	hooks=(--customize-hook='chroot "$1" dracut --no-hostonly --add "dmsquash-live livenet" /boot/initrd.img "$(ls "$1/lib/modules")"') ;;
*) die "$kind of $arch: it makes live, disk and dracut of amd64, and both of arm64" ;;
esac

release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
hash=$(printf '%s\n' "$release" "$arch" "${packages[@]}" | cat - "$self" | sha256sum | cut -c 1-12)
made=$cache/debian-$kind-$release-$hash

deliver() {
	mkdir -p "$target"
	local file
	for file in "${files[@]}"; do cp --reflink=auto --sparse=never "$made/$file" "$target/$file"; done
}

if [ -d "$made" ]; then
	deliver
	exit
fi

# ---- one run at a time, cleaned up behind itself ---------------------------

case $release in bookworm | trixie) ;; *) die "made for Debian 12 (bookworm) and 13 (trixie), this is ${release:-unknown}" ;; esac
[ "$(id -u)" = 0 ] || die "run as root: it unpacks a system with its owners and devices"
[ "$(dpkg --print-architecture)" = amd64 ] || die "made for machines of amd64"
PATH=/usr/sbin:/usr/bin:/sbin:/bin   # what mmdebstrap starts a thousand times is not to be another Python
missing=()
for tool in "${tools[@]}"; do
	command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
done
[ ${#missing[@]} = 0 ] || die "missing packages: apt-get install ${missing[*]}"
[ ${#emulated[@]} = 0 ] || [ -x "${emulated[-1]}" ] || die "no ${emulated[-1]}: run internal/nettest/install.sh test"

# This machine's Debian sources and its way to them.
sources=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' \
	'Identifier: Packages' 'Origin: Debian' | sort -u |
	awk -v r="$release" '$3 == "main" && ($2 == r || $2 == r "-updates" || $2 == r "-security") {
		print "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] " $0 }')
[ -n "$sources" ] || die "no source of Debian's packages is set up on this machine, or apt-get update was never run"

mkdir -p "$cache"
exec 9>"$cache/.debian.lock"
flock -n 9 || { say "waiting for another run"; flock 9; }
if [ -d "$made" ]; then   # the other run made it
	deliver
	exit
fi
rm -rf --one-file-system "$cache"/.debian.new.*   # left by an interrupted run
work=$(mktemp -d "$cache/.debian.new.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM HUP
chmod 755 "$work"
root=$work/root out=$work/out log=$work/log
mkdir "$out"

patient=$(dirname "$self")/patient.sh
quietly() {
	# Its lines go past the log; the lock is not for what a package may start.
	"$patient" debian.sh bash -c 'exec "$@" >>"$0" 2>&1 </dev/null' "$log" "$@" 9>&- || { tail -n 40 "$log" >&2; die "failed: $*"; }
}

# emulated COMMAND...: runs it where QEMU, which is $0, runs the programs of arm64. A user
# namespace may have a binfmt_misc of its own since Linux 6.7, so the machine's stays as it
# is. In there everybody is who they are outside: unshare would want one more package for that.
emulated() {
	local all="0 0 4294967295" log
	exec {log}>&1
	coproc { exec unshare --user bash -c 'echo && read -r && exec "$@" >&'"$log </dev/null" bash \
		unshare --mount --pid --fork --kill-child --mount-proc bash -c '
			fs=/proc/sys/fs/binfmt_misc z="\x00\x00\x00\x00" f="\xff\xff\xff\xff"
			mount -t binfmt_misc binfmt_misc $fs || { echo "only Linux 6.7 or newer emulates without a change to the machine"; exit 1; }
			printf %s ":qemu-aarch64:M::\x7fELF\x02\x01\x01\x00$z$z\x02\x00\xb7\x00:$f\xff\xff\xff\x00$f$f\xfe\xff\xff\xff:$0:F" >$fs/register &&
				exec "$@"' "$0" "$@"; }
	local pid=$COPROC_PID
	read -r <&"${COPROC[0]}" && echo "$all" >"/proc/$pid/uid_map" && echo "$all" >"/proc/$pid/gid_map" &&
		echo >&"${COPROC[1]}" && wait "$pid"
}
export -f emulated

# ---- the system ------------------------------------------------------------

options=('--aptopt=Acquire::Languages "none"')
while IFS= read -r line; do options+=("--aptopt=$line"); done < <(
	apt-config dump | grep -E '^Acquire::(https?::[Pp]roxy|Check-)' || true)
say "$kind: installing ${#packages[@]} packages and what they need, of $release"
printf '%s\n' "$sources" >"$work/sources.list"
# Manuals and translations are a third of the files, and nobody reads them here.
[ ${#emulated[@]} = 0 ] || options+=(--skip=check/qemu)   # which would want one more package
quietly ${emulated[@]+"${emulated[@]}"} mmdebstrap --mode=root --variant=apt --format=directory --architectures=$arch \
	"${options[@]}" \
	--dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--include="$(IFS=,; echo "${packages[*]}")" ${hooks[@]+"${hooks[@]}"} "$release" "$root" "$work/sources.list"

# What it took over from this machine, and what no two systems may share.
rm -f "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/etc/apt/sources.list.d/* "$root/etc/resolv.conf"
: >"$root/etc/apt/sources.list"
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id"
echo debian >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 debian\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"

case $kind in
dracut)
	cp "$root"/boot/vmlinuz-* "$out/vmlinuz"
	cp "$root/boot/initrd.img" "$out/initrd.img"
	# It says which root file system it has, and what dracut said that it fetched.
	cat >"$root/usr/local/bin/report" <<-'END'
		#!/bin/bash
		read -ra args </proc/cmdline
		for arg in "${args[@]}"; do
			case $arg in muster.report=*) url=${arg#*=} ;; esac
		done
		journalctl -b -o cat -t dracut-initqueue | sed 's/^/muster: dracut: /'
		root=$(findmnt -no SOURCE,FSTYPE /)
		echo "muster: root: ${root//  */ }"
		curl -fsS -o /dev/null -F stage=running -F "text=root: ${root//  */ }" "$url" && echo "muster: reported"
	END
	chmod 755 "$root/usr/local/bin/report"
	cat >"$root/etc/systemd/system/report.service" <<-'END'
		[Unit]
		ConditionKernelCommandLine=muster.report
		After=network.target
		[Service]
		Type=oneshot
		ExecStart=/usr/local/bin/report
		StandardOutput=journal+console
		StandardError=journal+console
	END
	mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
	ln -s ../report.service "$root/etc/systemd/system/multi-user.target.wants/report.service"
	say "dracut: packing"
	rm -rf "$root"/boot/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
	# As on their discs: a file system in a file in a squashfs. The dracut of Debian 12
	# does not find its own overlay for a squashfs that is the root itself.
	mkdir -p "$work/live/LiveOS"
	# What the guest would still write to a new file system costs it minutes.
	quietly mke2fs -q -t ext4 -O '^has_journal' -E lazy_itable_init=0 -L root -d "$root" "$work/live/LiveOS/rootfs.img" $(($(du -sm "$root" | cut -f 1) * 5 / 4 + 64))M
	quietly mksquashfs "$work/live" "$out/squashfs.img" -comp zstd -Xcompression-level 9 -no-progress
	;;
live | both)
	# The kernel is not needed twice. The SSH keys stay: making them takes a slow guest
	# long, at each boot.
	cp "$root"/boot/vmlinuz-* "$out/vmlinuz"
	cp "$root"/boot/initrd.img-* "$out/initrd.img"
	say "live: packing"
	# What reads a seed is for the disk alone.
	[ ! -d "$root/etc/cloud" ] || : >"$root/etc/cloud/cloud-init.disabled"
	quietly mksquashfs "$root" "$out/filesystem.squashfs" -comp zstd -Xcompression-level 9 -no-progress -e boot
	rm -f "$root/etc/cloud/cloud-init.disabled"
	;;&
disk | both)
	rm -f "$root"/etc/ssh/ssh_host_*   # cloud-init makes them
	uuid=$(cat /proc/sys/kernel/random/uuid)
	volume=$(tr a-f A-F <<<"${uuid:0:8}")   # the ESP's, in place of a UUID
	case $arch in
	amd64)
		efi=x64 signed=x86_64-efi-signed console='console=tty0 console=ttyS0,115200'
		serial=$'serial --unit=0 --speed=115200\nterminal_input console serial\nterminal_output console serial' ;;
	# The firmware's console is its serial port.
	arm64) efi=aa64 signed=arm64-efi-signed console='console=tty0 console=ttyAMA0' serial= ;;
	esac

	# A list of one source and None makes cloud-init run without a seed as well, and
	# never ask a network for one. The rest is as on Debian's own cloud images, but for
	# the locale: the usual one would have to be made first.
	cat >"$root/etc/cloud/cloud.cfg.d/91_nocloud.cfg" <<-END
		datasource_list: [ NoCloud, None ]
		apt: { preserve_sources_list: true }
		manage_etc_hosts: true
		locale: C.UTF-8
	END
	mkdir -p "$root/boot/efi"
	printf 'UUID=%s / ext4 errors=remount-ro 0 1\nUUID=%s /boot/efi vfat umask=0077,nofail 0 2\n' \
		"$uuid" "${volume:0:4}-${volume:4}" >"$root/etc/fstab"
	cat >"$root/etc/default/grub" <<-END
		GRUB_DEFAULT=0
		GRUB_TIMEOUT=1
		GRUB_DISTRIBUTOR=Debian
		GRUB_CMDLINE_LINUX_DEFAULT=""
		GRUB_CMDLINE_LINUX="$console"
		GRUB_TERMINAL="console serial"
		GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
	END
	# update-grub, which wants to see the disk, will write over this one.
	mkdir -p "$root/boot/grub"
	cat >"$root/boot/grub/grub.cfg" <<-END
		set timeout=1
		$serial
		search --no-floppy --fs-uuid --set=root $uuid
		menuentry Debian {
			linux /vmlinuz root=UUID=$uuid ro $console
			initrd /initrd.img
		}
	END

	if [ $arch = amd64 ]; then
		# GRUB for BIOS, as grub-install would leave it, which wants a device: modules on
		# the root file system, and the rest in the MBR and the BIOS boot partition.
		pc=$root/boot/grub/i386-pc
		mkdir -p "$pc"
		cp "$root"/usr/lib/grub/i386-pc/*.{mod,lst} "$root/usr/lib/grub/i386-pc/boot.img" "$pc/"
		printf 'search.fs_uuid %s root\nset prefix=($root)/boot/grub\n' "$uuid" >"$pc/load.cfg"
		chroot "$root" grub-mkimage -O i386-pc -p /boot/grub -c /boot/grub/i386-pc/load.cfg \
			-o /boot/grub/i386-pc/core.img biosdisk part_gpt ext2 search_fs_uuid
		cp "$pc/boot.img" "$pc/core.img" "$work/"
	fi

	# The signed loaders look for their file in EFI/debian.
	printf 'search.fs_uuid %s root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n' "$uuid" >"$work/grub.cfg"
	cp "$root/usr/lib/shim/shim$efi.efi.signed" "$work/shim$efi.efi"
	cp "$root/usr/lib/shim/mm$efi.efi.signed" "$work/mm$efi.efi"
	cp "$root/usr/lib/grub/$signed/grub$efi.efi.signed" "$work/grub$efi.efi"

	say "disk: writing the file systems"
	raw=$work/debian.raw mib=$((1024 * 1024))
	truncate -s 2048M "$raw"
	sfdisk -q "$raw" <<-END
		label: gpt
		start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios
		start=2MiB, size=64MiB, type=U, name=esp
		start=66MiB, size=1981MiB, type=L, name=root
	END

	if [ $arch = amd64 ]; then
		# boot.img keeps the partition table, is told where core.img begins (0x5c), and not
		# to believe a BIOS that names another drive (0x66); core.img's first sector is told
		# where the rest begins (0x1f4).
		at=2048
		le64() {
			local n bytes=
			for n in 0 8 16 24 32 40 48 56; do bytes+=$(printf '\\x%02x' $(($1 >> n & 255))); done
			printf '%b' "$bytes"
		}
		put() { dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
		[ "$(stat -c %s "$work/core.img")" -le $mib ] || die "GRUB's core.img does not fit"
		le64 $at | put "$work/boot.img" $((0x5c))
		printf '\x90\x90' | put "$work/boot.img" $((0x66))
		le64 $((at + 1)) | put "$work/core.img" $((0x1f4))
		head -c 440 "$work/boot.img" | put "$raw" 0
		dd if="$work/core.img" of="$raw" bs=512 seek=$at conv=notrunc status=none
	fi

	esp=$raw@@2M
	export MTOOLS_SKIP_CHECK=1
	mformat -i "$esp" -F -T $((64 * 2048)) -h 16 -s 63 -H 4096 -v ESP -N "$volume" ::
	mmd -i "$esp" ::EFI ::EFI/BOOT ::EFI/debian
	mcopy -i "$esp" "$work/shim$efi.efi" "::EFI/BOOT/BOOT${efi^^}.EFI"
	mcopy -i "$esp" "$work/grub$efi.efi" "$work/mm$efi.efi" ::EFI/BOOT/
	mcopy -i "$esp" "$work/shim$efi.efi" "$work/grub$efi.efi" "$work/mm$efi.efi" "$work/grub.cfg" ::EFI/debian/

	# GRUB of Debian 12 reads no file system with these features of newer e2fsprogs.
	quietly mke2fs -q -t ext4 -O '^metadata_csum_seed,^orphan_file' -L root -U "$uuid" -d "$root" \
		-E offset=$((66 * mib)) "$raw" $((1981 * 1024))
	say "disk: packing"
	quietly bash -c 'exec gzip -4 <"$0" >"$1"' "$raw" "$out/debian.raw.gz"
	;;
esac

for file in "${files[@]}"; do [ -s "$out/$file" ] || die "$file was not made"; done
mv -T "$out" "$made"
# One more is kept, for another checkout has its own.
find "$cache" -maxdepth 1 -name "debian-$kind-$release-*" -printf '%T@ %p\n' | sort -rn | tail -n +3 | cut -d ' ' -f 2- |
	xargs -r -d '\n' rm -rf
deliver
