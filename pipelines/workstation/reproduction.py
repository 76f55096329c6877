"""A published run on its own data set, in one command: train, self-train and score over seeds, beside the paper's row.

Or, without any training, a checkpoint that the authors' code saved. A folder's name holds a digest of all that
decides its content, so that an interrupted call resumes and another configuration starts anew.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cascade_core.clip.files import CONFIG_FILE
from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipes import recipe, trained_recipe_names
from cascade_core.configs.settings import SelfTrainingMode, TrainedSetting
from cascade_core.configs.training_free import LAST_BLOCKS
from cascade_core.data.sources.part_search import Part
from cascade_core.datasets.catalogue import DATA_SETS
from cascade_core.datasets.data_set import DataSet
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json, sha256
from cascade_core.runtime.listing import by_name
from components.artifacts.manifest import data_hash, input_hash
from components.results.published import PUBLISHED
from components.results.rows import BenchmarkRow
from components.steps import convert
from components.tracking.pipeline_run import whole_run
from pipelines.graphs.runner import Data
from pipelines.graphs.training import Measured, measure, name_classes
from pipelines.workstation.chains import Chain, FolderRunner, SelfTraining, run_chain

SPLIT = "val"
"""The papers score the validation pictures."""
SELF_TRAINING: SelfTrainingMode = "oracle"
SPLITS = ("train", SPLIT)


@dataclass(frozen=True)
class Inputs:
    """What a user brings: prepared data, a CLIP folder, and perhaps ready text vectors instead of CLIP's."""

    prepared: Path
    clip: Path
    vectors: Path | None = None


def data_sets() -> dict[str, DataSet]:
    """Return the public data sets with published rows, by name."""
    protocols = {row.protocol for row in PUBLISHED}
    return {
        data_set.name: data_set
        for data_set in DATA_SETS
        if data_set.release and protocols & {split.name for split in data_set.protocols}
    }


def data_set_named(name: str) -> DataSet:
    """Return the data set of this name; a `UserError` lists those with published rows."""
    return by_name(name, data_sets(), kind="data set with published scores")


def data_set_of(config: RunConfig) -> DataSet:
    """Return the data set of a configuration's protocol; UserError if it has no published scores."""
    known = data_sets()
    for data_set in known.values():
        if config.data.protocol in {split.name for split in data_set.protocols}:
            return data_set
    raise UserError(
        f"protocol {config.data.protocol!r} is of no data set with published scores: {', '.join(known)}; "
        "use `cascade-clip convert` and `cascade-clip evaluate`"
    )


def recipe_named(data_set: DataSet, method: str) -> str:
    """Return the recipe of a method on a data set; a training-free method has one recipe for all.

    Raises:
        UserError: the authors published no configuration of the method for it; the message lists the methods.
    """
    protocols = {split.name for split in data_set.protocols}
    configs = {name: recipe(name) for name in trained_recipe_names()}
    of_method = {config.method: name for name, config in configs.items() if config.data.protocol in protocols}
    of_method |= {name: name for name in LAST_BLOCKS}
    return by_name(method, of_method, kind=f"method on {data_set.name}")


def missing(
    data_set: DataSet, inputs: Inputs, *, clip_wanted: bool = True, splits: Sequence[str] = SPLITS
) -> list[str]:
    """Return what to bring and the command that takes it, a part of a sentence for each missing input."""
    lines = []
    if not (inputs.prepared / "index.parquet").is_file():
        assert data_set.release is not None
        only = "" if set(splits) == set(SPLITS) else "".join(f" --split {split}" for split in splits)
        files = " and ".join(_file(parts) for parts in data_set.release.requirements(tuple(splits)))
        lines.append(
            f"{inputs.prepared} holds no prepared data: fetch {files}, and run `cascade-clip prepare {data_set.name} "
            f"{data_set.release.example}{only} --out {inputs.prepared}`"
        )
    if inputs.vectors is not None and not inputs.vectors.is_file():
        lines.append(
            f"--vectors {inputs.vectors} does not exist: give the authors' .npy file of text vectors"
        )
    if clip_wanted and not (inputs.clip / CONFIG_FILE).is_file():
        lines.append(
            f"CLIP {inputs.clip} is not imported: run `cascade-clip import-clip ViT-B-16 --tag openai`, or fetch "
            "OpenAI's ViT-B-16.pt and run `cascade-clip import-clip ViT-B-16.pt`"
        )
    return lines


def check(
    data_set: DataSet, inputs: Inputs, *, clip_wanted: bool = True, splits: Sequence[str] = SPLITS
) -> None:
    """Check that the inputs are at hand.

    Raises:
        UserError: an input is missing; one sentence names all files to bring.
    """
    if lines := missing(data_set, inputs, clip_wanted=clip_wanted, splits=splits):
        raise UserError("; ".join(lines))


def _file(alternatives: Sequence[Part]) -> str:
    """Name the official one of several files that serve alike; others' conversions have no page."""
    file = next((part.file for part in alternatives if part.file.known), alternatives[-1].file)
    return f"{file.name} (from {file.page})"


