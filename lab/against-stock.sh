#!/usr/bin/env bash
# Runs Coracle's proxy agent and DNS server against a stock kube-apiserver, with RBAC and
# upstream's own roles, in namespaces of their own. Never touches the machine's network: all
# processes, addresses, rules and mounts are inside, and go with the script, however it ends.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: lab/against-stock.sh --kube-apiserver PATH [--etcd PATH] [--mode MODE] [--keep DIR]

Starts etcd and a stock kube-apiserver (authorization by RBAC), and against it Coracle's
`proxy-agent` and `cluster-dns`: once with kubeconfigs, once with the service accounts of a pod.
Looks at what the kernel does and at what DNS answers while Services and EndpointSlices are made,
changed and deleted by a stock kubectl, over a restart of the API server too, and whether any of
their requests was refused. Says `ok` or what is wrong, a line each; 1 if anything is.

  --kube-apiserver PATH  the stock API server (tried with 1.36)
  --etcd PATH            the store for it; `etcd` of the PATH by default
  --mode MODE            the proxy's mode: nftables (default), iptables, userspace
  --keep DIR             leave logs, the audit log and the kubeconfigs in this new directory

Needs kubectl (or CORACLE_KUBECTL), openssl, curl, dig, ip, unshare; and `coracle`, built by
`cargo build --release` or named by CORACLE. Runs as root, or as a user who may make user namespaces.

  lab/against-stock.sh --kube-apiserver ~/bin/kube-apiserver
  lab/against-stock.sh --kube-apiserver ~/bin/kube-apiserver --etcd ~/bin/etcd --keep /tmp/stock-logs
EOF
}

die() { echo "$*" >&2; exit 1; }

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
apiserver='' etcd=etcd mode=nftables keep=''
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --kube-apiserver | --etcd | --mode | --keep)
      [ $# -ge 2 ] || die "$1 wants a value: see --help"
      case $1 in
        --kube-apiserver) apiserver=$2 ;;
        --etcd) etcd=$2 ;;
        --mode) mode=$2 ;;
        --keep) keep=$2 ;;
      esac
      shift 2 ;;
    *) die "unknown argument $1: see --help" ;;
  esac
done

[ -n "$apiserver" ] || die "say where the stock API server is: --kube-apiserver PATH"
command -v "$apiserver" >/dev/null || die "$apiserver is no program: give the path of a kube-apiserver"
command -v "$etcd" >/dev/null || die "$etcd is no program: install etcd-server or give its path with --etcd"
kubectl=${CORACLE_KUBECTL:-kubectl}
for tool in "$kubectl" openssl curl dig ip unshare; do
  command -v "$tool" >/dev/null || die "$tool is missing: install it (Debian: openssl, curl, dnsutils, iproute2, util-linux)"
done
coracle=${CORACLE:-}
for candidate in "$here"/../target/{,x86_64-unknown-linux-gnu/}{release,debug}/coracle; do
  [ -n "$coracle" ] || [ ! -x "$candidate" ] || coracle=$candidate
done
[ -n "$coracle" ] || die "build it first: cargo build --release (or name the program with CORACLE)"

# Once more inside: a pid namespace whose end is the end of all that it started.
if [ -z "${CORACLE_INSIDE:-}" ]; then
  if [ -n "$keep" ]; then
    mkdir -- "$keep" || die "--keep wants a directory that is not there yet"
    work=$(cd -- "$keep" && pwd)
  else
    work=$(mktemp -d)
    trap 'rm -rf -- "$work"' EXIT
  fi
  user=()
  [ "$(id -u)" = 0 ] || user=(--user --map-root-user)
  status=0
  CORACLE_INSIDE=$work unshare "${user[@]}" --net --mount --pid --fork --kill-child --mount-proc \
    bash "$here/against-stock.sh" --kube-apiserver "$apiserver" --etcd "$etcd" --mode "$mode" || status=$?
  exit "$status"
fi
work=$CORACLE_INSIDE
cd -- "$work"

# --- What it runs on ---------------------------------------------------------------------------

node=192.168.79.1
service_network=10.96.0.0/16
token_dir=/var/run/secrets/kubernetes.io/serviceaccount

network() {
  ip link set lo up
  ip link add lan0 type bridge
  ip address add "$node/24" dev lan0
  ip link set lan0 up
  # Cluster IPs need a route before their packets meet the rules; nobody is there.
  ip route add default dev lan0
  # Service accounts' files go where a pod has them, hidden from the machine.
  mount -t tmpfs none /run
  mkdir -p "$token_dir"
}

