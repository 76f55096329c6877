"""Label sets and splits by name: every protocol under which numbers are published or made here.

A label file (`label_file.py`) describes one of one's own, and its path stands wherever a protocol's name does.
"""

from pathlib import Path

from cascade_core.errors import UserError
from cascade_core.labels import class_lists
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_file import is_label_file, read_label_file
from cascade_core.labels.label_set import IGNORE, LabelSet, ranked_table, reduce_zero_table, train_id_table

LABEL_SETS = (
    "voc20",
    "context59",
    "context60",
    "context59-literature",
    "cocostuff171",
    "cocostuff171-raw",
    "ade20k150",
    "mini24",
)
PROTOCOLS = (
    "voc12-15-5",
    "context59-literature",
    "context59-released",
    "cocostuff-156-15",
    "mini-18-6",
    "voc12-20",
    "context59",
    "context60",
    "ade20k-150",
)


def label_set(name: str) -> LabelSet:
    """Give a label set by name; `LABEL_SETS` lists them.

    VOC, Context, ADE20K and the mini benchmark keep raw id 0 for background. `cocostuff171` reads the
    converted `*_labelTrainIds.png`, `cocostuff171-raw` the original maps (ids 0..181 with gaps). `context60`
    is `context59` with background as the last class.

    Raises:
        UserError: no label set has this name.
    """
    match name:
        case "voc20":
            return _without_background(name, class_lists.VOC_20, background_ids=(0,))
        case "context59":
            return _without_background(name, class_lists.CONTEXT_59, background_ids=(0,))
        case "context60":
            return label_set("context59").with_background(name)
        case "context59-literature":
            return _context_in_literature_order(name)
        case "cocostuff171":
            classes = class_lists.COCO_STUFF_171
            return LabelSet(name, classes, train_id_table(len(classes)))
        case "cocostuff171-raw":
            used = [raw for raw in range(182) if raw not in class_lists.COCO_STUFF_RAW_GAPS]
            return LabelSet(name, class_lists.COCO_STUFF_171, ranked_table(used))
        case "ade20k150":
            return _without_background(name, class_lists.ADE20K_150)
        case "mini24":
            from cascade_core.mini.vocabulary import CLASSES

            return _without_background(name, tuple(CLASSES))
        case _:
            raise UserError(f"unknown label set {name!r}; known are {', '.join(LABEL_SETS)}")


def protocol(name: str) -> ClassSplit:
    """Give a named split, of those `PROTOCOLS` lists, or that of a label file, whose path `name` then is.

    The two Context splits share raw label maps but neither class order nor unseen classes: the released
    code applies the literature's unseen *indices* to an alphabetical list. The last four are targets of
    cross-dataset evaluation and have no unseen class; `context60` counts background as a class, and wants a
    policy that says which pixels are background.

    Raises:
        UserError: no protocol has this name, or the label file is missing or wrong.
    """
    if is_label_file(name):
        return read_label_file(Path(name)).split()
    match name:
        case "voc12-15-5":
            return ClassSplit(name, label_set("voc20"), class_lists.VOC_UNSEEN)
        case "context59-literature":
            return ClassSplit(name, label_set(name), class_lists.CONTEXT_UNSEEN_LITERATURE)
        case "context59-released":
            return ClassSplit(name, label_set("context59"), class_lists.CONTEXT_UNSEEN_RELEASED)
        case "cocostuff-156-15":
            return ClassSplit(name, label_set("cocostuff171"), class_lists.COCO_STUFF_UNSEEN)
        case "mini-18-6":
            from cascade_core.mini.vocabulary import UNSEEN

            return ClassSplit(name, label_set("mini24"), tuple(UNSEEN))
        case "voc12-20":
            return ClassSplit(name, label_set("voc20"))
        case "context59":
            return ClassSplit(name, label_set("context59"))
        case "context60":
            return ClassSplit(name, label_set("context60"))
        case "ade20k-150":
            return ClassSplit(name, label_set("ade20k150"))
        case _:
            raise UserError(
                f"unknown protocol {name!r}; known are {', '.join(PROTOCOLS)}, or give the path of a label file "
                "(.yaml)"
            )


def _without_background(
    name: str, classes: tuple[str, ...], *, background_ids: tuple[int, ...] = ()
) -> LabelSet:
    return LabelSet(name, classes, reduce_zero_table(len(classes)), background_ids=background_ids)


def _context_in_literature_order(name: str) -> LabelSet:
    """Read the same raw maps, numbered alphabetically, into the order that has VOC's classes first."""
    classes = class_lists.CONTEXT_59_LITERATURE
    raw_ids = [1 + class_lists.CONTEXT_59.index(class_name) for class_name in classes]
    return LabelSet(name, classes, (IGNORE, *ranked_table(raw_ids)[1:]), background_ids=(0,))
