#!/bin/busybox sh
# The whole system of a lab guest. It gets an address by DHCP, reports to the
# URL in muster.report= that it runs, and says on the console how that went.
# With muster.install=URL it writes what is there to its disk, and reports that.
# With muster.see=FILE it says what that holds.
# With muster.ipv6 it does so by IPv6. With muster.poweroff or muster.reboot on the command line it then does so.
/bin/busybox mkdir -p /proc /sys /dev /tmp /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
set -f   # a URL may hold ? and *

report= end= install= six= see=
for word in $(cat /proc/cmdline); do
	case $word in
	muster.report=*) report=${word#*=} ;;
	muster.install=*) install=${word#*=} ;;
	muster.see=*) see=${word#*=} ;;
	muster.ipv6) six=yes ;;
	muster.poweroff) end=poweroff ;;
	muster.reboot) end=reboot ;;
	esac
done

[ -z "$see" ] || echo "MUSTER-GUEST: $see holds $(cat "$see")"

while read -r module; do insmod "/modules/$module"; done </modules/order

nic=
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	nic=$(ls /sys/class/net | grep -v '^lo$' | head -n 1)
	[ -z "$nic" ] || break
	usleep 200000
done
echo "MUSTER-GUEST: kernel is up, network card: ${nic:-none}"
ifconfig lo 127.0.0.1
[ -z "$nic" ] || {
	ifconfig "$nic" up
}
# By IPv6 it makes an address of its own, as router advertisements say: busybox
# has no DHCPv6 client here.
if [ -n "$six" ]; then
	for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		address=$(ip -6 addr show dev "$nic" scope global 2>/dev/null | grep -v tentative | sed -n 's/.*inet6 \([^ ]*\).*/\1/p' | head -n 1)
		[ -z "$address" ] || break
		sleep 1
	done
	echo "MUSTER-GUEST: address ${address:-none}"
elif [ -n "$nic" ]; then
	udhcpc -i "$nic" -n -q -t 10 -T 1 -s /udhcpc.sh >/dev/null 2>/tmp/udhcpc ||
		{ echo "MUSTER-GUEST: no address by DHCP"; cat /tmp/udhcpc; }
fi

# tell STAGE: reports it, if there is somewhere to.
tell() {
	[ -n "$report" ] || return 0
	case $report in
	*\?*) url="$report&stage=$1" ;;
	*) url="$report?stage=$1" ;;
	esac
	for try in 1 2 3 4 5 6 7 8 9 10; do
		# not wget -T: with it Debian's static busybox 1.35 dies of SIGSEGV
		timeout 5 wget -q -O /tmp/answer "$url" 2>/tmp/wget && return
		sleep 1
	done
	cat /tmp/wget
	return 1
}

if tell running; then
	echo "MUSTER-GUEST: running"
else
	echo "MUSTER-GUEST: report failed"
fi
if [ -n "$install" ]; then
	if wget -q -O /dev/vda "$install" && sync; then
		echo "MUSTER-GUEST: disk written"
		tell installed
	else
		echo "MUSTER-GUEST: no disk written"
		tell failed
	fi
fi

[ -z "$end" ] || $end -f
while :; do sleep 3600; done
