#!/bin/bash
# Prints the path of a Go that is new enough.
#
#   go.sh MINIMUM INSTALL [GO]
#
# Under sudo Go is often not in PATH, so the usual places are searched too, unless
# it is said which GO is meant. If there is none, it says which commands install
# version INSTALL, and fails.
set -euo pipefail

min=$1 install=$2 given=${3:-}

home=
if [ -n "${SUDO_USER:-}" ]; then home=$(getent passwd "$SUDO_USER" | cut -d: -f6) || home=; fi

places=("$(command -v go || true)" /usr/local/go/bin/go "${home:-${HOME:-/root}}/go/bin/go" /usr/lib/go-*/bin/go)
if [ -n "$given" ]; then places=("$(command -v "$given" || true)"); fi

found=
for go in "${places[@]}"; do
	[ -x "$go" ] || continue
	version=$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null | sed 's/^go//') || continue
	if [ "$(printf '%s\n' "$min" "$version" | sort -V | head -n 1)" = "$min" ]; then
		echo "$go"
		exit 0
	fi
	found+=" $go is $version;"
done

case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) arch=$(uname -m) ;;
esac
file=go$install.linux-$arch.tar.gz
if [ -n "$found" ]; then
	echo "Go is too old:$found Muster wants $min or newer. Install it:"
else
	echo "Go is missing; Muster wants $min or newer. Install it:"
fi >&2
cat >&2 <<END

    sudo apt-get install -y curl
    curl -fLO https://go.dev/dl/$file
    sudo sh -c 'rm -rf /usr/local/go && tar -C /usr/local -xzf $file'

and run this again: /usr/local/go needs no change of PATH.
END
exit 1
