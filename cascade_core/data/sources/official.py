"""The files a data set is published in: names, pages, and the sizes and checksums that are known of them.

Sizes and digests were looked up, never computed here: the real files were not at hand. Each says where it is
stated; a file of which nothing could be found says so, and is taken as it is.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cascade_core.errors import UserError

CHUNK = 1 << 22


@dataclass(frozen=True)
class OfficialFile:
    """A published file; `digest` is "algorithm:hex", `stated` names who states size and digest."""

    name: str
    page: str
    size: int | None = None
    digest: str | None = None
    stated: str = ""

    def describe(self) -> str:
        """Say in one line how to get the file and how to know it."""
        facts = [f"{self.size:,} bytes" if self.size else "size unverified"]
        facts.append(self.digest.replace(":", " ") if self.digest else "checksum unverified")
        source = f", as {self.stated}" if self.stated else ""
        return f"{self.name} from {self.page} ({', '.join(facts)}{source})"

    @property
    def known(self) -> bool:
        """Tell whether there is anything to check it by."""
        return self.size is not None or self.digest is not None


def check_file(path: Path, file: OfficialFile, *, progress: Callable[[int, int], None] | None = None) -> None:
    """See that `path` is the published file, as far as its size and digest are known.

    Raises:
        UserError: size or digest differ.
    """
    size = path.stat().st_size
    way_out = (
        f"fetch it again from {file.page}; for a part of the data set that is meant to differ, --allow-subset"
    )
    if file.size is not None and size != file.size:
        raise UserError(
            f"{path} has {size:,} bytes, the official {file.name} {file.size:,} (stated by {file.stated}); {way_out}"
        )
    if file.digest is None:
        return
    algorithm, expected = file.digest.split(":")
    found = _digest(path, algorithm, size, progress)
    if found != expected:
        raise UserError(
            f"{path} has the {algorithm} {found}, the official {file.name} {expected} "
            f"(stated by {file.stated}); {way_out}"
        )


def _digest(path: Path, algorithm: str, size: int, progress: Callable[[int, int], None] | None) -> str:
    # Against chance damage, and against what the sources state: they state no better digest.
    digest = hashlib.new(algorithm, usedforsecurity=False)
    done = 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, size)
    return digest.hexdigest()


VOC_2012 = OfficialFile(
    "VOCtrainval_11-May-2012.tar",
    "'The PASCAL Visual Object Classes Challenge 2012' (Development Kit: training/validation data)",
    size=1_999_639_040,
    digest="md5:6cd6e144f989b92b3379bac3b3de84fd",
    stated="torchvision.datasets.VOCSegmentation (md5) and download logs (size)",
)
VOC_2010 = OfficialFile(
    "VOCtrainval_03-May-2010.tar",
    "'The PASCAL Visual Object Classes Challenge 2010' (Development Kit: training/validation data)",
    digest="md5:da459979d0c395079b5c75ee67908abb",
    stated="torchvision.datasets.VOCSegmentation",
)
SBD = OfficialFile(
    "benchmark.tgz",
    "'Semantic Contours from Inverse Detectors', Berkeley (the SBD data set)",
    digest="md5:82b4d87ceb2ed10f6038a1cba92111cb",
    stated="torchvision.datasets.SBDataset",
)
CONTEXT_JSON = OfficialFile(
    "trainval_merged.json",
    "'PASCAL in Detail' (annotations of the Detail API)",
    digest="sha1:169325d9f7e9047537fedca7b04de4dddf10b881",
    stated="gluoncv's pascal context script",
)
COCO_TRAIN = OfficialFile(
    "train2017.zip",
    "'COCO - Common Objects in Context' (2017 Train images)",
    size=19_336_861_798,
    digest="md5:cced6f7f71b7629ddf16f17bbcfab6b2",
    stated="PaddleDetection's and others' download scripts",
)
COCO_VAL = OfficialFile(
    "val2017.zip",
    "'COCO - Common Objects in Context' (2017 Val images)",
    size=815_585_330,
    digest="md5:442b8da7639aecaf257c1dceb8ba8c80",
    stated="PaddleDetection's and others' download scripts",
)
COCO_STUFF_MAPS = OfficialFile(
    "stuffthingmaps_trainval2017.zip", "nightrome/cocostuff on GitHub (COCO-Stuff 164K, stuff+thing maps)"
)
ADE20K = OfficialFile(
    "ADEChallengeData2016.zip",
    "'MIT Scene Parsing Benchmark' (ADE20K, train and validation)",
    digest="sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
    stated="gluoncv's ade20k script",
)
VOC_AUG_MAPS = OfficialFile("SegmentationClassAug.zip", "no official page: others' conversion of SBD")
