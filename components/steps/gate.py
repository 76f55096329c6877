"""Step: may a candidate become champion? Nothing is promoted; the register step does that with the decision."""

import logging
from pathlib import Path
from typing import Annotated

from components.cluster.pods import TALK, by_kind
from components.contract import Call, Cluster, Folder, Option, step
from components.contract.shared import Out
from components.registry.decisions import DECISION_FILE, Decision, decide, read_scored
from components.results.margins import Margins
from components.results.names import SCORES_FILE

log = logging.getLogger(__name__)

DEFAULT = Margins()
MinHiouGain = Annotated[float, Option("Points of hIoU a new champion must gain by more than.")]
MaxSeenDrop = Annotated[float, Option("Points of mIoU(S) it may lose at most.")]
ModelName = Annotated[str, Option("Registered name; <protocol>-<method> if left out.")]


@step(
    "gate",
    example="cascade-clip gate --evaluation outputs/evaluate/zegclip-inductive --out local_outputs/gate",
    cluster=Cluster(
        output="decision",
        grouped={"margins": ("min_hiou_gain", "max_seen_drop")},
        show=lambda decided, _: {"promote": decided.promote, "reason": decided.reason},
        pods=by_kind(TALK.with_retries(2)),
    ),
)
def run(
    call: Call,
    /,
    *,
    evaluation: Annotated[Path, Folder("Folder of the candidate's evaluate step.", content=(SCORES_FILE,))],
    out: Out,
    name: ModelName | None = None,
    min_hiou_gain: MinHiouGain = DEFAULT.min_hiou_gain,
    max_seen_drop: MaxSeenDrop = DEFAULT.max_seen_drop,
) -> Decision:
    """Ask whether a candidate beats the champion.

    Holds an evaluated candidate against `@champion` of the name and writes `decision.json`. Nothing is promoted;
    `register --decision` does that with the answer, and asks anew if the champion has changed in between.

    Raises:
        UserError: the folder is not of an evaluate step, a margin is negative, or tracking is off.
    """
    from cascade_core.runtime.files import read_json, write_json
    from cascade_core.runtime.validation import validated
    from components.registry import versions as registry
    from components.tracking.store import open_store, require_store

    require_store("ask about champions")
    given = {"min_hiou_gain": min_hiou_gain, "max_seen_drop": max_seen_drop}
    margins = validated(Margins, given, source="margins")
    candidate, method = read_scored(evaluation), str(read_json(evaluation / SCORES_FILE).get("method"))
    name = name or f"{candidate.protocol}-{method}"
    with call.writing(
        protocol=candidate.protocol,
        method=method,
        parameters={"name": name, **given},
        tracked_parameters={},
        tags={"split": candidate.split, "data_hash": candidate.data_hash},
    ) as work:
        decision = decide(name, candidate, registry.champion(open_store(), name), margins)
        work.tracker.tags({"promote": decision.promote, "reason": decision.reason})
        write_json(work.folder / DECISION_FILE, decision.model_dump(mode="json"))
    log.info("%s: %s", name, decision.reason)
    return decision
