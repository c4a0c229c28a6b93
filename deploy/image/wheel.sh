#!/bin/sh
# Build the wheel of the repository that this file lies in, with the native module where cargo is: wheel.sh OUT
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
"${PYTHON:-python3}" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$1" "$root"
