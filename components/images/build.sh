#!/bin/sh
# Build the two images with docker or podman: `sh components/images/build.sh [gpu|cpu]...` (both if none).
#
#   BUILDER      docker or podman; the one that is installed
#   IMAGE        name before the colon; cascade-clip-workflow
#   BASE_IMAGE   what they stand on: a Debian with Python 3.11 and its venv module
#   PIP_CONF     a pip.conf with indexes and credentials; the user's own where there is one
#   TORCH_CPU_INDEX   index of CPU builds of torch and torchvision; the cpu image needs it
#   BUILD_FLAGS  more for the builder, such as --network=host
set -eu
cd "$(dirname "$0")/../.."

builder=${BUILDER:-$(command -v docker || command -v podman || true)}
if [ -z "$builder" ]; then
    echo "error: neither docker nor podman is installed; install one, or name another: BUILDER=..." >&2
    exit 2
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
commit=$(git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || true)
secrets=$(mktemp -d)
trap 'rm -rf "$secrets"' EXIT
conf=${PIP_CONF:-${PIP_CONFIG_FILE:-}}
if [ -n "$conf" ]; then cp "$conf" "$secrets/pip.conf"; else : > "$secrets/pip.conf"; fi

build() { # KIND, TORCH INDEX OR ""
    printf %s "$2" > "$secrets/torch_index"
    tag="${IMAGE:-cascade-clip-workflow}:$version-python3.11"
    [ "$1" = gpu ] || tag="$tag-$1"
    # shellcheck disable=SC2086  # BUILD_FLAGS are several words
    DOCKER_BUILDKIT=1 "$builder" build ${BUILD_FLAGS:-} --file components/images/Dockerfile --tag "$tag" \
        ${BASE_IMAGE:+--build-arg "BASE_IMAGE=$BASE_IMAGE"} --build-arg "COMMIT=$commit" \
        --secret "id=pip_conf,src=$secrets/pip.conf" --secret "id=torch_index,src=$secrets/torch_index" .
    echo "built $tag"
}

for kind in ${*:-gpu cpu}; do
    case $kind in
        gpu) build gpu "" ;;
        cpu)
            if [ -z "${TORCH_CPU_INDEX:-}" ]; then
                echo "error: the cpu image needs TORCH_CPU_INDEX, an index of CPU builds of torch; set it, or build the other alone: make images IMAGES=gpu" >&2
                exit 2
            fi
            build cpu "$TORCH_CPU_INDEX"
            ;;
        *)
            echo "error: no image '$kind'; there are gpu and cpu" >&2
            exit 2
            ;;
    esac
done
