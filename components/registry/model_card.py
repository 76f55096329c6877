"""Write the model card of a registered version: its training, scores, intended use and limits."""

from collections.abc import Sequence
from importlib import metadata

from cascade_core.checkpoints.manifest import CheckpointManifest
from cascade_core.configs.recipes import METHOD_NAMES
from cascade_core.configs.settings import Setting
from components.results.rows import DROPPED, SCORES, SETTING_NAMES, ScoreRow, summaries

DESCRIPTION_LENGTH = 5000
"""The registry's limit on a version's description, in characters."""

FILE = "model_card.md"
SUPERVISION: dict[Setting, str] = {
    "inductive": "The pixels of unseen classes were treated as unlabelled; neither their labels nor their names "
    "were used.",
    "transductive_oracle": "Self-trained: names and pixels of the unseen classes were used without labels, and the "
    "true masks said which pixels are of some unseen class (the papers' mode).",
    "transductive_strict": "Self-trained: names and pixels of the unseen classes were used without labels; "
    "unlabelled pixels gave no hint where unseen classes are.",
    "supervised": 'Fully supervised: labels of all classes were used, so scores of "unseen" classes are no '
    "zero-shot result.",
    "training_free": "Not trained: CLIP as published, with another last block; no labelled pixel was used.",
}


def model_card(
    manifest: CheckpointManifest, row: ScoreRow, *, others: Sequence[ScoreRow], data_hash: str | None
) -> str:
    """Return the card in Markdown.

    Args:
        manifest: the checkpoint's.
        row: scores of this version.
        others: rows of versions that differ from this one only in the seed; if there are any, the card adds
            the mean and sample deviation of the scores over all seeds.
        data_hash: hash of the data the scores were measured on.
    """
    config = manifest.config
    method = METHOD_NAMES.get(row.method, row.method)
    setting = SETTING_NAMES.get(row.setting, row.setting)
    towers = {"weights": "pretrained", "random": "random, a control"}
    tower = towers.get(str(manifest.provenance.get("clip")), "of unknown origin")
    seen = ", ".join(name for name in manifest.classes if name not in manifest.unseen)
    background = (
        f"Pixels that show none of the given names are marked by a background policy: {row.background}."
    )
    if row.background == DROPPED:
        background = 'Every pixel gets the best of the given names: there is no class "none of these".'
    spread = f"One seed ({row.seed}): this registry does not show how far scores vary between runs."
    if others:
        spread = "The deviation over seeds shows how far to trust a single score."
    return f"""\
# {method}, {setting}, {row.protocol}, seed {row.seed}

Labels every pixel of a picture with the best of the class names given in the call.

## Trained on

- data with hash `{manifest.provenance.get("data_hash", "unknown")}`, protocol `{row.protocol}`
- recipe `{config.recipe}`, {manifest.iteration} of {manifest.total_iterations} iterations, from the image tower \
{config.model.clip.name!r} ({tower})
- {SUPERVISION.get(manifest.setting, manifest.setting)}
- seen classes: {seen or "none"}
- unseen classes: {", ".join(manifest.unseen) or "none"}

## Scores

On the {row.split} pictures of data `{data_hash or "unknown"}`, in percent; background: {row.background}.

{_score_table(row, others)}

## Licence

Code: {metadata.metadata("cascade-clip-workflow")["License-Expression"]}. The weights contain those of the image and \
text tower named above and what was learned from the data named above; the terms of both still apply.

## Limits

- Scores are of one data set's pictures; other kinds of pictures were not measured.
- {background}
- A name unknown to the text tower is refused; a tokenizer of word pieces accepts it, with unreliable results.
- {spread}
- Not meant for decisions about people, or for uses in which a wrong pixel does harm.
"""


def shortened(card: str) -> str:
    """Cut a card to `DESCRIPTION_LENGTH`, with a note that it was cut."""
    if len(card) <= DESCRIPTION_LENGTH:
        return card
    note = f"\n\n(cut; the whole card is the version's artifact {FILE})"
    return card[: DESCRIPTION_LENGTH - len(note)] + note


def _score_table(row: ScoreRow, others: Sequence[ScoreRow]) -> str:
    values = [getattr(row, score) for score in SCORES]
    lines = [["", *SCORES.values()], ["---", *["--:"] * len(SCORES)]]
    lines.append(["this version", *("-" if value is None else f"{100 * value:.1f}" for value in values)])
    if others:
        (summary,) = summaries([row, *others])
        seeds = ", ".join(str(seed) for seed in sorted(summary.seeds))
        lines.append([f"over seeds {seeds}", *(summary.percent(score) for score in SCORES)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
