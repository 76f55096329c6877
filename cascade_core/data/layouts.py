"""How photographs and label maps lie beside each other: facts, which `index.py` reads a data set by."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VocLayout:
    """Pascal VOC's: `JPEGImages`, folders of label maps, and lists of names, each of which is a split or a part of one.

    A label map is taken from the first of `label_dirs` that has it; `lists_dir` holds the lists.
    """

    label_dirs: tuple[str, ...] = ("SegmentationClass", "SegmentationClassAug")
    lists_dir: str = "ImageSets/Segmentation"


@dataclass(frozen=True)
class FolderLayout:
    """Parallel folders of photographs and label maps; the map of `a.jpg` is `a` and `label_suffix`."""

    label_suffix: str = ".png"


Layout = VocLayout | FolderLayout
VOC_LAYOUT, FOLDER_LAYOUT = VocLayout(), FolderLayout()
