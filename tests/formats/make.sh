#!/bin/sh
# Write `stored/` with an old commit's code: sh tests/formats/make.sh CHECKOUT OUT (see README.md).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$1" && pwd)
rm -rf "$2" && mkdir -p "$2" && cd "$2"
PATH=$checkout/.venv/bin:$PATH
export PYTHONPATH="$checkout" PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
export MLFLOW_TRACKING_URI=sqlite:///scratch/mlflow.db
mkdir scratch && (cd scratch && python "$here/make_inputs.py" ..)

tiny="--set train.iterations=4 --set train.batch_size=2 --set train.log_every=1 --set train.checkpoint_every=2
  --set self_train.batch_size=2 --set data.crop_size=32 --set evaluate.batch_size=2
  --set evaluate.short_side=32 --set evaluate.mode=slide --set evaluate.crop_size=32 --set evaluate.stride=24
  --set model.image_size=32 --set model.groups=[[0,1]] --set model.num_prompts=2 --set model.decoder_heads=2
  --set model.clip.image_size=32 --set model.clip.patch_size=8 --set model.clip.width=16
  --set model.clip.layers=4 --set model.clip.heads=2 --set model.clip.embed_dim=16"
folders="--prepared prepared --splits splits --text text"

cascade-clip prepare index --raw pictures/VOCdevkit/VOC2012 --protocol mini-18-6 \
  --image-set train=train --image-set val=val --image-set test=test --out prepared
cascade-clip splits --protocol mini-18-6 --prepared prepared --out splits
cascade-clip text-vectors --protocol mini-18-6 --recipe mini_cascade_clip --clip clip --out text
# shellcheck disable=SC2086
cascade-clip train --recipe mini_cascade_clip --clip clip $folders $tiny --out train
# shellcheck disable=SC2086
python "$here/make_interrupted.py" --recipe mini_cascade_clip --clip clip $folders $tiny --out interrupted
# shellcheck disable=SC2086
for mode in oracle strict; do
  cascade-clip self-train --trained train --protocol $mode $folders --out self_train/$mode
done
# shellcheck disable=SC2086
cascade-clip evaluate --checkpoint train/final --split test $folders --out evaluate/inductive
# shellcheck disable=SC2086
cascade-clip evaluate --checkpoint self_train/strict/final --split test $folders --out evaluate/strict
cascade-clip profile --checkpoint train/final --text text --repeats 2 --out profile
cascade-clip gate --evaluation evaluate/inductive --out gate
cascade-clip register --checkpoint train/final --clip clip --evaluation evaluate/inductive --profile profile \
  --decision gate --out register
cascade-clip export train/final --clip clip --format folder --out model_folder
python "$here/make_stored.py" .
rm -rf scratch benchmark evaluate/strict self_train/oracle  # needed for the above, or like what is kept
