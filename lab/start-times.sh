#!/bin/sh
# How long `coracle up` takes until nodes are Ready and DNS answers, each time with a new lab.
# Usage: lab/start-times.sh [STARTS] (20). Prints each start's steps, then all times in order.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/program.sh"
starts=${1:-20}
data=$(mktemp -d)
finish() {
  "$coracle" down --data-dir "$data/lab" >/dev/null 2>&1 || true
  rm -rf "$data"
}
trap finish EXIT
trap 'exit 130' INT TERM

number=0
while [ "$number" -lt "$starts" ]; do
  number=$((number + 1))
  echo "start $number"
  "$coracle" up --data-dir "$data/lab" --detach >"$data/said"
  sed -n '/^ *[0-9.]* s  /p' "$data/said" | tee "$data/steps"
  tail -n 1 "$data/steps" | awk '{ print $1 }' >>"$data/times"
  "$coracle" down --data-dir "$data/lab" >/dev/null
  rm -rf "$data/lab"
done
sort -n "$data/times" | tr '\n' ' '
echo "s"
sort -n "$data/times" | awk '{ all[NR] = $1 } END { printf "the slowest takes %.2f times the quickest\n", all[NR] / all[1] }'
