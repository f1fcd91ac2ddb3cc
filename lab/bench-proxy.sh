#!/usr/bin/env bash
# Measures Coracle's proxy agent, and beside it in the same run any stock kube-proxy, against
# Coracle's own API server with hand-written Services, in namespaces of their own. Never touches the
# machine's network: all that it makes is inside, and goes with the script, however it ends.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: lab/bench-proxy.sh [--kube-proxy PATH]... [--services N]... [--mode MODE]... [--changes N]

For each number of Services of 5 endpoints, each mode and each proxy:

  load      from the start of the program to the last change of the kernel's rules before every
            Service answers
  change    from the writing of one endpoint's change to the API to the first connection that the
            new endpoint answers; the median of some
  memory    resident, after the load and the changes; what programs it runs (`nft`,
            `iptables-restore`) need comes on top and is not counted
  CPU       of the proxy and the programs it ran, up to the end of the load, and for each change; the
            kernel counts in ticks, of 10 ms mostly

with ratios to Coracle's. Both are told nothing but their mode, the node and the pods' network.

  --kube-proxy PATH  a stock kube-proxy to measure, too; may be repeated
  --services N       how many Services: 1000 by default; may be repeated
  --mode MODE        nftables, iptables: both by default; may be repeated
  --changes N        changes of one endpoint: 10 by default, 2 s apart

Needs `coracle` and `probe` as `cargo build --release --workspace --bins` makes them (or CORACLE and
CORACLE_PROBE), openssl, curl, ip, unshare, awk, and for the proxies nft and iptables of the kind
`nf_tables`. As root, or as a user who may make user namespaces.

  lab/bench-proxy.sh
  lab/bench-proxy.sh --kube-proxy ~/bin/kube-proxy --services 1000 --services 10000
EOF
}

die() { echo "$*" >&2; exit 1; }

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
all=("$@") peers=() sizes=() modes=() changes=10
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --kube-proxy | --services | --mode | --changes)
      [ $# -ge 2 ] || die "$1 wants a value: see --help"
      case $1 in
        --kube-proxy) command -v "$2" >/dev/null || die "$2 is no program: give the path of a kube-proxy"; peers+=("$2") ;;
        --services) [[ $2 =~ ^[0-9]{1,5}$ ]] && [ "$2" -ge 1 ] && [ "$2" -le 50000 ] || die "--services wants 1 to 50000"; sizes+=("$2") ;;
        --mode) [[ $2 =~ ^(nftables|iptables)$ ]] || die "--mode wants nftables or iptables: others write no rules to watch for"; modes+=("$2") ;;
        --changes) [[ $2 =~ ^[0-9]{1,3}$ ]] && [ "$2" -ge 1 ] || die "--changes wants 1 to 999"; changes=$2 ;;
      esac
      shift 2 ;;
    *) die "unknown argument $1: see --help" ;;
  esac
done
[ ${#sizes[@]} -gt 0 ] || sizes=(1000)
[ ${#modes[@]} -gt 0 ] || modes=(nftables iptables)

for tool in openssl curl ip unshare awk nft; do
  command -v "$tool" >/dev/null || die "$tool is missing: install it (Debian: openssl, curl, iproute2, util-linux, nftables)"
done
# program NAME GIVEN: the release build first; others would measure the compiler.
program() {
  local candidate
  for candidate in "$2" "$here"/../target/{,x86_64-unknown-linux-gnu/}release/"$1"; do
    if [ -n "$candidate" ] && [ -x "$candidate" ]; then echo "$candidate"; return; fi
  done
  die "build it first: cargo build --release --workspace --bins (no $1 below target/release)"
}
coracle=$(program coracle "${CORACLE:-}") || exit 1
probe=$(program probe "${CORACLE_PROBE:-}") || exit 1

# Once more inside: a pid namespace whose end is the end of all that it started.
if [ -z "${CORACLE_INSIDE:-}" ]; then
  work=$(mktemp -d)
  trap 'rm -rf -- "$work"' EXIT
  user=()
  [ "$(id -u)" = 0 ] || user=(--user --map-root-user)
  status=0
  CORACLE_INSIDE=$work unshare "${user[@]}" --net --mount --pid --fork --kill-child --mount-proc \
    bash "$here/bench-proxy.sh" "${all[@]}" || status=$?
  exit "$status"
fi
work=$CORACLE_INSIDE

node=192.168.79.1
first=10.96.8.1 # Of the Services that are measured; those before are the API server's own.
port=80

network() {
  ip link set lo up
  ip link add lan0 type bridge
  ip address add "$node/24" dev lan0
  # Endpoints .11 to .15 of every Service, and .16 that comes instead of one.
  for host in 11 12 13 14 15 16; do ip address add "192.168.79.$host/24" dev lan0; done
  ip link set lan0 up
  # What has no rules yet is refused at once: the address is the node's own.
  ip route add local 10.96.0.0/16 dev lo src "$node"
  mount -t tmpfs none /run # iptables' lock.
}

certificates() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca \
    -keyout "$work/ca.key" -out "$work/ca.crt" 2>/dev/null
  certificate server /CN=apiserver subjectAltName=IP:127.0.0.1
  certificate client /O=system:masters/CN=bench extendedKeyUsage=clientAuth
  cat >"$work/kubeconfig" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: bench, cluster: {server: "https://127.0.0.1:6443", certificate-authority: $work/ca.crt}}]
users: [{name: user, user: {client-certificate: $work/client.crt, client-key: $work/client.key}}]
contexts: [{name: bench, context: {cluster: bench, user: user}}]
current-context: bench
EOF
}

# certificate NAME SUBJECT EXTENSION
certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" \
    -keyout "$work/$1.key" -out "$work/$1.csr" 2>/dev/null
  openssl x509 -req -in "$work/$1.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 2 \
    -extfile <(echo "$3") -out "$work/$1.crt" 2>/dev/null
}