def train(
    config: RunConfig,
    inputs: Inputs,
    *,
    seeds: Sequence[int],
    self_training: bool,
    overrides: Mapping[str, Any],
    processes: int | None,
    out: Path,
) -> list[BenchmarkRow]:
    """Train a recipe with each seed, self-train it, and score both; return a row per model.

    Raises:
        UserError: no seed is given, `out` is not to be written, or a step refuses its input.
    """
    if not seeds:
        raise UserError("reproduce needs at least one seed, such as --seeds 0,1,2")
    with whole_run(pipeline="reproduce", protocol=config.data.protocol):
        data = name_protocol(config, inputs, out)
        models: list[Measured[Path]] = []
        for seed in seeds:
            chain = Chain(
                config.recipe,
                seed,
                data,
                self_trainings=(SelfTraining(SELF_TRAINING),) if self_training else (),
                overrides=tuple(sorted(overrides.items())),
                processes=processes,
            )
            models += run_chain(chain, out / f"{config.recipe}-s{seed}-{chain.digest}", SPLIT)
    return rows_of(models)


def score_released(
    checkpoint: Path,
    inputs: Inputs,
    *,
    data_set: DataSet | None,
    protocol: str | None,
    setting: TrainedSetting | None,
    out: Path,
) -> tuple[RunConfig, list[BenchmarkRow]]:
    """Convert a checkpoint of the authors' code and score it; return its configuration and its row.

    The text vectors come from a file, else from the text tower in the checkpoint, else from CLIP.

    Raises:
        UserError: an input is missing; the checkpoint is of another data set, is broken, or does not reveal its
            protocol or setting; or `out` is not to be written.
    """
    from cascade_core.checkpoints.manifest import load_manifest

    if not checkpoint.is_file():
        raise UserError(
            f"--checkpoint {checkpoint} does not exist: give the .pth file that the authors released"
        )
    if data_set is not None:
        check(data_set, inputs, clip_wanted=False, splits=(SPLIT,))
    parts = (sha256(checkpoint), protocol or "", setting or "")
    folder = out / f"released-{digest_of(*parts)}"
    converted = folder / "convert"
    if not converted.exists():
        convert.run(checkpoint=checkpoint, protocol=protocol, setting=setting, out=converted)
    manifest = load_manifest(converted / "final")
    config = manifest.config
    own = data_set_of(config)
    if data_set not in (None, own):
        raise UserError(
            f"{checkpoint} was trained on {own.name} ({config.data.protocol}), not on {data_set.name}; "
            f"run `cascade-clip reproduce {own.name} --checkpoint {checkpoint}`"
        )
    tower = converted / convert.TEXT_TOWER
    if tower.is_dir():
        inputs = replace(inputs, clip=tower)
    check(own, inputs, clip_wanted=inputs.vectors is None, splits=(SPLIT,))
    with whole_run(pipeline="reproduce", protocol=config.data.protocol):
        data = name_protocol(config, inputs, out)
        run = FolderRunner(folder / digest_of(data_hash(inputs.prepared), input_hash(_path(data.text))))
        return config, rows_of([measure(run, data, converted, manifest.setting, {"split": SPLIT})])


def remarks(data_set: DataSet, inputs: Inputs, overrides: Mapping[str, Any]) -> list[str]:
    """Return the reasons why the numbers cannot be compared with the published ones; none is best."""
    source = read_json(inputs.prepared / "summary.json").get("source") or {}
    lines = []
    if not source.get("complete"):
        counts = ", ".join(f"{count:,} {split}" for split, count in (source.get("pictures") or {}).items())
        lines.append(
            f"the data are not known to be the whole of {data_set.title} ({counts or 'prepared without official files'})"
        )
    if overrides:
        changes = ", ".join(f"{key}={value}" for key, value in overrides.items())
        lines.append(f"the recipe was changed: {changes}")
    return lines


def name_protocol(config: RunConfig, inputs: Inputs, out: Path) -> Data[Path]:
    """Write the class split and the text vectors, in a folder of these data, this CLIP and these templates."""
    source = inputs.clip if inputs.vectors is None else inputs.vectors
    templates, protocol = config.data.templates, config.data.protocol
    by_template = config.model.reads_templates
    key = repr(templates) + "by_template" * by_template
    digest = digest_of(data_hash(inputs.prepared), input_hash(source), protocol, key)
    vectors = {"templates": templates, "vectors": inputs.vectors, "by_template": by_template or None}
    data = Data(prepared=inputs.prepared, clip=None if inputs.vectors else inputs.clip)
    named = name_classes(FolderRunner(out / f"classes-{digest}"), data, protocol=protocol, vectors=vectors)
    return replace(named, clip=inputs.clip)


def rows_of(models: Sequence[Measured[Path]]) -> list[BenchmarkRow]:
    """Return the rows of measured models."""
    return [BenchmarkRow.read(model.evaluation, model.cost) for model in models]


def _path(path: Path | None) -> Path:
    assert path is not None
    return path


def digest_of(*parts: str) -> str:
    """Return a digest for a folder's name, of the texts that decide the folder's content."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
