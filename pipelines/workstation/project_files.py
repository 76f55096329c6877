"""Makes and updates a project: its settings (params.yaml), dvc.yaml and `.gitignore`, in any folder."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from cascade_core.clip.files import read_clip_config
from cascade_core.clip.home import clip_folder
from cascade_core.configs.backbones import CLIP_VIT_B16, MINI_CLIP, same_tower
from cascade_core.configs.model import ClipConfig
from cascade_core.configs.overrides import dotted
from cascade_core.configs.recipes import recipe, recipe_names
from cascade_core.configs.training_free import LAST_BLOCKS
from cascade_core.data.picture_names import is_picture
from cascade_core.errors import UserError
from cascade_core.labels.label_file import is_label_file, read_label_file
from cascade_core.runtime.files import new_file, read_text
from cascade_core.runtime.listing import by_name
from cascade_core.runtime.targets import writable_file
from cascade_core.runtime.yaml_text import MOST_BYTES, parse_yaml
from pipelines.graphs.project import PARAMETERS, Project, checked_project, read_project
from pipelines.workstation.dvc_file import PROJECT_HEAD, WORKFLOW, installed_workflow

log = logging.getLogger(__name__)

IGNORED = ("/outputs/", "/reports/", "/mlruns/", "/local_outputs/", "/dvc_plots/")
"""What a project's `.gitignore` names: all that the workflow writes, except the record dvc.lock."""
IMAGES = ("images", "pictures", "photos", "JPEGImages")
MAPS = ("maps", "masks", "labels", "annotations", "SegmentationClass")
"""The names under which the folders of pictures and of label maps are looked for."""
WRITTEN = PROJECT_HEAD.splitlines()[0].encode()
"""The beginning of a dvc.yaml that this module wrote."""
PLOTS_PAGE = Path(__file__).parent / "templates" / "dvc_plots.html"
"""The page of `dvc plots show`, which a project copies into its folder `.dvc`: DVC's own page loads scripts from other machines."""
HELD_OUT = {"val": 0.1, "test": 0.1}
METHODS = {
    "zegclip": "zegclip_voc12",
    "cascade_clip": "cascade_voc12",
    **{method: method for method in LAST_BLOCKS},
}
"""The recipes of the published methods for data of one's own; on the mini benchmark's CLIP its own recipes."""
TEMPLATE = """\
# The settings of this project. After a change, `cascade-clip run` redoes what depends on it.
seed: 0
protocol: ""               # label file: classes, unseen classes, background
task: ""                   # name of the registered model, whose versions are of all methods
data:                      # paths are relative to `raw`; labels are `maps` or `annotations`
  raw: ""
  images: images
  clip: ""                 # CLIP folder
recipes: {}                # name: recipe
overrides: {}              # put into every recipe
self_training: none        # none, oracle (as published, it knows which pixels are of unseen classes) or strict
evaluate: {split: test}    # the split that the report shows
fit: {split: val}          # where `fit-thresholds` fits the seen penalty for the report
gate:                      # a candidate becomes champion if it surely beats the champion on this split: its gain's interval lies above zero
  split: val
  min_hiou_gain: 0.0       # and its hIoU is higher by more than so many percent points
  max_seen_drop: 2.0       # its mIoU(S) may be lower by at most so many
  across_settings: false   # whether a transductive model may replace an inductive champion
"""


@dataclass(frozen=True)
class Choices:
    """What a user states about a project; None and empty values leave the settings as they are.

    Paths are relative to the working folder; `images`, `maps` and `annotations` may also be relative to `data`.
    """

    data: Path | None = None
    labels: Path | None = None
    clip: str | None = None
    methods: Sequence[str] = ()
    images: Path | None = None
    maps: Path | None = None
    map_suffix: str | None = None
    annotations: Mapping[str, Path] | None = None
    splits: Mapping[str, str] | None = None
    held_out: Mapping[str, float] | None = None
    self_training: str | None = None
    across_settings: bool | None = None
    seed: int | None = None
    overrides: Mapping[str, Any] | None = None


def make(folder: Path, choices: Choices, *, before_write: Callable[[], None] = lambda: None) -> Project[Any]:
    """Make a project in `folder`, or update the settings of the one there; nothing is written if a choice is wrong.

    `before_write` is called once all choices are checked; what it raises stops the call, too.

    Raises:
        UserError: a new project lacks data, labels, CLIP or methods, a path does not exist, or a choice is wrong.
    """
    from cascade_core.datasets.catalogue import protocol

    settings = _settings(folder, choices)
    text = _dumped(settings)
    project = checked_project(parse_yaml(text, str(PARAMETERS), aliases=True), folder / PARAMETERS)
    if is_label_file(project.protocol):
        protocol(str(folder / project.protocol))
    for name in project.recipes.values():
        recipe(name, dotted(project.overrides or {}), seed=project.seed)
    if project.own is not None:
        for path in project.own.files(folder / project.data.raw):
            if not Path(path).exists():
                raise UserError(f"{folder / PARAMETERS}: data: {path} does not exist; correct the path")
    writable_file(folder / WORKFLOW, begins=WRITTEN)
    before_write()
    folder.mkdir(parents=True, exist_ok=True)
    with new_file(folder / PARAMETERS) as path:
        path.write_text(text, encoding="utf-8")
    write_workflow(folder, project)
    _ignore(folder)
    _init_dvc(folder)
    return project


