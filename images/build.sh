#!/usr/bin/env bash
# Builds the images of the Dockerfile: build.sh [TARGET...]; all of them by default.
#   BUILDER  docker or buildah (default: docker where its engine answers)
#   BASE     base image (default: the Dockerfile's, pinned by digest)
#   CUDA     1 (default) or 0: without NVIDIA's libraries, for machines without a GPU
#   PREFIX   of the images' names (default: moaa-), TAG (default: dev)
# Then it looks at each: size, user, entry point; SBOM and licences go to dist/images/TARGET.
set -euo pipefail
cd "$(dirname "$0")/.."

PREFIX=${PREFIX:-moaa-}
TAG=${TAG:-dev}
if [ -z "${BUILDER:-}" ]; then
  if docker info >/dev/null 2>&1; then BUILDER=docker; else BUILDER=buildah; fi
fi
targets=("$@")
[ $# -gt 0 ] || targets=(operator jobs train serve-cpu)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)
options=(--build-arg "CUDA=${CUDA:-1}" --build-arg "VERSION=$version"
  --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)")
[ -z "${BASE:-}" ] || options+=(--build-arg "BASE=$BASE")

build() { # TARGET
  case $BUILDER in
    docker) docker build --quiet "${options[@]}" --target "$1" --tag "$PREFIX$1:$TAG" . ;;
    # The host's network and no runtime: works without an engine, inside containers too.
    buildah) buildah bud --isolation chroot --network host --layers "${options[@]}" \
      --target "$1" --tag "$PREFIX$1:$TAG" . ;;
  esac
}

inside() { # TARGET COMMAND...: as the image's own user
  local image="$PREFIX$1:$TAG" container status=0
  shift
  case $BUILDER in
    docker) docker run --rm --network none --read-only --tmpfs /tmp --entrypoint "$1" "$image" "${@:2}" ;;
    buildah)
      container=$(buildah from --quiet --pull-never "$image")
      buildah run --isolation chroot "$container" -- "$@" || status=$?
      buildah rm "$container" >/dev/null
      return "$status"
      ;;
  esac
}

compressed() { # TARGET: MB as a registry holds them
  case $BUILDER in
    docker) docker save "$PREFIX$1:$TAG" | gzip -1 | wc -c ;;
    buildah)
      local folder
      folder=$(mktemp -d)
      buildah push --quiet "$PREFIX$1:$TAG" "dir:$folder" >/dev/null
      du --bytes --summarize "$folder" | cut -f 1
      rm -r "$folder"
      ;;
  esac | awk '{printf "%.0f\n", $1 / 1e6}'
}

look_at() { # TARGET
  local folder="dist/images/$1" megabytes="" said
  [ "$(inside "$1" id -u)" = 1000 ] || { echo "$1: does not run as user 1000" >&2; exit 1; }
  case $1 in
    operator)
      # No cluster to speak to: it has to get as far as saying so.
      said=$(inside operator python -m moaa_operator 2>&1 || true)
      [[ $said == *ConfigException* ]] || { echo "operator: does not start: $said" >&2; exit 1; }
      if inside operator python -c "import torch" 2>/dev/null; then echo "operator: holds torch" >&2; exit 1; fi
      megabytes=$(compressed operator)
      [ "$megabytes" -lt 150 ] || { echo "operator: $megabytes MB compressed, more than 150" >&2; exit 1; }
      ;;
    jobs) inside jobs python -m moaa_jobs --help >/dev/null ;;
    train)
      inside train python -c "import deepspeed, ray.train, trl, moaa_jobs.training.worker.session" >/dev/null 2>&1
      inside train ray --version >/dev/null
      # Without GPUs nothing is compiled.
      [ "${CUDA:-1}" != 1 ] || inside train python -c "from moaa_jobs.training.driver import compiler; compiler.require()"
      ;;
    serve-cpu) inside serve-cpu python -m vllm.entrypoints.openai.api_server --help >/dev/null 2>&1 ;;
  esac
  mkdir -p "$folder"
  for file in sbom.cdx.json licences.tsv debian.tsv; do inside "$1" cat "/usr/share/doc/moaa/$file" >"$folder/$file"; done
  echo "$PREFIX$1:$TAG: ${megabytes:+$megabytes MB compressed, }$(wc -l <"$folder/licences.tsv") Python packages"
}

for target in "${targets[@]}"; do
  start=$(date +%s)
  build "$target"
  echo "built $target in $(($(date +%s) - start)) s"
done
[ -n "${NO_CHECKS:-}" ] || for target in "${targets[@]}"; do look_at "$target"; done