certificates() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca \
    -keyout ca.key -out ca.crt 2>/dev/null
  certificate server /CN=kube-apiserver "subjectAltName=IP:127.0.0.1,IP:$node,IP:10.96.0.1,DNS:kubernetes.default.svc"
  certificate admin /O=system:masters/CN=admin
  certificate kube-proxy /CN=system:kube-proxy
  openssl genrsa -out accounts.key 2048 2>/dev/null
}

# certificate NAME SUBJECT [EXTENSION]
certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" \
    -keyout "$1.key" -out "$1.csr" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
    -extfile <(echo "${3:-extendedKeyUsage=clientAuth}") -out "$1.crt" 2>/dev/null
}

# kubeconfig NAME PORT USER-FIELDS
kubeconfig() {
  cat >"$1.kubeconfig" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: stock, cluster: {server: "https://127.0.0.1:$2", certificate-authority: $work/ca.crt}}]
users: [{name: user, user: {$3}}]
contexts: [{name: stock, context: {cluster: stock, user: user}}]
current-context: stock
EOF
}

# start_apiserver PORT RECONCILER: its pid is in `server`, and when it was not ready yet in `starts`.
start_apiserver() {
  local from
  from=$(date -u +%FT%T)
  "$apiserver" --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --secure-port="$1" \
    --advertise-address="$node" --service-cluster-ip-range="$service_network" \
    --tls-cert-file=server.crt --tls-private-key-file=server.key --client-ca-file=ca.crt \
    --authorization-mode=RBAC --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file=accounts.key --service-account-signing-key-file=accounts.key \
    --audit-policy-file=audit-policy.json --audit-log-path="audit-$1.log" --audit-log-batch-max-wait=1s \
    --endpoint-reconciler-type="$2" >>"apiserver-$1.log" 2>&1 &
  server=$!
  wait_for "the API server" curl --silent --fail --cacert ca.crt --max-time 2 "https://127.0.0.1:$1/readyz"
  echo "$from $(date -u +%FT%T.999999Z)" >>starts
}

# At once: in order it waits a minute for the watches of its clients to end.
end_apiserver() {
  kill -KILL "$server"
  wait "$server" 2>/dev/null || true
}

# wait_for WHAT COMMAND...: until it succeeds, for a minute.
wait_for() {
  local what=$1 end=$((SECONDS + 60))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { tail -qn 3 apiserver-*.log >&2; die "$what does not come up; --keep DIR leaves all logs behind"; }
    sleep 0.1
  done
}

wrong=0
# expect WHAT COMMAND...: until it succeeds, for ten seconds.
expect() {
  local what=$1 end=$((SECONDS + 10))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$end" ]; then
      echo "   WRONG  $what"
      wrong=1
      return
    fi
    sleep 0.05
  done
  echo "   ok     $what"
}

# --- What is looked at -------------------------------------------------------------------------

k() { "$kubectl" --kubeconfig "$work/admin.kubeconfig" "$@"; }
# The endpoint is the API server itself: a TLS answer through the Service says that packets get there.
reached() { curl --insecure --silent --fail --max-time 1 "https://$1/version"; }
refused() { local status=0; curl --insecure --silent --max-time 2 "https://$1/version" || status=$?; [ "$status" = 7 ]; }
unreached() { ! reached "$1"; }
answer() { dig +short +tries=1 +time=1 @127.0.0.1 -p 5300 "$2" "$1"; }
answers() { [ "$(answer "$1" "$2" | sort | tr '\n' ' ')" = "$3 " ]; }
denied() { dig +tries=1 +time=1 @127.0.0.1 -p 5300 "$1" | grep -q 'status: NXDOMAIN'; }

# service NAME CLUSTER-IP
service() {
  cat <<EOF
apiVersion: v1
kind: Service
metadata: {name: $1, namespace: demo}
spec: {clusterIP: $2, ports: [{name: https, port: 443, targetPort: 6443}]}
EOF
}

# slice SERVICE READY ADDRESS...
slice() {
  cat <<EOF
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: $1-1, namespace: demo, labels: {kubernetes.io/service-name: $1}}
addressType: IPv4
ports: [{name: https, port: 6443, protocol: TCP}]
endpoints:
EOF
  local ready=$2 address
  shift 2
  for address in "$@"; do echo "- {addresses: [$address], conditions: {ready: $ready}}"; done
}

