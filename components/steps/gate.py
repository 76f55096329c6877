"""Step: decide whether a candidate may become champion; the register step then promotes it."""

from pathlib import Path
from typing import Annotated

from components.contract import Call, Folder, Option, step
from components.contract.shared import Out
from components.registry.decisions import DECISION_FILE, Decision, decide, read_scored
from components.results.margins import Margins
from components.results.names import PICTURE_COUNTS_FILE, SCORES_FILE

DEFAULT = Margins()
MinHiouGain = Annotated[
    float,
    Option("Gain of hIoU, in points, that a new champion must exceed, though its interval lies above zero."),
]
MaxSeenDrop = Annotated[float, Option("Largest loss of mIoU(S), in points, that a new champion may have.")]
AcrossSettings = Annotated[
    bool, Option("Also compare with a champion of another setting, such as inductive with transductive.")
]
ModelName = Annotated[str, Option("Name in the registry; if left out, <protocol>-<method>.")]


@step(
    "gate",
    example="cascade-clip gate --evaluation outputs/evaluate/zegclip-inductive --out local_outputs/gate",
)
def run(
    call: Call,
    /,
    *,
    evaluation: Annotated[
        Path,
        Folder(
            "Folder of the candidate's evaluate step on the validation split.",
            content=(SCORES_FILE, PICTURE_COUNTS_FILE),
            made_by="evaluate",
        ),
    ],
    out: Out,
    name: ModelName | None = None,
    min_hiou_gain: MinHiouGain = DEFAULT.min_hiou_gain,
    max_seen_drop: MaxSeenDrop = DEFAULT.max_seen_drop,
    across_settings: AcrossSettings = DEFAULT.across_settings,
) -> Decision:
    """Decide whether a candidate beats the champion.

    Compares the candidate's evaluation with that of `@champion` in the registry, and writes `decision.json`. The interval of the gain in hIoU over
    the pictures must lie above zero; it comes from the pixel counts of both. If one keeps none, the gain must be more than 2.5 points. The
    registry stays as it is; `register --decision` promotes the candidate, and decides anew if the champion changed.

    Raises:
        UserError: the folder is not that of an evaluate step, its counts are broken, a margin is negative, or tracking is off.
    """
    from cascade_core.runtime.files import write_json
    from cascade_core.runtime.validation import validated
    from components.registry import kept_counts
    from components.registry import versions as registry
    from components.results.picture_counts import read_counts
    from components.results.step_files import read_scores
    from components.tracking.store import open_store, require_store

    limits = {
        "min_hiou_gain": min_hiou_gain,
        "max_seen_drop": max_seen_drop,
        "across_settings": across_settings,
    }
    margins = validated(Margins, limits, source="margins")
    candidate, method = read_scored(evaluation), str(read_scores(evaluation).get("method"))
    require_store("read champions from")
    name = name or f"{candidate.protocol}-{method}"
    with call.writing(
        protocol=candidate.protocol,
        method=method,
        parameters={"name": name, **limits},
        tracked_parameters={},
        tags={"split": candidate.split, "data_hash": candidate.data_hash},
    ) as work:
        champion, ours = registry.champion(open_store(), name), read_counts(evaluation)
        theirs = None if champion is None else kept_counts.counts_of(champion)
        decision = decide(name, candidate, champion, margins, ours=ours, theirs=theirs)
        work.tracker.tags({"promote": decision.promote, "reason": decision.reason})
        write_json(work.folder / DECISION_FILE, decision.model_dump(mode="json"))
    return decision
