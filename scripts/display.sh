#!/bin/sh
# Print what to put before a command that opens a window: nothing where there is a display,
# a virtual X server where there is none. (Qt's own "offscreen" platform has no OpenGL.)
if [ "$(uname -s)" = Linux ] && [ -z "${DISPLAY:-}" ] && [ -z "${WAYLAND_DISPLAY:-}" ]; then
    command -v xvfb-run >/dev/null 2>&1 && echo 'xvfb-run -a -s "-screen 0 1400x1000x24"'
fi
exit 0