def refresh(folder: Path = Path()) -> None:
    """Write dvc.yaml anew if the settings of a project that `make` made need other stages.

    Raises:
        UserError: the settings are wrong.
    """
    file = folder / WORKFLOW
    if not file.is_file():
        return
    text = read_text(file, "workflow")
    if text.encode().startswith(WRITTEN) and text != installed_workflow(project := read_project(folder)):
        log.info("%s follows the changed %s", file, PARAMETERS)
        write_workflow(folder, project)


def write_workflow(folder: Path, project: Project[Any]) -> None:
    """Write dvc.yaml for the settings; one that somebody else wrote stays.

    Raises:
        UserError: the folder holds a dvc.yaml of another origin.
    """
    with new_file(folder / WORKFLOW, begins=WRITTEN) as path:
        path.write_text(installed_workflow(project), encoding="utf-8")


def _settings(folder: Path, choices: Choices) -> Any:
    """Return the settings with the choices put in; comments and other keys stay."""
    file, yaml = folder / PARAMETERS, YAML()
    new = not file.is_file()
    settings: Any = yaml.load(TEMPLATE if new else read_text(file, "parameters", most=MOST_BYTES))
    if new:
        missing = {"a folder of data": choices.data, "--labels": choices.labels, "--clip": choices.clip}
        if lacking := [name for name, value in missing.items() if value is None]:
            raise UserError(
                f"a new project needs {' and '.join(lacking)}, such as `cascade-clip init pets --labels pets.yaml "
                "--clip ViT-B-16`"
            )
    else:
        checked_project(parse_yaml(_dumped(settings), str(file), aliases=True), file)
    if choices.labels is not None:
        name = read_label_file(choices.labels).name
        settings["protocol"] = _stated(choices.labels, folder)
        settings["task"] = settings.get("task") or name
    _put_data(settings, choices, folder)
    if choices.clip is not None:
        _put_clip(settings, choices.clip, folder)
    if choices.methods or choices.clip is not None:
        stated = choices.methods or tuple(settings["recipes"]) or ("cascade_clip",)
        settings["recipes"] = _recipes(stated, _clip_config(folder / settings["data"]["clip"]))
    if choices.self_training is not None:
        settings["self_training"] = choices.self_training
    if choices.across_settings is not None:
        _put(settings, ("gate", "across_settings"), choices.across_settings)
    if choices.seed is not None:
        settings["seed"] = choices.seed
    for key, value in (choices.overrides or {}).items():
        _put(settings, ("overrides", *key.split(".")), value)
    return settings


def _put_data(settings: Any, choices: Choices, folder: Path) -> None:
    """Put the data set's folders and splits into the settings."""
    stated = (choices.data, choices.images, choices.maps, choices.map_suffix, choices.annotations)
    if not any(stated) and not choices.splits and not choices.held_out:
        return
    data = settings["data"]
    raw = choices.data if choices.data is not None else folder / data["raw"]
    if not raw.is_dir():
        raise UserError(f"data set {raw} is not a folder; give the folder that holds pictures and labels")
    if choices.data is not None or choices.images or choices.maps or choices.annotations:
        for key in ("image_sets", "images", "maps", "annotations", "coco"):
            data.pop(key, None)
        data["raw"] = _stated(raw, folder)
        data["images"] = _below(raw, choices.images or _sought(raw, IMAGES, "pictures", "--images"))
        if choices.annotations:
            files = {split: _below(raw, file) for split, file in choices.annotations.items()}
            data["annotations"] = files.pop("") if "" in files else files
        else:
            maps = choices.maps or _sought(raw, MAPS, "label maps", "--maps", " (or --annotations FILE)")
            data["maps"] = _below(raw, maps)
    if choices.map_suffix is not None:
        data["map_suffix"] = choices.map_suffix
    objects = data.get("annotations") or data.get("coco")
    by_file = isinstance(objects, dict)
    if (
        choices.splits
        or choices.held_out
        or not (by_file or data.get("splits") or data.get("lists") or data.get("hold_out"))
    ):
        for key in ("splits", "lists", "hold_out"):
            data.pop(key, None)
        if not by_file or choices.splits or choices.held_out:
            _put_splits(data, raw, choices)
    names = {"train", *(objects if by_file else ())}
    for key in ("splits", "lists", "hold_out"):
        names |= set(data.get(key) or ())
    for key, wanted in (("evaluate", ("test", "val")), ("fit", ("val",)), ("gate", ("val",))):
        if settings.setdefault(key, {}).get("split") not in names:
            settings[key]["split"] = next((name for name in wanted if name in names), "train")


