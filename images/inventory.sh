#!/bin/sh
# What is in an image: inventory.sh ENVIRONMENT FOLDER writes sbom.cdx.json (CycloneDX, Python packages), licences.tsv
# (the same for people) and debian.tsv (packages of the base; their licences lie in /usr/share/doc/*/copyright).
set -eu
version=7.5.0
tool=/tools/cyclonedx-$version
if [ ! -x "$tool/bin/cyclonedx-py" ]; then
  python3.11 -m venv "$tool"
  "$tool/bin/pip" install --quiet --no-cache-dir "cyclonedx-bom==$version"
fi
mkdir -p "$2"
"$tool/bin/cyclonedx-py" environment --output-reproducible --of JSON -o "$2/sbom.cdx.json" "$1/bin/python"
python3.11 - "$2/sbom.cdx.json" >"$2/licences.tsv" <<'PYTHON'
import json
import sys

for component in sorted(json.load(open(sys.argv[1]))["components"], key=lambda component: component["name"].lower()):
    found = [entry.get("expression") or entry["license"].get("id") or entry["license"]["name"]
             for entry in component.get("licenses", ())]
    # A text in place of a name is a licence's whole wording: its first line names it.
    names = sorted({text.strip().splitlines()[0].rpartition(" :: ")[2] for text in found if text.strip()})
    print(component["name"], component["version"], "; ".join(names) or "not stated", sep="\t")
PYTHON
dpkg-query --show --showformat '${Package}\t${Version}\n' >"$2/debian.tsv"
