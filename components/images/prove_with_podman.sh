#!/bin/sh
# Build both images with podman on a bare Debian, and run each of the workflow's steps in its image. For machines that
# reach Debian's packages and a package index, but no image registry. Needs root, podman, debootstrap and 25 GB of
# disk.
#
#   sh components/images/prove_with_podman.sh [FOLDER]     # FOLDER for roots, images and outputs; default: a new one
#
# DATA is the mini benchmark's folder (default: data/mini), PIP_CONF is as for build.sh, and BUILT=yes reuses the images
# of an earlier run in FOLDER. The machine's certificates are mounted while packages are installed, so that pip trusts
# an index behind a private proxy; they are in no layer.
set -eu
cd "$(dirname "$0")/../.."
data=$(cd "${DATA:-data/mini}" && pwd)
work=${1:-$(mktemp -d)}
mkdir -p "$work/tmp"
work=$(cd "$work" && pwd)
base=localhost/debian-python3.11
image=localhost/cascade-clip-workflow

# For podman as root inside a container: no limits, no cgroups, and storage in FOLDER.
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
    rm -rf "$work/root"
fi

if [ -z "${BUILT:-}" ]; then
    BUILDER="$work/podman" IMAGE="$image" BASE_IMAGE="$base" \
        BUILD_FLAGS="--network=host --volume /etc/ssl/certs:/etc/ssl/certs:ro ${BUILD_FLAGS:-}" \
        sh components/images/build.sh
fi
torch=$(BUILDER=true IMAGE="$image" sh components/images/build.sh torch | sed 's/^built //')
light="$torch-light"

rm -rf "$work/out" && mkdir -m 777 "$work/out"
run() {
    # `exec` is explicit because engines differ: Triton cannot load its libraries from a tmpfs mounted noexec.
    "$work/podman" run --rm --network=none --read-only --tmpfs /tmp:exec --cap-drop=all \
        --volume "$data:/data/mini:ro" --volume "$work/out:/work/out" "$@"
}

for tag in "$torch" "$light"; do
    echo "--- $tag: user, size, layers, and a check for secrets"
    run "$tag" id
    "$work/podman" image inspect --format '{{.Size}} bytes' "$tag"
    "$work/podman" history --format '{{.Size}} {{.CreatedBy}}' "$tag" | cut -c 1-100
    run "$tag" test -s /etc/ssl/certs/ca-certificates.crt  # Kubeflow's launcher reads it
    run "$tag" sh -c 'test ! -e /run/secrets/pip_conf && test ! -e /etc/pip.conf && test ! -w /opt/app && echo "no secrets, no writable code"'
    if "$work/podman" image inspect "$tag" | grep -i -E 'index.url|password|token'; then
        echo "error: the image names an index or a credential" >&2
        exit 1
    fi
done
run "$torch" python3 -m pip --no-cache-dir check
if run "$light" python3 -m pip --no-cache-dir check | grep -v '^cascade-clip-workflow .* requires .*, which is not installed'; then
    echo "error: the light image lacks packages that it should have" >&2
    exit 1
fi
run "$light" python3 -c 'from importlib.util import find_spec; assert not find_spec("torch"); print("no torch")'
run "$light" sh -c 'if command -v gcc; then exit 1; else echo "no compiler"; fi'
# Compiles a module as Triton compiles a kernel's launcher; without a GPU Triton compiles none itself.
run "$torch" python3 -c '
from triton.runtime.build import compile_module_from_src
source = """#include <Python.h>
static struct PyModuleDef proof = {PyModuleDef_HEAD_INIT, "proof", 0, -1, 0};
PyMODINIT_FUNC PyInit_proof(void) { return PyModule_Create(&proof); }"""
print("compiled by Triton:", compile_module_from_src(source, "proof").__file__)'

# Every step runs in its image of pipelines/kubeflow/resources.py; steps that use MLflow share one database.
step() { # IMAGE, TRACKING ON OR OFF, COMMAND...
    tag=$1 tracking=$2
    shift 2
    echo "--- ${tag##*:}: $*"
    run --env CASCADE_TRACKING="$tracking" --env MLFLOW_TRACKING_URI=sqlite:////work/out/mlflow.db "$tag" "$@"
}
step "$light" off cascade-clip --help > "$work/help.txt"
head -n 3 "$work/help.txt"
step "$light" off cascade-clip prepare index --raw /data/mini/VOCdevkit/VOC2012 --protocol mini-18-6 \
    --image-set train=train --image-set test=test --out out/prepared
step "$light" off cascade-clip splits --protocol mini-18-6 --prepared out/prepared --out out/splits
step "$torch" off cascade-clip text-vectors --protocol mini-18-6 --recipe mini_zegclip --clip /data/mini/clip --out out/text
step "$torch" off torchrun --standalone --nproc-per-node 2 --no-python cascade-clip train --recipe mini_zegclip \
    --clip /data/mini/clip --prepared out/prepared --splits out/splits --text out/text --out out/train \
    --set train.iterations=4 --set train.batch_size=4
step "$torch" off cascade-clip evaluate --checkpoint out/train/final --split test --prepared out/prepared \
    --splits out/splits --text out/text --limit 8 --out out/evaluate
step "$torch" off cascade-clip profile --checkpoint out/train/final --text out/text --out out/profile
step "$light" on cascade-clip gate --evaluation out/evaluate --out out/gate
step "$torch" on cascade-clip register --checkpoint out/train/final --clip /data/mini/clip --evaluation out/evaluate \
    --profile out/profile --decision out/gate --out out/register
step "$light" on cascade-clip models list
step "$light" off cascade-clip report --evaluation out/evaluate --profile out/profile --training out/train --out out/report

echo "--- a pipeline's step as Kubeflow starts it, in the light image"
step "$light" off python3 -m kfp.dsl.executor_main --component_module_path /opt/app/components/ops/runs.py \
    --function_to_execute grid --executor_input '{"inputs": {"parameterValues": {"runs": [{"recipe": "mini_zegclip"}],
    "seeds": [0, 1]}}, "outputs": {"outputFile": "/work/out/grid.json"}}'
cat "$work/out/grid.json"
echo
ls -ln "$work/out"
echo "proven: $torch and $light"
