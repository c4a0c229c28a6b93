#!/bin/sh
# Install the wheel with the authority and the traces into a prefix of its own, with its licences, and without pip: install.sh WHEELS PREFIX
set -eu
here=$(cd "$(dirname "$0")" && pwd)
"${PYTHON:-python3}" -m venv "$2"
wheel=$(ls "$1"/residency_worker-*.whl)
"$2/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir \
  --constraint "$here/constraints.txt" "$wheel[authority,traces]"
"$2/bin/python" "$here/licences.py" > "$2/LICENCES.txt"
"$2/bin/python" -m pip uninstall --quiet --yes pip
rm -rf "$2"/bin/Activate.ps1 "$2"/bin/activate*
# What is served is read only: nothing may be written beside the code, not even by its owner.
chmod -R a-w,a+rX "$2"
