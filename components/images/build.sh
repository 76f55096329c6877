#!/bin/sh
# Build the images with docker or podman: `sh components/images/build.sh [torch|light]...` (default: both).
#
#   BUILDER      docker or podman; default: the installed one
#   IMAGE        name before the colon; default: cascade-clip-workflow
#   BASE_IMAGE   the base: a Debian with Python 3.11 and its venv module, whose apt-get reaches packages
#   PIP_CONF     a pip.conf with indexes and credentials; default: PIP_CONFIG_FILE, or no file
#   BUILD_FLAGS  more flags for the builder, such as --network=host
set -eu
cd "$(dirname "$0")/../.."

for kind in "$@"; do
    case $kind in
        torch | light) ;;
        *)
            echo "error: no image '$kind'; there are torch and light" >&2
            exit 2
            ;;
    esac
done
builder=${BUILDER:-$(command -v docker || command -v podman || true)}
if [ -z "$builder" ]; then
    echo "error: neither docker nor podman is installed; install one, or name another: BUILDER=..." >&2
    exit 2
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
commit=$(git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || true)
# As components/ops/image.py names them: the tag changes with the commit, because nodes keep an image that they have pulled.
short=$(printf '%.12s' "$commit")
case $commit in
    *-dirty)
        short="$short-dirty"
        echo "warning: files were changed since the commit; nodes that have pulled the tag $short keep what they have" >&2
        ;;
esac
secrets=$(mktemp -d)
trap 'rm -rf "$secrets"' EXIT
conf=${PIP_CONF:-${PIP_CONFIG_FILE:-}}
if [ -n "$conf" ]; then cp "$conf" "$secrets/pip.conf"; else : > "$secrets/pip.conf"; fi

for kind in ${*:-torch light}; do
    tag="${IMAGE:-cascade-clip-workflow}:$version-python3.11${short:+-$short}"
    [ "$kind" = torch ] || tag="$tag-$kind"
    # shellcheck disable=SC2086  # BUILD_FLAGS are several words
    DOCKER_BUILDKIT=1 "$builder" build ${BUILD_FLAGS:-} --file components/images/Dockerfile --tag "$tag" \
        ${BASE_IMAGE:+--build-arg "BASE_IMAGE=$BASE_IMAGE"} --build-arg "KIND=$kind" --build-arg "COMMIT=$commit" \
        --secret "id=pip_conf,src=$secrets/pip.conf" .
    echo "built $tag"
done
