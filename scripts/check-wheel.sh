#!/bin/sh
# Build the wheel, install it in an environment of its own and look whether napari finds the plugin.
#   sh scripts/check-wheel.sh .venv/bin/python
#
# The new environment borrows the dependencies of the given one through a .pth file: installing
# them a second time would take minutes. Its own site-packages come first, and a borrowed editable
# install is not followed (.pth files in a borrowed folder are not read), so the package checked is
# the wheel's.
set -eu
python=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

"$python" -m build --wheel --no-isolation --outdir "$work/dist" . >"$work/build.log" 2>&1 || {
    cat "$work/build.log" >&2
    exit 1
}
wheel=$(ls "$work"/dist/*.whl)
echo "built $(basename "$wheel"), $(($(wc -c <"$wheel") / 1024)) kB"

"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --no-index \
    "$wheel"
here=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$here/zz_borrowed.pth"

# From another folder, so that neither src/ nor the working directory can help.
checker=$(pwd)/scripts/check_installed.py
cd "$work"
"$work/venv/bin/python" -I "$checker" "$work/venv"
"$work/venv/bin/neuropil" info
