#!/bin/bash
# Does what README tells a newcomer to do, on minimal systems made from nothing:
# Debian, sudo, git, make, CA certificates, and Go as go.dev installs it. HEAD is
# cloned, a user with sudo runs the commands. From the environment:
#
#   FRESH_RELEASES   the releases of Debian (default: bookworm trixie)
#   FRESH_COMMANDS   the targets of make (default: demo install test)
#   FRESH_CACHE      where the systems are made (default: /var/cache/muster-fresh)
#   GO               the Go whose tree is copied (default: go)
#
# Each system has its own mounts, processes and host name, and shares the network,
# for packages; it is removed at the end, also of an interrupted run. Only downloaded
# packages of Debian are kept for the next run, and the logs.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

self=$(realpath "$0")
read -ra releases <<<"${FRESH_RELEASES:-bookworm trixie}"
read -ra commands <<<"${FRESH_COMMANDS:-demo install test}"
cache=${FRESH_CACHE:-/var/cache/muster-fresh}
user=newcomer

say() { echo "fresh.sh: $*"; }
die() { echo "fresh.sh: $*" >&2; exit 1; }

# ---- inside: process 1 of a system ------------------------------------------

# inside ROOT RELEASE: makes ROOT the root of this mount namespace, as if it had
# booted, and runs the commands.
inside() {
	local root=$1 release=$2 node name major minor
	hostname "fresh-$release"
	mount --bind "$root" "$root"
	mount -t proc proc "$root/proc"
	mount -t sysfs sysfs "$root/sys"
	mount -t tmpfs -o mode=755 tmpfs "$root/run"
	mount -t tmpfs -o mode=755 tmpfs "$root/dev"
	mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/net" "$root/run/lock"
	mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$root/dev/pts"
	mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
	for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 net/tun:10:200; do
		IFS=: read -r name major minor <<<"$node"
		mknod -m 666 "$root/dev/$name" c "$major" "$minor"
	done
	ln -s pts/ptmx "$root/dev/ptmx"
	ln -s /proc/self/fd "$root/dev/fd"
	ln -s fd/0 "$root/dev/stdin"
	ln -s fd/1 "$root/dev/stdout"
	ln -s fd/2 "$root/dev/stderr"
	mkdir -p "$root/var/cache/apt/archives"
	mount --bind "$cache/debs-$release" "$root/var/cache/apt/archives"
	cd "$root"
	mkdir .old
	pivot_root . .old
	cd /
	umount -l .old
	rmdir .old
	exec </dev/null
	local command failed=0
	for command in "${commands[@]}"; do
		run "$release" "sudo make $command" || failed=1
		left || failed=1
		case $command in
		demo) # what root has left behind would stop this
			run "$release" "make build deb" || failed=1 ;;
		install) # README's next command, but for an interface to serve
			run "$release" "sudo muster version" || failed=1 ;;
		esac
	done
	exit $failed
}

# run RELEASE COMMAND: as the user would, at a login.
run() {
	local began=$SECONDS result=passed
	say "$1: $2"
	su - "$user" -c "cd muster && $2" || result=FAILED
	say "$1: $2: $result after $((SECONDS - began)) s"
	[ $result = passed ]
}

# left tells what the user cannot change in their home any more.
left() {
	local files
	files=$(find "/home/$user" -user root)
	[ -n "$files" ] || return 0
	say "root owns in the user's home:"
	echo "$files"
	return 1
}

if [ "${1:-}" = inside ]; then
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
	inside "$2" "$3"
fi

# ---- outside ----------------------------------------------------------------

