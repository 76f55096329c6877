"""Layouts: where a data set keeps its pictures, label maps and image lists; `index.py` reads them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VocLayout:
    """The layout of Pascal VOC: `JPEGImages`, folders of label maps, and image lists in `lists_dir`.

    A label map is taken from the first of `label_dirs` that has it. A split is one list or several.
    """

    label_dirs: tuple[str, ...] = ("SegmentationClass", "SegmentationClassAug")
    lists_dir: str = "ImageSets/Segmentation"


@dataclass(frozen=True)
class FolderLayout:
    """Parallel folders of pictures and label maps; the label map of `a.jpg` is `a` plus `label_suffix`."""

    label_suffix: str = ".png"


Layout = VocLayout | FolderLayout
