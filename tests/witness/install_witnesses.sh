#!/usr/bin/env bash
# dcm2niix and DCMTK from Debian's packages; no service comes with them.
set -euo pipefail

have() { command -v "$1" >/dev/null; }
have dcm2niix && have dcmj2pnm && have dcml2pnm && exit 0

root=()
[ "$(id -u)" = 0 ] || root=(sudo)
"${root[@]}" apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends dcm2niix dcmtk