# api_server SIZE: a new one; its pid is in `server`.
api_server() {
  "$coracle" apiserver --data-dir "$work/store-$1" --bind-address 127.0.0.1 --advertise-address "$node" \
    --tls-cert-file "$work/server.crt" --tls-private-key-file "$work/server.key" \
    --client-ca-file "$work/ca.crt" >"$work/apiserver.log" 2>&1 &
  server=$!
  local end=$((SECONDS + 30))
  until curl --silent --fail --cacert "$work/ca.crt" https://127.0.0.1:6443/readyz >/dev/null; do
    [ "$SECONDS" -lt "$end" ] || { tail -n 5 "$work/apiserver.log" >&2; die "the API server does not come up"; }
    sleep 0.05
  done
}

# As curl's configuration: a POST each.
posts() {
  awk -v count="$1" -v first="$first" -v port="$port" -v ca="$work/ca.crt" -v cert="$work/client.crt" \
    -v key="$work/client.key" '
    function post(path, body) {
      gsub(/"/, "\\\"", body)
      printf "next\nurl=https://127.0.0.1:6443%s\nrequest=POST\nheader=\"Content-Type: application/json\"\n", path
      printf "output=/dev/null\nsilent\nfail\nshow-error\ncacert=\"%s\"\ncert=\"%s\"\nkey=\"%s\"\ndata=\"%s\"\n", ca, cert, key, body
    }
    BEGIN {
      post("/api/v1/nodes", "{\"metadata\":{\"name\":\"bench\"},\"status\":{\"addresses\":[{\"type\":\"InternalIP\",\"address\":\"192.168.79.1\"}]}}")
      split(first, part, ".")
      for (i = 0; i < count; i++) {
        n = part[3] * 256 + part[4] + i
        address = sprintf("10.96.%d.%d", n / 256, n % 256)
        post("/api/v1/namespaces/default/services", sprintf("{\"metadata\":{\"name\":\"s%d\"},\"spec\":{\"clusterIP\":\"%s\",\"ports\":[{\"port\":%d,\"targetPort\":8080}]}}", i, address, port))
        list = ""
        for (e = 11; e <= 15; e++)
          list = list sprintf("%s{\"addresses\":[\"192.168.79.%d\"],\"conditions\":{\"ready\":true}}", list ? "," : "", e)
        post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", sprintf("{\"metadata\":{\"name\":\"s%d-1\",\"labels\":{\"kubernetes.io/service-name\":\"s%d\"}},\"addressType\":\"IPv4\",\"ports\":[{\"name\":\"\",\"port\":8080,\"protocol\":\"TCP\"}],\"endpoints\":[%s]}", i, i, list))
      }
    }'
}

objects() {
  curl --parallel --parallel-max 16 --no-progress-meter --config "$work/posts" >"$work/curl.log" 2>&1 ||
    { tail -n 5 "$work/curl.log" >&2; die "the API server did not take all objects"; }
}

# One connection that stays: no program has to start between the clock and the write.
open_writer() {
  coproc WRITER { openssl s_client -quiet -connect 127.0.0.1:6443 -CAfile "$work/ca.crt" \
    -cert "$work/client.crt" -key "$work/client.key" 2>/dev/null; }
  exec {answers}<&"${WRITER[0]}"
}

# patch_endpoint NAME ADDRESS: the slice's last endpoint. The time of the write is in `written`.
patch_endpoint() {
  local body="[{\"op\":\"replace\",\"path\":\"/endpoints/4/addresses/0\",\"value\":\"$2\"}]"
  written=${EPOCHREALTIME/./}
  printf 'PATCH /apis/discovery.k8s.io/v1/namespaces/default/endpointslices/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json-patch+json\r\nContent-Length: %d\r\n\r\n%s' \
    "$1" "${#body}" "$body" >&"${WRITER[1]}"
  local line
  IFS= read -r -t 10 line <&"$answers" || die "the API server did not answer a change"
  case $line in HTTP/1.1\ 200*) ;; *) die "the API server refused a change: $line" ;; esac
  # The rest of this answer must not be the next one's first line.
  while IFS= read -r -t 0.3 line <&"$answers"; do :; done
}

