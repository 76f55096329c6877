"""Step: show predictions of several models and the truth side by side on one HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cascade_core.errors import UserError
from components.contract import Call, Folder, Option, step
from components.contract.shared import BackgroundPolicy, Device, Out, Prepared, SplitsFolder, Text

PAGE_FILE, SCORES_FILE = "compare.html", "pictures.json"


@dataclass(frozen=True)
class Compared:
    """The page, and the number of pictures on it."""

    page: Path
    num_pictures: int

    def show(self) -> None:
        """Print page and number."""
        print(f"{self.page}: {self.num_pictures} pictures")


@step(
    "compare",
    example="cascade-clip compare --checkpoint outputs/train/zegclip/final --checkpoint outputs/train/cascade_clip/final --out local_outputs/compare",
)
def run(
    call: Call,
    /,
    *,
    checkpoints: Annotated[
        Sequence[Path],
        Folder(
            "Checkpoint folder; repeat it for each model, in the order of the page.",
            flag="--checkpoint",
            made_by="train",
        ),
    ],
    prepared: Prepared,
    splits: SplitsFolder,
    text: Text,
    split: Annotated[str, Option("Split with the pictures, such as val or test.", default="val")],
    out: Out,
    limit: Annotated[
        int | None, Option("Number of pictures, evenly spread; if left out, all.", minimum=1)
    ] = None,
    device: Device = None,
    background: BackgroundPolicy | None = None,
) -> Compared:
    """Put picture, truth and the predictions of several models on one page.

    The page is one file. It sorts pictures by the difference between the first and the last model, and filters
    them by class. Scores of single pictures show where to look; only the report shows which model is better.
    `pictures.json` holds the same scores, and the MLflow run both files. The predictions are those of evaluation. All checkpoints must be of one
    protocol. --background replaces the checkpoints' own background policy.

    Raises:
        UserError: there are fewer than two checkpoints, they are of different protocols or background policies,
            the policy does not fit the label maps or text vectors, the limit is below 1, or there are more than
            2,000 pictures.
    """
    from cascade_core.runtime.files import write_json
    from components.artifacts.manifest import data_hash
    from components.evaluation import side_by_side
    from components.inputs.reading import check_limit

    check_limit(limit)
    if len(checkpoints) < 2:
        raise UserError(f"{len(checkpoints)} checkpoint given; a comparison needs two or more")
    sides = side_by_side.sides(checkpoints, device, background, prepared=prepared, splits=splits, text=text)
    conditions = {"split": split, "background": str(sides.background)}
    data = data_hash(prepared)
    with call.writing(
        protocol=sides.scored.name,
        parameters={**conditions, "limit": limit},
        tags={"data_hash": data, "split": split},
    ) as work:
        lines = side_by_side.lines_of(sides, split, limit)
        page = side_by_side.page_of(lines, sides, split, data)
        (work.folder / PAGE_FILE).write_text(page, encoding="utf-8")
        scores = {
            "protocol": sides.scored.name,
            **conditions,
            "models": [model.title for model in sides.models],
            "pictures": [{"name": line["name"], "scores": [*map(vars, line["scores"])]} for line in lines],
        }
        write_json(work.folder / SCORES_FILE, scores)
        work.tracker.metrics({"pictures": len(lines)})
        work.tracker.files(PAGE_FILE, SCORES_FILE)
    return Compared(out / PAGE_FILE, len(lines))
