#!/usr/bin/env bash
# Installing niquests replaces urllib3 for every other package of the environment, and `pip list` does not show it.
#
# niquests needs urllib3-future, whose wheel brings a .pth file: at the next start of Python it copies urllib3-future's modules over those of
# urllib3 in site-packages. From then on requests (and botocore, elastic-transport, kubernetes ...) run on urllib3-future; the metadata still
# says the old version, and `pip check` is content. Its authors say so in the .pth file and in their README; a good engineer who adds one more
# HTTP client does not expect it to change the others. It matters to whoever tests errors of several clients in one environment.
#
# Seen with niquests 3.21.2 (urllib3-future 2.25.904), urllib3 2.8.0 and requests 2.34.2 on CPython 3.11.7:
#   before: metadata 2.8.0, imported 2.8.0
#   after:  metadata 2.8.0, imported 2.25.904
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"

cat >"$folder/look.py" <<'PYTHON'
import importlib.metadata

import requests

print(f"metadata {importlib.metadata.version('urllib3')}, imported {requests.packages.urllib3.__version__}")
PYTHON

"$folder/venv/bin/pip" install --quiet urllib3==2.8.0 requests==2.34.2
before=$("$folder/venv/bin/python" "$folder/look.py")
"$folder/venv/bin/pip" install --quiet niquests==3.21.2 urllib3-future==2.25.904
"$folder/venv/bin/python" -c "pass"
after=$("$folder/venv/bin/python" "$folder/look.py")
"$folder/venv/bin/pip" check
printf 'before: %s\nafter:  %s\n' "$before" "$after"
test "$before" = "metadata 2.8.0, imported 2.8.0" && test "$after" = "metadata 2.8.0, imported 2.25.904" || { echo "this has changed" >&2; exit 1; }
