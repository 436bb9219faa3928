#!/bin/sh
# The files of deploy/ against the server: arguments, ports, probes, metrics, times to end, libraries.
. tests/serve/serve.sh
require_server
python=/usr/bin/python3
"$python" -c 'import yaml' 2>/dev/null || skip_all "python3-yaml is not installed"
"$python" tests/serve/manifests.py "$tern" "$scratch"
exit $?
