#!/bin/sh
# disk.sh RULE: prints the disk that a rule means, as /dev/NAME; or says why there is none,
# and fails. It reads /sys alone, since an installer's shell has neither lsblk nor awk.
#
# By a rule no disk is taken that is removable (a stick, a BMC's virtual disc), read-only
# or below 8 GB. A path or a name of /dev/disk/by-id is taken as it is.
set -u
rule=${1:-only}
sys=${MUSTER_SYS:-/sys}
dev=${MUSTER_DEV:-/dev}

die() { echo "disk $rule: $*" >&2; exit 1; }
# of FILE DEFAULT: what a file of /sys says, in $v.
of() {
	v=${2:-}
	[ ! -r "$1" ] || read -r v <"$1" || [ -n "$v" ] || v=${2:-}
}

case $rule in
serial: | by-id:) die "it names nothing" ;;
by-id:*) path=$dev/disk/by-id/${rule#by-id:} ;;
/*) path=$rule ;;
*) path= ;;
esac
if [ -n "$path" ]; then
	real=$(readlink -f "$path") && [ -e "$real" ] || die "there is no $path"
	echo "$real"
	exit
fi

# The serial number, in $v, is at another place for NVMe, virtio and SCSI; SCSI's has a
# head of four bytes. Blanks in it mean nothing.
serial() {
	of "$1/device/serial"
	[ -n "$v" ] || of "$1/serial"
	[ -n "$v" ] || [ ! -r "$1/device/vpd_pg80" ] || v=$(tail -c +5 "$1/device/vpd_pg80" | tr -d '\000\n')
	case $v in *' '*) v=$(echo "$v" | tr -d ' ') ;; esac
}

chosen= size= n=0 seen=
for b in "$sys"/block/*; do
	d=${b##*/}
	case $d in
	loop* | ram* | zram* | sr* | fd* | dm-* | md* | nbd* | mtdblock* | mmcblk*boot* | mmcblk*rpmb*) continue ;;
	esac
	of "$b/size" 0
	sectors=$v
	[ "$sectors" -gt 0 ] || continue
	serial "$b"
	serial=$v
	what="$d ($((sectors / 1953125)) GB, serial $serial)"
	of "$b/removable" 0
	[ "$v" = 0 ] || { seen="$seen $what is removable;"; continue; }
	of "$b/ro" 0
	[ "$v" = 0 ] || { seen="$seen $what is read-only;"; continue; }
	[ "$sectors" -ge 15625000 ] || { seen="$seen $what is too small;"; continue; }
	seen="$seen $what;"
	case $rule in
	only) n=$((n + 1)) chosen=$d ;;
	largest) [ -n "$chosen" ] && [ "$sectors" -le "$size" ] || chosen=$d size=$sectors ;;
	smallest) [ -n "$chosen" ] && [ "$sectors" -ge "$size" ] || chosen=$d size=$sectors ;;
	smallest-ssd)
		of "$b/queue/rotational" 1
		[ "$v" = 0 ] || continue
		[ -n "$chosen" ] && [ "$sectors" -ge "$size" ] || chosen=$d size=$sectors
		;;
	serial:*) [ "$serial" != "${rule#serial:}" ] || chosen=$d ;;
	*) die "no such rule: want only, largest, smallest, smallest-ssd, serial:NUMBER, by-id:NAME or a path" ;;
	esac
done
[ "$n" -le 1 ] || die "there are several, name one:$seen"
[ -n "$chosen" ] || die "none fits:${seen:- there is no disk at all}"
echo "$dev/$chosen"
