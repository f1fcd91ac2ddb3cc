#!/bin/sh
# What an idle lab holds in memory: fresh, and after many pods came and went. Prints the PSS (each
# page shared by n processes counts one nth) of every component, how much of it is no file's, and
# the sum.
# Usage: lab/idle-memory.sh [PODS] [SECONDS] (250 pods; 600 seconds of idling before the last look)
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/program.sh"
pods=${1:-250}
idle_s=${2:-600}
data=$(mktemp -d)
export KUBECONFIG="$data/kubeconfig"
finish() {
  "$coracle" down --data-dir "$data" >/dev/null 2>&1 || true
  rm -rf "$data"
}
trap finish EXIT
trap 'exit 130' INT TERM

# The process on the host and all that descend from it.
processes() {
  host=$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' "$data/state.json" | head -n 1)
  cat /proc/[0-9]*/stat 2>/dev/null | sed 's/ (.*) / x /' | awk -v host="$host" '
    { parent[$1] = $4 }
    END {
      for (p in parent) {
        q = p
        while (q != host && q in parent) q = parent[q]
        if (q == host) print p
      }
    }'
}

look() {
  echo "$1"
  for pid in $(processes); do
    sizes=$(awk '/^Pss:/ { pss = $2 } /^Pss_Anon:/ { anonymous = $2 } END { if (pss) print pss, anonymous }' \
      "/proc/$pid/smaps_rollup" 2>/dev/null) || continue
    [ -n "$sizes" ] && echo "$sizes $(cat "/proc/$pid/comm")"
  done | awk '
    function line(pss, anonymous, name) {
      printf "  %8.1f MB (%.1f)  %s\n", pss / 1024, anonymous / 1024, name
    }
    { pss[$3] += $1; anonymous[$3] += $2; count[$3]++; all += $1; all_anonymous += $2 }
    END {
      for (name in pss) line(pss[name], anonymous[name], name " x" count[name])
      line(all, all_anonymous, "all")
    }' | sort -rn
}

"$coracle" up --data-dir "$data" --detach >/dev/null
sleep 10
look "fresh"
$kubectl create deployment many --image=coracle.local/demo --replicas="$pods" >/dev/null
$kubectl rollout status deployment/many --timeout=600s >/dev/null
look "with $pods pods"
$kubectl delete deployment many >/dev/null
while [ -n "$($kubectl get pods -l app=many -o name)" ]; do sleep 1; done
look "just after they went"
sleep "$idle_s"
look "after $idle_s s of idling"
