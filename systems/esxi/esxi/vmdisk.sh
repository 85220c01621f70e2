#!/bin/sh
# vmdisk.sh RULE: prints the device that a rule means, as ESXi calls it; or says why there is
# none, and fails. A removable device and one below 32 GB, which ESXi does not install to,
# are never taken by a rule.
rule=${1:-only}
devices=${MUSTER_DEVICES:-/vmfs/devices/disks}
die() { echo "disk $rule: $*" >&2; exit 1; }
case $rule in
by-id:* | /*)
	name=${rule#by-id:}
	name=${name##*/}
	[ -e "$devices/$name" ] || die "there is no $name"
	echo "$name"
	exit
	;;
esac
chosen= size= n=0 seen=
for p in "$devices"/*; do
	d=${p##*/}
	case $d in
	vml.* | '*' | mpx.*:*:*:*:*) continue ;; # a second name, a partition
	mpx.*) ;;                                 # mpx.vmhba0:C0:T0:L0 is a disk
	*:*) continue ;;
	esac
	about=$(localcli storage core device list -d "$d" 2>/dev/null)
	mb=$(echo "$about" | sed -n 's/^ *Size: *//p')
	seen="$seen $d ($((${mb:-0} / 954)) GB);"
	case $about in *"Is Removable: true"* | *"Is USB: true"*) continue ;; esac
	[ "${mb:-0}" -ge 30518 ] || continue
	case $rule in
	only) n=$((n + 1)) chosen=$d ;;
	largest) [ -n "$chosen" ] && [ "$mb" -le "$size" ] || chosen=$d size=$mb ;;
	smallest) [ -n "$chosen" ] && [ "$mb" -ge "$size" ] || chosen=$d size=$mb ;;
	smallest-ssd)
		case $about in *"Is SSD: true"*) ;; *) continue ;; esac
		[ -n "$chosen" ] && [ "$mb" -ge "$size" ] || chosen=$d size=$mb
		;;
	serial:?*)
		s=${rule#serial:}
		case $d in "$s" | *[!A-Za-z0-9]"$s" | *[!A-Za-z0-9]"$s"[!A-Za-z0-9]*) chosen=$d n=$((n + 1)) ;; esac
		;;
	*) die "no such rule: want only, largest, smallest, smallest-ssd, serial:NUMBER, by-id:NAME" ;;
	esac
done
[ "$n" -le 1 ] || die "there are several, name one:$seen"
[ -n "$chosen" ] || die "none fits:${seen:- there is no disk at all}"
echo "$chosen"
