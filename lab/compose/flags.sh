# How the program for images is compiled, beside its profile. To be sourced, in the workspace's root.

# As in .cargo/config.toml, which this replaces; and without what an image can spare: tables for
# unwinding, and an address that is chosen anew at each start.
if [ "${profile:-dist}" = dist ]; then
  CARGO_ENCODED_RUSTFLAGS=$(printf '%s\037' -Ctarget-feature=+crt-static -Crelocation-model=static \
    "-Clink-arg=-Wl,-T,$PWD/lab/compose/no-unwinding.ld")-Clink-arg=-Wl,--no-eh-frame-hdr
  export CARGO_ENCODED_RUSTFLAGS
fi
