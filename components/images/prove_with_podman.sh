#!/bin/sh
# Build the GPU steps' image with podman on a bare Debian and run steps in it: for machines that reach Debian's
# packages and a package index, but no image registry. Needs root, podman and debootstrap; 20 GB of disk.
#
#   sh components/images/prove_with_podman.sh [FOLDER]     # FOLDER for roots, images and outputs; a new one
#
# DATA names the mini benchmark (data/mini), PIP_CONF is as for build.sh, TAG an image in FOLDER that was built
# before. The machine's certificates are mounted while packages are installed, so that an index behind a proxy
# of one's own is trusted; they are in no layer.
set -eu
cd "$(dirname "$0")/../.."
data=$(cd "${DATA:-data/mini}" && pwd)
work=${1:-$(mktemp -d)}
mkdir -p "$work/tmp"
base=localhost/debian-python3.11

# podman as root inside a container or a small machine: no limits, no cgroups of its own, storage of its own.
cat > "$work/containers.conf" <<'CONF'
[containers]
default_ulimits = []
cgroups = "disabled"
pids_limit = 0
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
cat > "$work/podman" <<PODMAN
#!/bin/sh
export CONTAINERS_CONF=$work/containers.conf TMPDIR=$work/tmp
exec unshare -m --propagation private sh -c '
    if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
    exec podman --root $work/storage --runroot $work/run "\$@"' podman "\$@"
PODMAN
chmod +x "$work/podman"

if ! "$work/podman" image exists "$base"; then
    [ -d "$work/root/etc" ] || debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$work/root"
    tar --create --directory "$work/root" . | "$work/podman" import - "$base"
fi

tag=${TAG:-}
if [ -z "$tag" ]; then
    image=localhost/cascade-clip-workflow
    BUILDER="$work/podman" IMAGE="$image" BASE_IMAGE="$base" \
        BUILD_FLAGS="--network=host --volume /etc/ssl/certs:/etc/ssl/certs:ro ${BUILD_FLAGS:-}" \
        sh components/images/build.sh gpu
    tag=$("$work/podman" images --format '{{.Repository}}:{{.Tag}}' "$image" | head -n 1)
fi

run() { "$work/podman" run --rm --network=none --read-only --tmpfs /tmp --cap-drop=all "$@"; }

echo "--- user, layers, and what must not be there"
run "$tag" id
"$work/podman" history --format '{{.Size}} {{.CreatedBy}}' "$tag" | cut -c 1-100
run "$tag" sh -c 'test ! -e /run/secrets/pip_conf && test ! -e /etc/pip.conf && test ! -w /opt/app && echo "no secrets, no writable code"'
if "$work/podman" image inspect "$tag" | grep -i -E 'index.url|password|token'; then
    echo "error: the image tells of an index or a credential" >&2
    exit 1
fi

echo "--- a step on the mini benchmark's data"
rm -rf "$work/out" && mkdir -m 777 "$work/out"
run "$tag" cascade-clip --help > "$work/help.txt"
head -n 3 "$work/help.txt"
volumes="--volume $data:/data/mini:ro --volume $work/out:/work/out"
# shellcheck disable=SC2086  # two options
step() { run $volumes --env CASCADE_TRACKING=off "$tag" "$@"; }
step cascade-clip prepare index --raw /data/mini/VOCdevkit/VOC2012 --protocol mini-18-6 --image-set train=train --image-set test=test --out out/prepared
step cascade-clip splits --protocol mini-18-6 --prepared out/prepared --out out/splits
step cascade-clip text-vectors --protocol mini-18-6 --recipe mini_zegclip --clip /data/mini/clip --out out/text
step torchrun --standalone --nproc-per-node 2 --no-python cascade-clip train --recipe mini_zegclip \
    --clip /data/mini/clip --prepared out/prepared --splits out/splits --text out/text --out out/train \
    --set train.iterations=4 --set train.batch_size=4
ls -ln "$work/out/train"
echo "proven: $tag"
