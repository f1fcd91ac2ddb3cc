# How the program for images is compiled, beside its profile. To be sourced.

# As in .cargo/config.toml, which this replaces; and without what an image can spare: tables for
# unwinding, and an address that is chosen anew at each start.
[ "${profile:-dist}" != dist ] ||
  export RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static -C force-unwind-tables=no"
