#!/bin/bash
# Runs a command that may take minutes, and says every half minute that it does.
#
#   patient.sh WHAT COMMAND [ARGUMENT]...
set -euo pipefail

what=$1
shift

# read waits instead of sleep: a sleep would outlive the loop, and with it hold
# open what this writes to.
exec {never}<> <(:)
while ! read -rt 30 -u "$never" && kill -0 $$ 2>/dev/null; do echo "... $what: $SECONDS s" >&2; done &
trap 'kill $!' EXIT
"$@"
