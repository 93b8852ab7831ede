#!/usr/bin/env bash
# zensical's `offline` plugin makes every page fetch a script from unpkg.com.
#
# The plugin is for sites that are read without a network: its documentation says that it makes the search work from the file system. For that
# it adds the shim `iframe-worker`, by its address on a public CDN, to each page (zensical/config.py: `extra.polyfills`). Without a network that
# search does not work, and with one the CDN sees who reads what. Without the plugin there is no foreign address in a page (fonts off).
#
# Seen with zensical 0.0.73 on CPython 3.11.7:
#   without offline: 0 scripts from elsewhere
#   with offline:    1 scripts from elsewhere: https://unpkg.com/iframe-worker/shim
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet zensical==0.0.73

mkdir -p "$folder/site/docs"
cd "$folder/site"
echo "# A page" >docs/index.md
settings='[project]
site_name = "x"
[project.theme]
font = false'

foreign() {
	"$folder/venv/bin/zensical" build --clean >/dev/null
	grep -oE '<script src="https?://[^"]+' site/index.html | sed 's/.*"//' || true
}

echo "$settings" >zensical.toml
without=$(foreign)
printf '%s\n[project.plugins.offline]\n' "$settings" >zensical.toml
with=$(foreign)
printf 'without offline: %s scripts from elsewhere\n' "$(grep -c . <<<"$without" || true)"
printf 'with offline:    %s scripts from elsewhere: %s\n' "$(grep -c . <<<"$with" || true)" "$with"
test -z "$without" && test "$with" = "https://unpkg.com/iframe-worker/shim" || { echo "this has changed" >&2; exit 1; }
