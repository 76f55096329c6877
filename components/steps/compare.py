"""Step: models side by side on the same pictures, with the truth, on one page that needs nothing else."""

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
    """Where the page lies, and how many pictures are on it."""

    page: Path
    num_pictures: int

    def show(self) -> None:
        """Print both."""
        print(f"{self.page}: {self.num_pictures} pictures")


@step(
    "compare",
    example="cascade-clip compare --checkpoint outputs/train/zegclip/final --checkpoint outputs/train/cascade_clip/final --out local_outputs/compare",
    tracked=False,
)
def run(
    call: Call,
    /,
    *,
    checkpoints: Annotated[
        Sequence[Path], Folder("Checkpoint folder; two or more, in order.", flag="--checkpoint")
    ],
    prepared: Prepared,
    splits: SplitsFolder,
    text: Text,
    split: Annotated[str, Option("Split whose pictures are shown.", default="val")],
    out: Out,
    limit: Annotated[
        int | None, Option("So many pictures, evenly spread; all if left out.", minimum=1)
    ] = None,
    device: Device = None,
    background: BackgroundPolicy | None = None,
) -> Compared:
    """Put picture, truth and the predictions of several models on one page.

    The page needs nothing else, sorts by the difference between the first and the last model, and filters by
    class. Scores of single pictures say where to look, not which model is better: that is the report's. They lie
    beside the page as `pictures.json`. Predictions are those of evaluation; the checkpoints are of one protocol.
    --background says which pixels are background, in place of the checkpoints' own setting.

    Raises:
        UserError: there are fewer than two checkpoints, they are of different protocols or background
            policies, the policy does not go with label maps or text vectors, the limit is below 1, or there are more
            than 2,000 pictures.
    """
    from cascade_core.runtime.files import write_json
    from components.artifacts import data_hash
    from components.evaluation import side_by_side
    from components.inputs.reading import check_limit

    check_limit(limit)
    if len(checkpoints) < 2:
        raise UserError(f"{len(checkpoints)} checkpoint given; a comparison needs two or more")
    sides = side_by_side.sides(checkpoints, device, background, prepared=prepared, splits=splits, text=text)
    under = {"split": split, "background": str(sides.background)}
    with call.writing(parameters={**under, "limit": limit}) as work:
        lines = side_by_side.lines_of(sides, split, limit)
        page = side_by_side.page_of(lines, sides, split, data_hash(prepared))
        (work.folder / PAGE_FILE).write_text(page)
        scores = {
            "protocol": sides.scored.name,
            **under,
            "models": [model.title for model in sides.models],
            "pictures": [{"name": line["name"], "scores": [*map(vars, line["scores"])]} for line in lines],
        }
        write_json(work.folder / SCORES_FILE, scores)
    return Compared(out / PAGE_FILE, len(lines))