{ # The shell reads all of this at once, for somebody may edit it meanwhile.
[ "$(id -u)" = 0 ] || die "run as root: it makes systems in $cache"
top=$(git -C "$(dirname "$self")" rev-parse --show-toplevel)
go=$(command -v "${GO:-go}") || die "no Go: set GO to its path"
goroot=$(GOTOOLCHAIN=local "$go" env GOROOT)
cd /

mkdir -p "$cache"
exec 9>"$cache/.lock"
flock -n 9 || die "another fresh.sh is at work in $cache"

# Nothing in here is mounted outside of the systems' own namespaces, which end
# with their first process.
clean() { rm -rf --one-file-system "$cache"/root-*; }
# apart COMMAND...: with mounts, processes and a host name of its own, which end with
# it, and it with this script.
child=
apart() {
	local code=0
	setpriv --pdeathsig KILL unshare --mount --mount-proc --pid --fork --kill-child=KILL --uts --ipc "$@" 9>&- &
	child=$!
	wait "$child" || code=$?
	child=
	return $code
}

trap 'if [ -n "$child" ]; then kill -KILL "$child" 2>/dev/null || true; wait "$child" 2>/dev/null || true; fi
	kill "$ticker" 2>/dev/null || true; clean' EXIT
trap 'exit 130' INT TERM HUP
# A line a minute, whatever else is said. No sleep: it would outlive the loop.
exec {never}<> <(:)
while ! read -rt 50 -u "$never" && kill -0 $$ 2>/dev/null; do say "$((SECONDS / 60)) min $((SECONDS % 60)) s"; done 9>&- &
ticker=$!
clean

if ! command -v debootstrap >/dev/null; then
	say "installing debootstrap"
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
fi

# This machine's Debian sources, its way to them and its CAs serve all releases.
here=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
sources=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' \
	'Identifier: Packages' 'Origin: Debian' | sort -u)
mirror=$(awk -v r="$here" '$2 == r && $3 == "main" { print $1; exit }' <<<"$sources")
[ -n "$mirror" ] || die "no source of Debian's packages is set up on this machine, or apt-get update was never run"

# make_system ROOT RELEASE
make_system() {
	local root=$1 release=$2 debs=$cache/debs-$2 name
	say "$release: making a minimal system"
	mkdir -p "$debs/partial"
	apart debootstrap --variant=minbase --include=sudo,git,make,ca-certificates --cache-dir="$debs" \
		"$release" "$root" "$mirror" >"$cache/$release-bootstrap.log" 2>&1 ||
		{ tail -n 20 "$cache/$release-bootstrap.log" "$root/debootstrap/debootstrap.log" >&2; die "debootstrap failed"; }
	sed -e 's|^|deb |' -e "s/ $here/ $release/" <<<"$sources" >"$root/etc/apt/sources.list"
	apt-config dump | grep -E '^Acquire::(https?::[Pp]roxy|Check-)' >"$root/etc/apt/apt.conf.d/00machine" || true
	cp -L /etc/resolv.conf "$root/etc/resolv.conf"
	{ cat /etc/hosts; echo "127.0.1.1 fresh-$release"; } >"$root/etc/hosts"
	if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
		cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
		chroot "$root" update-ca-certificates >/dev/null 2>&1
	fi

	cp -a "$goroot" "$root/usr/local/go"
	chown -R 0:0 "$root/usr/local/go"
	# How this machine reaches Go's modules. GOFLAGS may say so too, but not that Go
	# need not look at the checkout: a newcomer's does.
	for name in GOPROXY GOSUMDB GONOSUMDB GONOPROXY GOPRIVATE GOINSECURE GOFLAGS; do
		sed -i "/^$name=/d" "$root/usr/local/go/go.env"
		echo "$name=$("$go" env "$name" | sed 's/-buildvcs=[a-z]*//')" >>"$root/usr/local/go/go.env"
	done

	chroot "$root" useradd --create-home --shell /bin/bash "$user"
	echo "$user ALL=(ALL:ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/$user"
	chmod 440 "$root/etc/sudoers.d/$user"
	echo 'export PATH=$PATH:/usr/local/go/bin' >>"$root/home/$user/.profile"   # as go.dev says
	git clone -q --no-hardlinks "$top" "$root/home/$user/muster"
	chroot "$root" chown -R "$user:" "/home/$user"
}

[ -z "$(git -C "$top" status --porcelain)" ] || say "what is not committed is not tried"
results=()
failed=0
for release in "${releases[@]}"; do
	root=$cache/root-$release
	make_system "$root" "$release"
	log=$cache/$release.log
	say "$release: ${commands[*]}; the log is $log"
	exec {out}> >(tee "$log" 9>&-)
	tee=$!
	result=passed
	apart "$self" inside "$root" "$release" >&"$out" 2>&1 || { result=FAILED; failed=1; }
	exec {out}>&-
	wait "$tee"
	mapfile -t lines < <(grep -E '^fresh.sh: .* (passed|FAILED) after ' "$log")
	results+=("${lines[@]}" "fresh.sh: $release: $result")
	clean
done
printf '%s\n' "${results[@]}"
exit $failed
}
