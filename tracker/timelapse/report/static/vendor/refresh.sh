#!/bin/sh
# Renews the vendored libraries: run it here, look at the diff, run the browser tests, commit.
# Needs Node.js and npm. `vendor.json` records versions, licences and the SHA-256 of each file.
set -eu
cd "$(dirname "$0")"
PREACT=11.2.0 HTM=3.1.1 UPLOT=1.6.32 DIFF=3.2.0 ESBUILD=0.28.2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(
    cd "$work"
    npm init --yes >/dev/null
    npm install --silent "preact@$PREACT" "htm@$HTM" "uplot@$UPLOT" "fast-myers-diff@$DIFF" "esbuild@$ESBUILD"
    cat >preact.js <<'JS'
import { Component, Fragment, createContext, h, render } from "preact";
import htm from "htm";
export * from "preact/hooks";
export { Component, Fragment, createContext, h, render };
export const html = htm.bind(h);
JS
    echo 'export { default } from "uplot";' >uplot.js
    echo 'export { diff } from "fast-myers-diff";' >diff.js
    for name in preact uplot diff; do
        npx esbuild "$name.js" --bundle --format=esm --minify --legal-comments=none --outfile="out/$name.js" --log-level=warning
    done
    cp node_modules/uplot/dist/uPlot.min.css out/uplot.css
    for name in preact htm uplot fast-myers-diff; do
        { echo "$name"; cat node_modules/"$name"/LICENSE*; echo; }
    done >out/LICENSES
)
cp "$work"/out/* .
python3 - "$work" <<'PY'
import hashlib, json, pathlib, sys
modules = pathlib.Path(sys.argv[1], "node_modules")
packages = {}
for name in ("preact", "htm", "uplot", "fast-myers-diff"):
    told = json.loads((modules / name / "package.json").read_text())
    packages[name] = {"version": told["version"], "license": told["license"]}
files = {
    path.name: hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(pathlib.Path().iterdir())
    if path.suffix in (".js", ".css") or path.name == "LICENSES"
}
pathlib.Path("vendor.json").write_text(json.dumps({"packages": packages, "files": files}, indent=1) + "\n")
PY
