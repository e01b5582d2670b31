#!/bin/sh
# Finds a Chromium for the browser tests; installs the distribution's where we may, else asks for it by name.
set -eu
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then
        echo "Browser tests use $(command -v "$name")."
        exit 0
    fi
done
if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo"; else as_root="none"; fi
    if [ "$as_root" != none ]; then
        $as_root apt-get update -qq >/dev/null
        DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq chromium >/dev/null
        exit 0
    fi
fi
echo "The browser tests need Chromium. Install it with your system's packages, for example:" >&2
echo "    sudo apt-get install chromium" >&2
exit 1
