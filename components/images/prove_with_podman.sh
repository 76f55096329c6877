#!/bin/sh
# Build both images with podman on a bare Debian and run the workflow's steps in them, each in the image it is meant
# for: for machines that reach Debian's packages and a package index, but no image registry. Needs root, podman and
# debootstrap; 25 GB of disk.
#
#   sh components/images/prove_with_podman.sh [FOLDER]     # FOLDER for roots, images and outputs; a new one
#
# DATA names the mini benchmark (data/mini), PIP_CONF is as for build.sh, BUILT=yes takes the images that an earlier
# run left in FOLDER. The machine's certificates are mounted while packages are installed, so that an index behind a
# proxy of one's own is trusted; they are in no layer.
set -eu
cd "$(dirname "$0")/../.."
data=$(cd "${DATA:-data/mini}" && pwd)
work=${1:-$(mktemp -d)}
mkdir -p "$work/tmp"
work=$(cd "$work" && pwd)
base=localhost/debian-python3.11
image=localhost/cascade-clip-workflow

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
    rm -rf "$work/root"
fi

if [ -z "${BUILT:-}" ]; then
    BUILDER="$work/podman" IMAGE="$image" BASE_IMAGE="$base" \
        BUILD_FLAGS="--network=host --volume /etc/ssl/certs:/etc/ssl/certs:ro ${BUILD_FLAGS:-}" \
        sh components/images/build.sh
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
torch="$image:$version-python3.11"
light="$torch-light"

rm -rf "$work/out" && mkdir -m 777 "$work/out"
run() {
    # Said, not left to the engine: from a tmpfs mounted noexec what Triton compiles there cannot be loaded.
    "$work/podman" run --rm --network=none --read-only --tmpfs /tmp:exec --cap-drop=all \
        --volume "$data:/data/mini:ro" --volume "$work/out:/work/out" "$@"
}

for tag in "$torch" "$light"; do
    echo "--- $tag: user, size, layers, and what must not be there"
    run "$tag" id
    "$work/podman" image inspect --format '{{.Size}} bytes' "$tag"
    "$work/podman" history --format '{{.Size}} {{.CreatedBy}}' "$tag" | cut -c 1-100
    run "$tag" sh -c 'test ! -e /run/secrets/pip_conf && test ! -e /etc/pip.conf && test ! -w /opt/app && echo "no secrets, no writable code"'
    if "$work/podman" image inspect "$tag" | grep -i -E 'index.url|password|token'; then
        echo "error: the image tells of an index or a credential" >&2
        exit 1
    fi
done
run "$torch" python3 -m pip --no-cache-dir check
if run "$light" python3 -m pip --no-cache-dir check | grep -v '^cascade-clip-workflow .* requires .*, which is not installed'; then
    echo "error: the light image lacks more than the project's own packages that it leaves out" >&2
    exit 1
fi
run "$light" python3 -c 'import importlib.util as found; assert not found.find_spec("torch"); print("no torch")'
run "$light" sh -c 'if command -v gcc; then exit 1; else echo "no compiler"; fi'
# As Triton makes what starts a kernel, but for CUDA's part; without a GPU it makes none.
run "$torch" python3 -c '
from triton.runtime.build import compile_module_from_src
source = """#include <Python.h>
static struct PyModuleDef proof = {PyModuleDef_HEAD_INIT, "proof", 0, -1, 0};
PyMODINIT_FUNC PyInit_proof(void) { return PyModule_Create(&proof); }"""
print("compiled by Triton:", compile_module_from_src(source, "proof").__file__)'

# Every step in the image that pipelines/kubeflow/resources.py gives it; those that speak to MLflow use one database.
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
