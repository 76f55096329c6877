"""Copy a version and an accepted rerun out of MLflow's store. `make.sh` runs this with the old code on the path."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import mlflow
from components.accepted import ROWS_FILE, history
from mlflow import MlflowClient

from cascade_core.predict import Segmenter
from components import benchmark_rerun

LABELS = ["zebra", "tiger", "sand", "grass"]
THRESHOLDS = {
    "max_drop": {"pAcc": 0.03, "miou_seen": 0.03, "miou_unseen": 0.05, "hiou": 0.04},
    "max_slowdown": 0.3,
    "confidence": 0.95,
}
out = Path(sys.argv[1])
client = MlflowClient()

(model,) = client.search_registered_models()
version = client.get_model_version(model.name, "1")
with tempfile.TemporaryDirectory() as scratch:
    fetched = mlflow.artifacts.download_artifacts(f"models:/{model.name}/1", dst_path=scratch)
    shutil.copytree(fetched, out / "registered" / "model", ignore=shutil.ignore_patterns("__pycache__"))
mlmodel = out / "registered" / "model" / "MLmodel"
checkout = str(Path(benchmark_rerun.__file__).parents[1])
mlmodel.write_text(mlmodel.read_text().replace(checkout, "/checkout"))  # the path differs on each machine
facts = {"name": model.name, "description": version.description, "tags": version.tags}
(out / "registered" / "version.json").write_text(json.dumps(facts, indent=2) + "\n")

benchmark_rerun.run(
    evaluations=[out / "evaluate" / "inductive", out / "evaluate" / "strict"],
    profiles=[out / "profile", out / "profile"],
    thresholds=THRESHOLDS,
    out=out / "benchmark",
)
(accepted,) = history()
run = client.get_run(accepted.run_id)
(out / "accepted").mkdir()
client.download_artifacts(accepted.run_id, ROWS_FILE, str(out / "accepted"))
kept = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
facts = {"status": run.info.status, "start_time": run.info.start_time, "tags": kept}
(out / "accepted" / "run.json").write_text(json.dumps(facts, indent=2) + "\n")

prediction = Segmenter.load(out / "model_folder", device="cpu").segment(
    out / "pictures/VOCdevkit/VOC2012/JPEGImages/test_0000.jpg", LABELS
)
expected = {
    "labels": LABELS,
    "label_map": prediction.label_map.tolist(),
    "mean_confidence": prediction.mean_confidence,
}
(out / "expected.json").write_text(json.dumps(expected) + "\n")