# cpu_ms PID: its own and of the programs that it ran.
cpu_ms() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13 + $14 + $15) * 1000 / hz }' "/proc/$1/stat"; }
resident_mb() { awk '/^VmRSS/ { printf "%.0f", $2 / 1024 }' "/proc/$1/status"; }
median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# settle PID: until the rounds after the load are over, that is, it has used no second tick in 3 s.
settle() {
  local then='' now
  now=$(cpu_ms "$1")
  while [ -z "$then" ] || [ $((now - then)) -gt 10 ]; do
    then=$now
    sleep 3
    now=$(cpu_ms "$1")
  done
}

# measure SIZE COMMAND...: sets load_ms, change_us, memory_mb, load_cpu_ms, change_cpu_ms.
measure() {
  local size=$1 patience=$((60 + $1 / 20)) started at proxy before endpoint name=s$(($1 / 2)) service
  shift
  nft flush ruleset
  "$probe" all-answer "$first" "$size" "$port" "$patience" >"$work/loaded" 2>"$work/probe.log" &
  local waiting=$!
  started=${EPOCHREALTIME/./}
  "$@" >"$work/proxy.log" 2>&1 &
  proxy=$!
  if ! wait "$waiting"; then
    cat "$work/probe.log" >&2
    tail -n 5 "$work/proxy.log" >&2
    die "not all Services were programmed in ${patience} s by: $*"
  fi
  load_cpu_ms=$(cpu_ms "$proxy")
  at=$(<"$work/loaded")
  load_ms=$(((at - started) / 1000))
  local number=$((8 * 256 + 1 + size / 2))
  service=10.96.$((number / 256)).$((number % 256)):$port
  settle "$proxy"
  before=$(cpu_ms "$proxy")
  : >"$work/changes"
  for ((change = 0; change < changes; change++)); do
    endpoint=192.168.79.$((change % 2 == 0 ? 16 : 15))
    "$probe" reached "$service" "$endpoint" 60 >"$work/reached" 2>"$work/probe.log" &
    waiting=$!
    sleep 0.2 # Until it looks.
    patch_endpoint "$name-1" "$endpoint"
    wait "$waiting" || { cat "$work/probe.log" >&2; die "a change never came to the kernel"; }
    echo $((($(<"$work/reached") - written))) >>"$work/changes"
    sleep 2
  done
  change_us=$(median <"$work/changes")
  change_cpu_ms=$(awk -v a="$before" -v b="$(cpu_ms "$proxy")" -v n="$changes" 'BEGIN { printf "%.1f", (b - a) / n }')
  memory_mb=$(resident_mb "$proxy")
  [ "$endpoint" = 192.168.79.15 ] || patch_endpoint "$name-1" 192.168.79.15
  kill "$proxy"
  wait "$proxy" || true
}

row() { printf '%-9s %-9s %-28s %10s %10s %9s %12s %12s\n' "$@"; }
# report SIZE MODE NAME: and the ratio to Coracle's, which came first.
report() {
  row "$1" "$2" "$3" "$load_ms ms" "$(awk -v v="$change_us" 'BEGIN { printf "%.1f ms", v / 1000 }')" \
    "$memory_mb MB" "$load_cpu_ms ms" "$change_cpu_ms ms"
  if [ "$3" = coracle ]; then
    ours=("$load_ms" "$change_us" "$memory_mb" "$load_cpu_ms" "$change_cpu_ms")
    return
  fi
  local theirs=("$load_ms" "$change_us" "$memory_mb" "$load_cpu_ms" "$change_cpu_ms") ratios=() i
  for i in 0 1 2 3 4; do
    ratios+=("$(awk -v a="${theirs[i]}" -v b="${ours[i]}" 'BEGIN { if (b > 0) printf "%.1f x", a / b; else print "-" }')")
  done
  row '' '' '' "${ratios[@]}"
}

options=(--kubeconfig "$work/kubeconfig" --hostname-override bench --cluster-cidr 10.244.0.0/16)
# A user namespace may not set these limits of the whole machine.
stock_options=(--conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0)

network
certificates
"$probe" serve-own-address 8080 </dev/null &
echo "coracle: $("$coracle" --version)"
for peer in "${peers[@]}"; do echo "$peer: $("$peer" --version)"; done
echo "$(nft --version | cut -d'(' -f1), $(iptables --version), kernel $(uname -r), $(nproc) processors"
echo
row Services mode proxy load change memory 'CPU, load' 'CPU, change'
for size in "${sizes[@]}"; do
  posts "$size" >"$work/posts"
  api_server "$size"
  objects
  open_writer
  for mode in "${modes[@]}"; do
    measure "$size" "$coracle" proxy-agent "${options[@]}" --proxy-mode "$mode"
    report "$size" "$mode" coracle
    for peer in "${peers[@]}"; do
      measure "$size" "$peer" "${options[@]}" "${stock_options[@]}" --proxy-mode "$mode"
      report "$size" "$mode" "$("$peer" --version | tr ' ' -)"
    done
  done
  kill "$server"
  exec {answers}<&-
  kill "$WRITER_PID" 2>/dev/null || true
  wait "$server" || true
done
