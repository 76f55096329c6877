"""Step: register a trained model as a new version in MLflow's registry; the gate decides on the champion.

A registered model is named `<protocol>-<method>`; tags distinguish setting and seed of its versions.
`models:/<name>@champion` always loads the best version so far.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cascade_core.clip.home import clip_folder
from components.cluster.pods import SMALL, Resources, by_kind
from components.contract import Call, Cluster, Folder, Place, step
from components.contract.shared import Checkpoint, Out
from components.results.names import PICTURE_COUNTS_FILE, PROFILE_FILE, SCORES_FILE
from components.steps.gate import DEFAULT, AcrossSettings, MaxSeenDrop, MinHiouGain, ModelName

MODEL_FILE = "model.json"
"""The registered version, with the gate's verdict."""


@dataclass(frozen=True)
class Registered:
    """A version in the registry, whether it became champion, the reason, and the champion that it was compared with."""

    name: str
    version: int
    champion: bool
    reason: str
    compared_with: int | None = None

    @property
    def uri(self) -> str:
        """The address of this version for `mlflow.pyfunc.load_model`."""
        return f"models:/{self.name}/{self.version}"

    def show(self) -> None:
        """Print the address, whether the version is the champion, and the reason."""
        print(f"registered {self.uri}{', the champion' if self.champion else ''}: {self.reason}")


def show_version(registered: Registered, _: Mapping[str, Any], *, verdict: Any) -> dict[str, Any]:
    """Write the registered version and the gate's verdict as a Markdown page for Kubeflow, and return them as metadata."""
    title = "is the champion" if registered.champion else "does not become the champion"
    other = registered.compared_with
    champion = "itself" if other == registered.version else f"version {other}" if other else "none"
    lines = [f"# {registered.uri} {title}", "", registered.reason, "", f"Champion so far: {champion}."]
    Path(verdict.path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"model": registered.uri, "champion": registered.champion, "reason": registered.reason}


