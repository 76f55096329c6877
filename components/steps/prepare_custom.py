"""Step: check a data set of the user's own, with label maps or a file of objects, and write its index."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cascade_core.errors import UserError
from cascade_core.runtime.option_texts import pairs
from components.contract import Call, Option, Output, Place, step
from components.contract.shared import by_split

if TYPE_CHECKING:
    from cascade_core.data.examine import Problem

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CustomPrepared:
    """The index file, the content of `summary.json`, and the pictures that were left out, with the reasons."""

    index: Path
    summary: Mapping[str, Any]
    images: Path
    left_out: "tuple[Problem, ...]"

    @property
    def data_hash(self) -> str:
        """The hash of pictures, label maps and splits."""
        return str(self.summary["data_sha256"])

    def show(self) -> None:
        """Print a table of pictures and pixels per class, remarks on it, and the pictures that were left out."""
        from rich.console import Console

        from components.inputs.custom import problem_text
        from components.results.custom_table import remarks, summary_table

        Console().print(summary_table(self.summary))
        for line in remarks(self.summary):
            print(line)
        if self.left_out:
            print(problem_text(self.images, self.left_out, remedy="these pictures were left out"))


def _shares(items: Iterable[str]) -> dict[str, float]:
    shares = {}
    for split, value in pairs("--hold-out", items, form="SPLIT=SHARE", example="val=0.2").items():
        try:
            shares[split] = float(value)
        except ValueError:
            raise UserError(
                f"--hold-out {split}={value!r} is no share; an example is --hold-out val=0.2"
            ) from None
    return shares


def _annotation_files(items: Iterable[str]) -> dict[str, Path]:
    """Read FILE or SPLIT=FILE; an existing path may contain a = itself."""
    files: dict[str, Path] = {}
    for item in items:
        split, equals, file = item.partition("=")
        name, path = (split, Path(file)) if equals and not Path(item).exists() else ("", Path(item))
        if name in files:
            raise UserError(
                f"--annotations {item!r}: a file was given already; name the split of each: --annotations val=FILE"
            )
        files[name] = path
    return files


@step(
    "prepare",
    command="prepare custom",
    example="cascade-clip prepare custom --labels pets.yaml --images pets/images --maps pets/maps --hold-out val=0.2",
)
def run(
    call: Call,
    /,
    *,
    labels: Annotated[Path, Place("Label file (.yaml) with names, ids, unseen classes and background.")],
    images: Annotated[Path, Place("Folder with the pictures.")],
    maps: Annotated[Path, Place("Folder with label maps: PNGs at the same paths as the pictures.")]
    | None = None,
    annotations: Annotated[
        Mapping[str, Path] | None,
        Option(
            "Instead of --maps: objects in a file of COCO, CVAT, Label Studio or GeoJSON, or in one per split; repeatable.",
            metavar="[SPLIT=]FILE",
            parse=_annotation_files,
            texts=lambda files: [f"{split}={file}" if split else str(file) for split, file in files.items()],
            repeatable=True,
            former="--coco",
        ),
    ] = None,
    splits: Annotated[
        Mapping[str, str] | None,
        Option(
            "Pictures of a split: a file with a list, or a folder; repeatable.",
            **by_split("--split", form="SPLIT=LIST", example="val=val.txt"),
        ),
    ] = None,
    held_out: Annotated[
        Mapping[str, float] | None,
        Option(
            "Share of the training pictures that go to another split, such as val=0.2; repeatable.",
            flag="--hold-out",
            metavar="SPLIT=SHARE",
            parse=_shares,
            texts=lambda shares: [f"{split}={share}" for split, share in shares.items()],
            repeatable=True,
        ),
    ] = None,
    seed: Annotated[int, Option("Seed of the choice of held-out pictures.")] = 0,
    map_suffix: Annotated[str, Option("End of a label map's name, after the name of its picture.")] = ".png",
    other_categories: Annotated[
        bool,
        Option("Ignore pixels of objects whose class the label file does not name.", flag="--ignore-others"),
    ] = False,
    leave_out: Annotated[bool, Option("Leave out pictures with problems, instead of stopping.")] = False,
    out: Annotated[Path, Output(default="local_outputs/prepared", stage="outputs/prepared")],
) -> CustomPrepared:
    """Check a data set of your own, and write its index.

    Without --split and --hold-out, each folder below --images is a split. Writes `index.parquet`, and
    `summary.json` with pictures and pixels per class and split; label maps drawn from objects go beside them.
    The check reads all pictures and reports the problems of all together. If there are any, nothing is written;
    with --leave-out, those pictures are left out of the index and listed in the summary. Of copies in two splits,
    the one in the later split stays; of two pictures with the same name in the index (a/b and a_b), the first.

    Raises:
        UserError: the label file is wrong, splits cannot be made, pictures have problems (the message counts all
            and lists the first ten), or a split is empty.
    """
    from cascade_core.data.prepared import INDEX_FILE, SUMMARY_FILE
    from cascade_core.labels.label_file import read_label_file
    from cascade_core.runtime.files import write_json
    from components.inputs import custom
    from components.inputs.indexing import track_data_set

    own, out = read_label_file(labels), out.resolve()
    source = custom.resolve(
        custom.Source(images, maps, map_suffix, annotations, other_categories, splits, held_out, seed)
    )
    root = custom.root_of(source, own, out)
    with call.writing(
        out=out,
        protocol=own.protocol,
        inputs={"raw": root, "labels": labels},
        parameters={"protocol": own.protocol, "seed": seed, "leave_out": leave_out},
    ) as work:
        data = custom.check(source, own, folder=work.folder, out=out, leave_out=leave_out)
        summary = custom.summary_of(data)
        data.index.to_parquet(work.folder / INDEX_FILE, index=False)
        write_json(work.folder / SUMMARY_FILE, summary)
        work.hashes["raw"] = summary["data_sha256"]
        track_data_set(work.tracker, summary, root)
    counts = ", ".join(f"{counts['pictures']} {split}" for split, counts in summary["splits"].items())
    log.info("prepared %s: %s", own.protocol, counts)
    return CustomPrepared(out / INDEX_FILE, summary, images, data.problems)
