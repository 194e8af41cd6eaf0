#!/bin/sh
# Make the virtual environment with a Python new enough, or say how to get one.
#   PYTHON=python3.12 sh scripts/create-venv.sh .venv
set -eu
venv=$1

for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13 python}; do
    # A name on the PATH proves nothing: version managers leave stubs, Debian splits off ensurepip.
    if "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
        >/dev/null 2>&1; then
        echo "creating $venv with $("$candidate" -c 'import sys; print(sys.executable)')"
        exec "$candidate" -m venv "$venv"
    fi
done

if [ -n "${PYTHON:-}" ]; then
    found="PYTHON=$PYTHON is not such a Python"
else
    found="none was found (python3 is $(python3 --version 2>/dev/null || echo missing))"
fi
cat >&2 <<END
napari-neuropil needs Python 3.11 or newer with its venv module; $found.
Cure: on Debian 12 or Ubuntu 24.04   apt-get install python3 python3-venv
      on macOS                       brew install python@3.12
      then run this again, or name the interpreter: PYTHON=/path/to/python3.12 make demo
END
exit 1