@step(
    "register",
    example="cascade-clip register --checkpoint outputs/train/zegclip/final --evaluation outputs/evaluate/zegclip-inductive --out local_outputs/register",
    cluster=Cluster(
        output="registered",
        options=("name",),
        grouped={"margins": ("min_hiou_gain", "max_seen_drop", "across_settings")},
        pages={"verdict": "Markdown"},
        show=show_version,
        pods=by_kind(SMALL.with_retries(2), Resources(cpu="1", memory="8Gi", minutes=30, retries=2)),
    ),
)
def run(
    call: Call,
    /,
    *,
    checkpoint: Checkpoint,
    evaluation: Annotated[
        Path,
        Folder(
            "Folder of the checkpoint's evaluate step.",
            content=(SCORES_FILE, PICTURE_COUNTS_FILE),
            made_by="evaluate",
        ),
    ],
    profile: Annotated[
        Path,
        Folder(
            "Folder of the method's profile step, for metrics of size and speed.",
            content=(PROFILE_FILE,),
            travels_as="cost",
            made_by="profile",
        ),
    ]
    | None = None,
    out: Out,
    validation: Annotated[
        Path,
        Folder(
            "Folder of its evaluate step on the validation split, by which the gate decides; --evaluation if left out.",
            content=(SCORES_FILE, PICTURE_COUNTS_FILE),
            made_by="evaluate",
        ),
    ]
    | None = None,
    clip: Annotated[
        Path,
        Place(
            "CLIP folder or imported name, for its text tower; if left out, that of the CLIP in the checkpoint's manifest.",
            locate=clip_folder,
        ),
    ]
    | None = None,
    name: ModelName | None = None,
    decision: Annotated[Path, Folder("Folder of a gate step about this model.", local=True, made_by="gate")]
    | None = None,
    min_hiou_gain: MinHiouGain = DEFAULT.min_hiou_gain,
    max_seen_drop: MaxSeenDrop = DEFAULT.max_seen_drop,
    across_settings: AcrossSettings = DEFAULT.across_settings,
) -> Registered:
    """Register a model in MLflow's registry.

    Every candidate becomes a version, with signature, input example and model card, once it has loaded and answered as
    it will be served; the same model with the same scores becomes no second version. A name may hold models of several
    methods and settings; the scores of --evaluation, usually on test, are only reported. The version becomes champion if the gate
    finds it better than the present one. A refusal of --decision is final; an approval holds only for the champion
    it was made against, and is decided anew if the champion changed. The version keeps the pixel counts by which the gate decided, for later
    candidates. Writes `model.json`.

    Raises:
        UserError: an input folder is of another step, the evaluation is of another run than the checkpoint, the
            decision is about another model, the model does not load or answer, or tracking is off.
    """
    from cascade_core.checkpoints.manifest import load_manifest
    from cascade_core.checkpoints.model_folder import locate
    from cascade_core.predictor import Predictor
    from cascade_core.runtime.files import new_folder, write_json
    from cascade_core.runtime.validation import validated
    from components.artifacts.manifest import write_manifest
    from components.registry import decisions, kept_counts, model_card
    from components.registry import registration as registry
    from components.registry.addresses import clip_for
    from components.results.margins import Margins
    from components.results.picture_counts import read_counts
    from components.results.rows import BenchmarkRow, ScoreRow
    from components.tracking.store import require_store
    from components.tracking.tracker import tracked_step

    require_store("register in")
    limits = {
        "min_hiou_gain": min_hiou_gain,
        "max_seen_drop": max_seen_drop,
        "across_settings": across_settings,
    }
    margins = validated(Margins, limits, source="margins")
    manifest = load_manifest(checkpoint)
    row = ScoreRow.of_evaluation(evaluation) if profile is None else BenchmarkRow.read(evaluation, profile)
    scored = decisions.read_scored(evaluation)
    registry.check_same_run(manifest, row, evaluation)
    judged, counts = scored, read_counts(evaluation if validation is None else validation)
    if validation is not None:
        registry.check_same_run(manifest, ScoreRow.of_evaluation(validation), validation)
        judged = decisions.read_scored(validation)
    checkpoint, text_tower = locate(checkpoint, clip_for(str(checkpoint), clip))
    content_hash = registry.content_of(Predictor.load(checkpoint, text_tower, device="cpu"), row, scored)
    name = name or f"{row.protocol}-{row.method}"
    earlier = None if decision is None else decisions.read_decision(decision, name)
    tags = {"split": row.split, "data_hash": scored.data_hash, "num_pictures": scored.num_pictures}
    # No `out` for the run: the result is the version, which cannot be logged later if the store is away.
    with tracked_step(
        call.step.name,
        protocol=row.protocol,
        method=row.method,
        setting=row.setting,
        seed=row.seed,
        parameters=manifest.config.model_dump(mode="json"),
        tags=tags,
    ) as tracker:
        assert tracker.client is not None and tracker.run_id is not None
        client, values = tracker.client, row.model_dump(exclude_none=True)
        tracker.metrics({key: value for key, value in values.items() if isinstance(value, float)})
        version = registry.version_of(client, name, content_hash)
        if version is None:
            others = registry.other_seeds(client, name, row, scored)
            card = model_card.model_card(manifest, row, others=others, data_hash=scored.data_hash)
            model = registry.log_model(manifest, checkpoint, text_tower, card, run_id=tracker.run_id)
            registry.check_answers(model.model_uri)
            facts = registry.version_tags(manifest, row, scored, content_hash)
            if validation is not None:
                facts |= decisions.validation_tags(judged)
            facts |= registry.kubeflow_run_of(client, tracker.run_id)
            kept_counts.keep(tracker.run_id, evaluation if validation is None else validation)
            version = registry.new_version(client, name, model, facts, card)
        decided = registry.settle(client, name, version, judged, earlier, margins, counts)
        registered = Registered(name, version, decided.promote, decided.reason, decided.champion)
        tracker.tags(
            {"registered_model": registered.uri, "champion": decided.promote, "reason": decided.reason}
        )
    with new_folder(out) as folder:
        content = {"name": name, "version": version, "champion": decided.promote, "uri": registered.uri}
        write_json(folder / MODEL_FILE, {**content, "reason": decided.reason})
        parameters = {"name": name, **decided.margins.model_dump()}
        write_manifest(
            folder, step=call.step.name, inputs=call.inputs, parameters=parameters, commit=call.commit
        )
    return registered
