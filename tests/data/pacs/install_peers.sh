#!/usr/bin/env bash
# Orthanc, its DICOMweb plug-in and DCMTK from Debian's packages, without starting Orthanc as a service.
set -euo pipefail

have() { PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null; }
have Orthanc && have storescu && have dcmqrscp && [ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] && exit 0

root=()
[ "$(id -u)" = 0 ] || root=(sudo)
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then  # asked by Debian's packages whether their services may start; 101 says no
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
    "${root[@]}" chmod +x "$policy"
    trap '"${root[@]}" rm -f "$policy"' EXIT
fi
"${root[@]}" apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    orthanc orthanc-dicomweb dcmtk
if [ -d /run/systemd/system ]; then "${root[@]}" systemctl disable --quiet orthanc; fi
