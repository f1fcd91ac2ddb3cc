# Read by the scripts beside it, whose folder is in `here`: sets `coracle` and `kubectl` to the
# programs to use.
coracle=${CORACLE:-}
if [ -z "$coracle" ]; then
  for candidate in "$here"/../target/*/release/coracle "$here"/../target/*/debug/coracle; do
    if [ -x "$candidate" ]; then coracle=$candidate; break; fi
  done
fi
[ -n "$coracle" ] || { echo "build it first: cargo build --release" >&2; exit 1; }
if [ -n "${CORACLE_KUBECTL:-}" ]; then
  kubectl=$CORACLE_KUBECTL
elif command -v kubectl >/dev/null; then
  kubectl=kubectl
else
  kubectl="$coracle kubectl"
fi
