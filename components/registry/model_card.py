"""The model card of a registered version: what it is, was trained on, scores, may be used for, and cannot do."""

from collections.abc import Sequence
from importlib import metadata

from cascade_core.checkpoints.manifest import CheckpointManifest
from cascade_core.configs.recipes import METHOD_NAMES
from cascade_core.configs.settings import Setting
from components.results.rows import DROPPED, SCORES, SETTING_NAMES, BenchmarkRow, summaries

DESCRIPTION_LENGTH = 5000
"""Characters that the registry keeps of a version's description."""

FILE = "model_card.md"
SUPERVISION: dict[Setting, str] = {
    "inductive": "The unseen classes' pixels were treated as unlabelled; nothing of them was shown, not even names.",
    "transductive_oracle": "Self-trained: names and pixels of the unseen classes were there without labels, and where "
    "some unseen class is was known (the papers' mode).",
    "transductive_strict": "Self-trained: names and pixels of the unseen classes were there without labels, and "
    "unlabelled pixels told nothing.",
    "supervised": 'Fully supervised: every class\'s labels were shown, so scores of "unseen" classes are no '
    "zero-shot result.",
}


def model_card(
    manifest: CheckpointManifest, row: BenchmarkRow, *, others: Sequence[BenchmarkRow], data_hash: str | None
) -> str:
    """Give the card in Markdown.

    `others` are rows of versions that differ from this one in nothing but the seed; with any, the scores'
    mean and sample deviation over all of them stand beside this version's own.
    """
    config = manifest.config
    method = METHOD_NAMES.get(row.method, row.method)
    setting = SETTING_NAMES.get(row.setting, row.setting)
    return "\n".join(
        [
            f"# {method}, {setting}, {row.protocol}, seed {row.seed}",
            "",
            "Labels every pixel of a picture with the best of the class names given in the call.",
            "",
            "## Trained on",
            "",
            f"- data with hash `{manifest.provenance.get('data_hash', 'unknown')}`, protocol `{row.protocol}`",
            f"- recipe `{config.recipe}`, {manifest.iteration} of {manifest.total_iterations} iterations, "
            f"from the image tower {config.model.clip.name!r} ({_tower(manifest)})",
            f"- {SUPERVISION.get(manifest.setting, manifest.setting)}",
            f"- seen classes: {', '.join(_seen(manifest))}",
            f"- unseen classes: {', '.join(manifest.unseen) or 'none'}",
            "",
            "## Scores",
            "",
            f"On the {row.split} pictures of data `{data_hash or 'unknown'}`, in percent; background: {row.background}.",
            "",
            *_score_table(row, others),
            "",
            "## Licence",
            "",
            f"Code: {_licence()}. The weights hold those of the image and text tower named above and what was "
            "learned from the data named above, whose own terms go on to hold.",
            "",
            "## Limits",
            "",
            "- Scores are of one data set's pictures; other kinds of pictures were not measured.",
            f"- {_none_of_these(row)}",
            "- A name the text tower does not know is refused, or, by a tokenizer of word pieces, guessed at.",
            f"- {_seed_limit(row, others)}",
            "- Not meant for decisions about people or where a wrong pixel does harm.",
            "",
        ]
    )


def described(card: str) -> str:
    """Cut a card to what the registry keeps of a description, saying so."""
    if len(card) <= DESCRIPTION_LENGTH:
        return card
    note = f"\n\n(cut; the whole card is the version's artifact {FILE})"
    return card[: DESCRIPTION_LENGTH - len(note)] + note


def _score_table(row: BenchmarkRow, others: Sequence[BenchmarkRow]) -> list[str]:
    heads = ["", *SCORES.values()]
    values = [getattr(row, score) for score in SCORES]
    lines = [["this version", *("-" if value is None else f"{100 * value:.1f}" for value in values)]]
    if others:
        (summary,) = summaries([row, *others])
        seeds = ", ".join(str(seed) for seed in sorted(summary.seeds))
        lines.append([f"over seeds {seeds}", *(summary.percent(score) for score in SCORES)])
    rule = ["---", *["--:"] * len(SCORES)]
    return [f"| {' | '.join(cells)} |" for cells in (heads, rule, *lines)]


def _seen(manifest: CheckpointManifest) -> list[str]:
    return [name for name in manifest.classes if name not in manifest.unseen]


def _tower(manifest: CheckpointManifest) -> str:
    return {"weights": "pretrained", "random": "random, a control"}.get(
        str(manifest.provenance.get("clip")), "of unknown origin"
    )


def _seed_limit(row: BenchmarkRow, others: Sequence[BenchmarkRow]) -> str:
    if others:
        return "The deviation over seeds says how far a single score can be trusted."
    return f"One seed ({row.seed}): how far its scores vary from run to run is not known from this registry."


def _none_of_these(row: BenchmarkRow) -> str:
    if row.background == DROPPED:
        return 'The best of the names given is chosen for every pixel: there is no class "none of these".'
    return f"Pixels of none of the names given are told by a background policy: {row.background}."


def _licence() -> str:
    return metadata.metadata("cascade-clip-workflow")["License-Expression"]
