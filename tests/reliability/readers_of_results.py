"""The readers of what steps and trainings write for later ones (scores, profiles, summaries, loss curves), and of requests."""

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

from cascade_core.data.prepared import check_label_set, read_summary
from cascade_core.datasets.catalogue import protocol
from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from components.inputs.split import training_pixels
from components.registry import registered_model
from components.registry.decisions import read_decision, read_scored
from components.results.confused_pairs import shares_of
from components.results.confusion_table import present_confusion
from components.results.report_page import cost_section, profiles_by_method, report_entry
from components.results.target_rows import target_row, text_table
from components.training.history import History
from components.training.resume_checkpoints import newest_checkpoint
from tests.reliability.mutations import of_json, of_text
from tests.reliability.reader import Reader, of_file
from tests.reliability.readers_of_weights import STORED, stored

CELLS = (
    ",",
    "\n",
    '"',
    "nan",
    "inf",
    "-1",
    "1e999",
    "x",
    "\0",
    "9" * 400,
    "\ud800",
    "iteration",
    "group",
    "iou",
    "0x1",
)
_of_table = of_text(*CELLS)
SPLIT = protocol("mini-18-6")


def _evaluated(_: Random) -> dict[str, bytes]:
    """Return an evaluation's folder with a profile's in it."""
    profile = {f"profile/{name}": content for name, content in stored("profile")(Random(0)).items()}
    return {**stored("evaluate/inductive")(Random(0)), **profile}


def _report(folder: Path) -> object:
    profiles = profiles_by_method([folder / "profile"])
    cost_section([folder / "profile"])
    present_confusion(folder), shares_of(folder, "one")
    return report_entry(folder, profiles), text_table([target_row(folder)]), read_scored(folder)


def _summary(folder: Path) -> object:
    check_label_set(folder, SPLIT.label_set)
    return training_pixels(read_summary(folder)["splits"], SPLIT, folder)


def _interrupted(_: Random) -> dict[str, bytes]:
    report = {
        "iteration": 3, "total_iterations": 4, "loss": 0.5, "terms": {"focal": 0.5}, "learning_rates": {"prompts": 0.1},
        "images_per_second": 3.0,
    }  # fmt: skip
    files = stored(".interrupted.unfinished")(Random(0))
    return {"history.csv": files["history.csv"], "pending_reports.json": json.dumps([report]).encode()}


def _sealed(_: Random) -> dict[str, bytes]:
    """Return a sealed checkpoint, with one that is damaged before it."""
    sums = {"manifest.json": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}  # of {}
    return {
        "resume/manifest.json": b"{}",
        "resume/history.csv": b"",
        "resume/checksums.json": json.dumps(sums).encode(),
    }


@cache
def _served() -> Any:
    model = registered_model.RegisteredPredictor()
    model.predictor = Predictor.load(STORED / "model_folder", device="cpu")
    return model


def _request(_: Random) -> bytes:
    picture = (STORED / "pictures" / "VOCdevkit").rglob("*.jpg")
    row = registered_model.request(next(iter(sorted(picture))).read_bytes(), ["zebra", "tiger"])
    return json.dumps([row]).encode()


def _segment(path: Path) -> object:
    """Answer rows of the types that MLflow lets through."""
    try:
        rows = json.loads(path.read_bytes())
        table = pd.DataFrame(
            [{"image": row["image"], "labels": list(map(str, row["labels"]))} for row in rows]
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError("MLflow refuses the request") from error
    return _served().predict(None, table)


READERS: dict[str, Reader] = {
    "scores": Reader(
        _report, _evaluated, {"scores.json": of_json, "per_class.csv": _of_table, "confusion.csv": _of_table}
    ),
    "profile": Reader(_report, _evaluated, {"profile/profile.json": of_json}),
    "prepared_summary": Reader(_summary, stored("prepared"), {"summary.json": of_json}),
    "decision": Reader(
        lambda folder: read_decision(folder, "mini-18-6-cascade_clip"),
        stored("gate"),
        {"decision.json": of_json},
    ),
    "loss_curve": Reader(
        lambda folder: History.read(folder, log_every=2, until=3),
        _interrupted,
        {"history.csv": _of_table, "pending_reports.json": of_json},
    ),
    "resume_checksums": Reader(newest_checkpoint, _sealed, {"resume/checksums.json": of_json}),
    "served_request": of_file("request.json", _segment, _request, of_json),
}
