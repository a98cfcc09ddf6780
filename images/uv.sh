#!/bin/sh
# uv of one version, from a cache mount at /tools, so that no layer holds it: uv.sh ARGUMENTS. With CUDA=0, `sync` leaves
# NVIDIA's packages out.
set -eu
version=0.13.9
folder=/tools/uv-$version
if [ ! -x "$folder/bin/uv" ]; then
  python3.11 -m venv "$folder"
  "$folder/bin/pip" install --quiet --no-cache-dir "uv==$version"
fi
if [ "$1" = sync ] && [ "${CUDA:-1}" != 1 ]; then
  # One option each.
  # shellcheck disable=SC2046
  set -- "$@" $(sed -nE 's/^name = "((nvidia-|cuda-|triton)[^"]*)"$/--no-install-package=\1/p' uv.lock)
fi
exec "$folder/bin/uv" "$@"