def _put_splits(data: Any, raw: Path, choices: Choices) -> None:
    """Put the splits into the settings: the stated ones, else folders below the pictures, else held-out shares."""
    folders, lists = {}, {}
    for split, place in (choices.splits or {}).items():
        file = next((path for path in (raw / place, Path(place)) if path.is_file()), None)
        if file is None:
            folders[split] = place
        else:
            lists[split] = _below(raw, file)
    held_out = dict(choices.held_out or {})
    if not choices.splits and not held_out:
        below = sorted(path.name for path in (raw / data["images"]).iterdir() if path.is_dir())
        if "train" in below:
            folders = {name: name for name in ("train", *below) if not name.startswith(".")}
            held_out = {} if "val" in below else {"val": HELD_OUT["val"]}
        else:
            held_out = dict(HELD_OUT)
    for key, value in (("splits", folders), ("lists", lists), ("hold_out", held_out)):
        if value:
            data[key] = value


def _sought(raw: Path, names: Sequence[str], what: str, option: str, other: str = "") -> Path:
    """Return the folder below `raw` that has one of these names."""
    present = [raw / name for name in names if (raw / name).is_dir()]
    if not present:
        pictures = any(is_picture(path.name) for path in raw.iterdir())
        there = "its pictures lie beside each other" if pictures else "it has none of these"
        raise UserError(
            f"{raw}: the {what} are looked for in {', '.join(names)}, and {there}; name the folder with {option}{other}"
        )
    return present[0]


def _below(raw: Path, place: Path) -> str:
    """Return a path relative to the data set's folder; `place` is relative to it or to the working folder."""
    path = next((one for one in (raw / place, place) if one.exists()), None)
    if path is None:
        raise UserError(f"{place} does not exist, nor does {raw / place}; correct the path")
    if not path.resolve().is_relative_to(raw.resolve()):
        raise UserError(
            f"{path} does not lie below {raw}; give the folder that holds both as the data set's folder"
        )
    return path.resolve().relative_to(raw.resolve()).as_posix()


def _stated(path: Path, folder: Path) -> str:
    """Return a path as the settings state it: relative to the project's folder if it lies there, else absolute."""
    real, root = path.resolve(), folder.resolve()
    return real.relative_to(root).as_posix() if real.is_relative_to(root) else real.as_posix()


def _put_clip(settings: Any, clip: str, folder: Path) -> None:
    place = clip_folder(Path(clip))
    config = _clip_config(place)
    settings["data"]["clip"] = _stated(place, folder)
    overrides = settings.get("overrides") or {}
    overrides.pop("clip", None)
    if not (same_tower(config, CLIP_VIT_B16) or same_tower(config, MINI_CLIP)):
        overrides["clip"] = config.name
    settings["overrides"] = overrides


def _clip_config(folder: Path) -> ClipConfig:
    if not folder.is_dir():
        raise UserError(
            f"CLIP {folder} is neither a CLIP folder nor the name of an imported CLIP; "
            "`cascade-clip import-clip ViT-B-16 --tag openai` imports one"
        )
    return read_clip_config(folder)


def _recipes(methods: Sequence[str], clip: ClipConfig) -> dict[str, str]:
    """Return a recipe for each method or recipe by name; a method's recipe depends on the CLIP."""
    mini = same_tower(clip, MINI_CLIP)
    of_method = {method: f"mini_{method}" if mini else name for method, name in METHODS.items()}
    known = {name: name for name in recipe_names()} | of_method
    return {method: by_name(method, known, kind="method or recipe") for method in methods}


def _put(settings: Any, keys: Sequence[str], value: Any) -> None:
    *parents, last = keys
    for key in parents:
        if not isinstance(settings.get(key), dict):
            settings[key] = {}
        settings = settings[key]
    settings[last] = value


def _dumped(settings: Any) -> str:
    yaml, text = YAML(), StringIO()
    yaml.width = 110
    yaml.dump(settings, text)
    return text.getvalue()


def _ignore(folder: Path) -> None:
    """Add to `.gitignore` what the workflow writes."""
    file = folder / ".gitignore"
    lines = read_text(file, ".gitignore").splitlines() if file.is_file() else []
    if missing := [line for line in IGNORED if line not in lines]:
        with new_file(file) as path:
            path.write_text("\n".join([*lines, *missing]) + "\n", encoding="utf-8")


def _init_dvc(folder: Path) -> None:
    """Make the folder a DVC project, inside a git repository or without one; its page of plots loads nothing."""
    from dvc.config import Config

    place = folder / ".dvc"
    if not place.is_dir():
        from dvc.repo import Repo  # slow to import

        logging.getLogger("dvc").setLevel(logging.WARNING)  # it would print that it makes a repository
        root = folder.resolve()
        git = next((path for path in (root, *root.parents) if (path / ".git").exists()), None)
        Repo.init(str(root), no_scm=git is None, subdir=git not in (None, root)).close()
    config = Config(str(place))
    page = config["plots"].get("html_template")
    if page is None:
        with config.edit("repo") as settings:
            settings.setdefault("plots", {})["html_template"] = PLOTS_PAGE.name
    if page in (None, PLOTS_PAGE.name):  # else the user has a page of their own
        with new_file(place / PLOTS_PAGE.name) as path:
            path.write_bytes(PLOTS_PAGE.read_bytes())
