#!/bin/sh
# Build the wheel of the repository that this file lies in, with the native module (cargo compiles it): wheel.sh OUT
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3}
# What a build before this one left behind would get into the wheel.
rm -rf "$root"/build/lib*
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$1" "$root"
"$python" -m zipfile --list "$1"/residency_worker-*.whl | grep 'worker/_native.abi3.so' >/dev/null \
  || { echo "the native module was not built: install cargo (rustup.rs) and a C compiler" >&2; exit 1; }