changes() {
  k create namespace demo >/dev/null
  service web 10.96.7.7 | k apply --validate=false -f - >/dev/null
  expect "a Service without endpoints refuses" refused 10.96.7.7
  slice web true "$node" | k apply --validate=false -f - >/dev/null
  expect "with an endpoint it is reached" reached 10.96.7.7
  expect "DNS says its cluster IP" answers web.demo.svc.cluster.local A 10.96.7.7
  expect "and its port" answers _https._tcp.web.demo.svc.cluster.local SRV "0 100 443 web.demo.svc.cluster.local."
  slice web false "$node" | k apply --validate=false -f - >/dev/null
  expect "with none that is ready it refuses again" refused 10.96.7.7
  slice web true "$node" | k apply --validate=false -f - >/dev/null
  expect "and with one is reached again" reached 10.96.7.7
  service none None | k apply --validate=false -f - >/dev/null
  slice none true 192.168.79.11 192.168.79.12 | k apply --validate=false -f - >/dev/null
  expect "DNS says a headless Service's endpoints" answers none.demo.svc.cluster.local A "192.168.79.11 192.168.79.12"
  k -n demo delete service none >/dev/null
  expect "and denies it once it is deleted" denied none.demo.svc.cluster.local
  service gone 10.96.7.8 | k apply --validate=false -f - >/dev/null
  slice gone true "$node" | k apply --validate=false -f - >/dev/null
  expect "another Service is reached" reached 10.96.7.8
}

# The changes are made at another server on the same store, while the clients' own is away: its
# history begins after them, so that only a new list can tell.
restart() {
  end_apiserver
  start_apiserver 6444 none
  sed s/:6443/:6444/ admin.kubeconfig >other.kubeconfig
  k() { "$kubectl" --kubeconfig "$work/other.kubeconfig" "$@"; }
  k -n demo delete service gone >/dev/null
  k -n demo delete endpointslice gone-1 >/dev/null
  service late 10.96.7.9 | k apply --validate=false -f - >/dev/null
  slice late true "$node" | k apply --validate=false -f - >/dev/null
  expect "nothing is denied while the API server is away" answers gone.demo.svc.cluster.local A 10.96.7.8
  end_apiserver
  k() { "$kubectl" --kubeconfig "$work/admin.kubeconfig" "$@"; }
  start_apiserver 6443 lease
  expect "what was there before is reached" reached 10.96.7.7
  expect "what was made meanwhile is reached" reached 10.96.7.9
  expect "what was deleted meanwhile is not" unreached 10.96.7.8
  expect "DNS says what was made" answers late.demo.svc.cluster.local A 10.96.7.9
  expect "DNS denies what was deleted" denied gone.demo.svc.cluster.local
  k delete namespace demo --wait=false >/dev/null
  # No namespace controller runs here.
  k -n demo delete service,endpointslice --all >/dev/null
  k get namespace demo -o json | sed 's/"finalizers": \[[^]]*\]//;s/"kubernetes"$//' | tr -d '\n' |
    sed 's/"spec": *{[^}]*}/"spec": {"finalizers": []}/' | k replace --raw /api/v1/namespaces/demo/finalize -f - >/dev/null
  expect "nothing is reached any more" unreached 10.96.7.9
  expect "DNS denies all of it" denied web.demo.svc.cluster.local
}

# run_round HOW: with the agents of `proxy_HOW` and `dns_HOW`.
run_round() {
  local how=$1 proxy dns
  echo "$how"
  "proxy_$how" >"proxy-agent-$how.log" 2>&1 &
  proxy=$!
  expect "the proxy is healthy" curl --silent --fail --max-time 1 http://127.0.0.1:10256/healthz
  expect "the API server is reached by its cluster IP" reached 10.96.0.1
  "dns_$how" >"cluster-dns-$how.log" 2>&1 &
  dns=$!
  expect "the DNS server is ready" curl --silent --fail --max-time 1 http://127.0.0.1:8080/ready
  changes
  restart
  kill "$proxy" "$dns"
  expect "the proxy ends in order" wait "$proxy"
  expect "the DNS server ends in order" wait "$dns"
  "$coracle" proxy-agent cleanup >>"proxy-agent-$how.log" 2>&1
}

