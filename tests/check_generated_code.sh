#!/bin/sh
# Fail when client/fanlight/v1 is not what the generator makes of protos/.
set -eu
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
.venv-protos/bin/python -m grpc_tools.protoc -I protos \
  --python_out="$fresh" --grpc_python_out="$fresh" \
  --mypy_out=quiet:"$fresh" --mypy_grpc_out=quiet:"$fresh" protos/fanlight/v1/*.proto
touch "$fresh/fanlight/v1/__init__.py"
diff -r --exclude=__pycache__ "$fresh/fanlight/v1" client/fanlight/v1 ||
  { echo "generated code differs from protos/: run 'make protos' and commit" >&2; exit 1; }
