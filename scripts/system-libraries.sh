#!/bin/sh
# Install the system libraries that Qt and OpenGL load: on apt systems as root; otherwise name the
# exact line, and go on where the libraries are there anyway.
set -eu

[ "$(uname -s)" = Linux ] || exit 0

# A machine that already has some of these hides a missing line, so all of them stand here.
packages="xvfb libgl1 libegl1 libgl1-mesa-dri libglib2.0-0 libdbus-1-3 libfontconfig1 libfreetype6
libx11-xcb1 libxkbcommon0 libxkbcommon-x11-0 libxcb-cursor0 libxcb-glx0 libxcb-icccm4
libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render0 libxcb-render-util0 libxcb-shape0
libxcb-shm0 libxcb-sync1 libxcb-util1 libxcb-xfixes0 libxcb-xkb1"

# What fails first when they are absent, on any distribution.
sonames="libGL.so.1 libEGL.so.1 libglib-2.0.so.0 libdbus-1.so.3 libfontconfig.so.1
libxkbcommon-x11.so.0 libxcb-cursor.so.0 libxcb-icccm.so.4 libxcb-keysyms.so.1"

installed() {
    # Ubuntu 24.04 renamed a few (libglib2.0-0t64).
    dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed' ||
        dpkg-query -W -f '${Status}' "$1t64" 2>/dev/null | grep -q 'ok installed'
}

missing=""
if command -v apt-get >/dev/null 2>&1; then
    for package in $packages; do
        installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || exit 0
    line="apt-get install --yes --no-install-recommends$missing"
    if [ "$(id -u)" = 0 ]; then
        echo "installing system libraries:$missing"
        export DEBIAN_FRONTEND=noninteractive
        # shellcheck disable=SC2086  # the names are to be split
        if apt-get update -qq && apt-get install --yes -qq --no-install-recommends $missing \
            >/dev/null; then
            exit 0
        fi
        echo "apt-get could not install them." >&2
    else
        line="sudo $line"
    fi
else
    line="install the libraries named below with your package manager (Qt 6, OpenGL, xcb), and Xvfb"
fi

ldconfig=$(command -v ldconfig || echo /sbin/ldconfig)
known=$("$ldconfig" -p 2>/dev/null || true)
absent=""
for soname in $sonames; do
    case $known in
        *"$soname"*) ;;
        *) absent="$absent $soname" ;;
    esac
done
if [ -z "${DISPLAY:-}" ] && [ -z "${WAYLAND_DISPLAY:-}" ]; then
    command -v xvfb-run >/dev/null 2>&1 || absent="$absent xvfb-run"
fi

if [ -n "$absent" ]; then
    echo "The window needs system libraries that are absent:$absent" >&2
    echo "Cure:  $line" >&2
    exit 1
fi
[ -z "$missing" ] || echo "Going on without some system packages; should the window fail:  $line" >&2