dns_options=(--listen 127.0.0.1:5300 --metrics-address 127.0.0.1:9153 --health-address 127.0.0.1:8080)
proxy_options=(--proxy-mode "$mode" --hostname-override stock-node --cluster-cidr 10.244.0.0/16)

proxy_kubeconfig() { exec "$coracle" proxy-agent "${proxy_options[@]}" --kubeconfig kube-proxy.kubeconfig; }
dns_kubeconfig() { exec "$coracle" cluster-dns "${dns_options[@]}" --kubeconfig coredns.kubeconfig; }

# Each pod sees its own account's files: a mount namespace each.
in_pod() {
  local account=$1 host=$2 port=$3
  shift 3
  KUBERNETES_SERVICE_HOST=$host KUBERNETES_SERVICE_PORT=$port HOME=/nonexistent exec unshare --mount bash -c '
    mount -t tmpfs none "$1" && cp ca.crt "$1/ca.crt" && cp "$2.token" "$1/token" &&
    echo -n kube-system >"$1/namespace" && shift 2 && unset KUBECONFIG && exec "$@"' pod "$token_dir" "$account" "$@"
}
# The proxy cannot go by the cluster IP that it is to make; the DNS does.
proxy_account() { in_pod kube-proxy "$node" 6443 "$coracle" proxy-agent "${proxy_options[@]}"; }
dns_account() { in_pod coredns 10.96.0.1 443 "$coracle" cluster-dns "${dns_options[@]}"; }

# What kubeadm makes for its add-ons; the roles `system:node-proxier` and `system:auth-delegator`
# and the user `system:kube-proxy` are the API server's own.
objects() {
  cat <<EOF
apiVersion: v1
kind: Node
metadata: {name: stock-node, labels: {kubernetes.io/hostname: stock-node}}
spec: {podCIDR: 10.244.0.0/24, podCIDRs: [10.244.0.0/24]}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: kube-proxy, namespace: kube-system}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: coredns, namespace: kube-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kube-proxy-account}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:node-proxier}
subjects: [{kind: ServiceAccount, name: kube-proxy, namespace: kube-system}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: system:coredns}
rules:
- {apiGroups: [""], resources: [endpoints, services, pods, namespaces], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: system:coredns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:coredns}
subjects: [{kind: ServiceAccount, name: coredns, namespace: kube-system}]
EOF
}

# What the clients asked, by the server's own audit log: of every request its verb and answer.
requests() {
  cat audit-*.log | grep -E '"username":"system:(kube-proxy|serviceaccount:kube-system:(kube-proxy|coredns))"' || true
}

# Those that were refused, but while the server was not ready: it answers 403 then to everybody,
# until it knows its own roles.
refusals() {
  requests | grep -E '"code":(401|403)' | while read -r line; do
    at=${line#*\"requestReceivedTimestamp\":\"} at=${at%%\"*}
    awk -v at="$at" '$1 <= at && at <= $2 { found = 1 } END { exit found }' starts && echo "$line"
  done
}

audited() {
  echo "by the server's audit log"
  sleep 1.5 # Its last batch.
  expect "the clients were seen" test "$(requests | wc -l)" -gt 0
  expect "they ask for bookmarks" grep -q allowWatchBookmarks=true <(requests)
  refusals >refusals || true
  if [ -s refusals ]; then
    cut -c1-1000 refusals
    echo "   WRONG  the requests above were refused"
    wrong=1
  else
    echo "   ok     none of $(requests | wc -l) was refused"
  fi
}

network
certificates
kubeconfig admin 6443 "client-certificate: $work/admin.crt, client-key: $work/admin.key"
kubeconfig kube-proxy 6443 "client-certificate: $work/kube-proxy.crt, client-key: $work/kube-proxy.key"
echo '{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}' >audit-policy.json
"$etcd" --data-dir etcd --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync >etcd.log 2>&1 &
start_apiserver 6443 lease
"$apiserver" --version
"$etcd" --version | head -1
wait_for "the role system:node-proxier" k get clusterrolebinding system:node-proxier
wait_for "the API's description" k get --raw /openapi/v3
objects | k apply --validate=false -f - >/dev/null
for account in kube-proxy coredns; do
  k -n kube-system create token "$account" >"$account.token"
done
kubeconfig coredns 6443 "tokenFile: $work/coredns.token"
run_round kubeconfig
run_round account
audited
exit "$wrong"
