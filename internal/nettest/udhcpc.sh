#!/bin/busybox sh
# What udhcpc has a lab guest do with the address it was leased.
case $1 in
bound|renew)
	ifconfig "$interface" "$ip" netmask "${subnet:-255.255.255.0}"
	for gateway in $router; do
		route add default gw "$gateway" dev "$interface"
		break
	done
	: >/etc/resolv.conf
	for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
	[ -z "$hostname" ] || hostname "$hostname"
	echo "MUSTER-GUEST: address $ip${hostname:+, name $hostname}" >/dev/console
	;;
esac
