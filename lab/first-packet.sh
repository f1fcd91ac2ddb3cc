#!/bin/sh
# From nothing to the first answer of a Service: starts a lab, applies three replicas with
# a Service, and asks the cluster IP until it answers. Prints the time of each phase.
# The lab is new and is gone afterwards. Needs: kubectl (or CORACLE_KUBECTL), curl.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/program.sh"
command -v curl >/dev/null || { echo "this script asks with curl: install it" >&2; exit 1; }

data=$(mktemp -d)
export KUBECONFIG="$data/kubeconfig"
finish() {
  "$coracle" down --data-dir "$data" >/dev/null || true
  rm -rf "$data"
}
trap finish EXIT
trap 'exit 130' INT TERM

now_ms() { echo $(($(date +%s%N) / 1000000)); }
start=$(now_ms)
last=$start
phase() {
  at=$(now_ms)
  printf '%-44s %6d ms   (%d ms since the start)\n' "$1" $((at - last)) $((at - start))
  last=$at
}

"$coracle" up --data-dir "$data" --detach >/dev/null
phase "up: nodes Ready, DNS answering"

$kubectl apply -f "$here/manifests/web.yaml" >/dev/null
phase "apply: accepted"

ip=$($kubectl get service web -o 'jsonpath={.spec.clusterIP}')
answer=$("$coracle" exec --data-dir "$data" worker-1 -- sh -c '
  until curl --silent --fail --max-time 1 "http://$1/hostname.html"; do sleep 0.01; done' ask "$ip")
phase "first answer through $ip: $answer"

$kubectl rollout status deployment/web >/dev/null
phase "all three replicas available"
