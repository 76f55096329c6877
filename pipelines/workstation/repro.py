"""`dvc repro` as `cascade-clip run` calls it, in a process of its own: `python -m pipelines.workstation.repro`.

It differs from plain `dvc repro` in two points:

- Stages read data that `*.dvc` files track as they are; the data are never recorded anew, so no stray file enters the
  store.
- A changed label file makes the stages that read it stale, even if `dvc.yaml` was written for a named protocol and does
  not name the file.
"""

import logging
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from dvc.cli import main as dvc
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.stage import Stage

from cascade_core.clip.home import clip_folder
from cascade_core.configs.overrides import read_parameters
from cascade_core.errors import UserError
from cascade_core.labels.label_file import is_label_file, read_label_file
from cascade_core.runtime.exit_codes import ExitCode
from cascade_core.runtime.files import read_json
from components.inputs.split import SPLIT_FILE
from components.steps import splits
from pipelines.workstation.dvc_file import PARAMETERS, WORKFLOW, stage_folder

log = logging.getLogger(__name__)


def main(words: Sequence[str]) -> int:
    """Run the changed stages among the targets and their dependencies, and return DVC's exit status."""
    try:
        return _run(words)
    except (DvcException, UserError) as error:
        log.error("%s", error)
        return ExitCode.USER_ERROR


def _run(words: Sequence[str]) -> int:
    parser = ArgumentParser()
    parser.add_argument("--pull", action="store_true")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("targets", nargs="*")
    given = parser.parse_args(words)
    # A shell starts background jobs with SIGINT ignored, and stages would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    flags = [flag for flag, active in (("--pull", given.pull), ("--force", given.force)) if active]
    with Repo() as repo, repo.lock:
        wanted = collect_stages(repo, given.targets or [str(WORKFLOW)])
        plan = plan_repro(get_active_graph(repo.index.graph), wanted)
        missing = _missing_data(repo, [stage for stage in plan if stage.cmd is None])
    if given.pull and missing and (status := dvc(["pull", *missing])):
        return int(status)
    for stages, more in _calls([stage for stage in plan if stage.cmd is not None]):
        if stages and (status := dvc(["repro", "--single-item", *flags, *more, *stages])):
            return int(status)
    return 0


def _missing_data(repo: Repo, sources: Sequence[Stage]) -> list[str]:
    """Return the `*.dvc` files whose data lack files, as after an interrupted pull; warn of other differences."""
    missing = []
    for source in (source for source in sources if source.changed_outs()):
        paths = [out.def_path for out in source.outs]
        changes = repo.data_status(targets=paths, granular=True).get("uncommitted", {})
        kinds = {kind for kind, files in changes.items() if any(not file.endswith("/") for file in files)}
        if kinds == {"deleted"}:
            missing.append(source.relpath)
        elif kinds:
            log.warning(
                "%s differs from what %s records (files %s); the stages read the folder as it is; "
                "to record the difference, run `dvc add %s`",
                *(paths[0], source.relpath, ", ".join(sorted(kinds)), paths[0]),
            )
    return missing


def _calls(plan: Sequence[Stage]) -> list[tuple[list[str], list[str]]]:
    """Return the names of stages in the order in which they run, in one or two groups, and each group's flags.

    The first group are the stages that read the label file, without DVC's cache of earlier results; if the file
    changed, they are forced. The splits stage is the last of them, because its output records the label file.
    """
    parameters = read_parameters(PARAMETERS)
    clip = Path(parameters.get("data", {}).get("clip", ""))
    if clip_folder(clip) != clip:
        raise UserError(
            f"{PARAMETERS}: data.clip is {clip}; DVC needs the folder itself: {clip_folder(clip)}"
        )
    protocol = str(parameters.get("protocol"))
    names = [stage.addressing for stage in plan]
    named = {dependency.def_path for stage in plan for dependency in stage.deps}
    if not is_label_file(protocol) or protocol in named:
        return [(names, [])]
    readers = [stage.addressing for stage in plan if f"--protocol={protocol}" in stage.cmd]
    readers.sort(key=lambda name: name == splits.run.name)
    split_file = Path(stage_folder(splits.run)) / SPLIT_FILE
    before = read_json(split_file).get("own") if split_file.is_file() else None
    stale = before != read_label_file(Path(protocol)).model_dump(mode="json")
    forced = ["--no-run-cache", *(["--force"] if stale else [])]
    return [(readers, forced), ([name for name in names if name not in readers], [])]


if __name__ == "__main__":
    log.addHandler(
        logging.StreamHandler()
    )  # with a handler of the root logger, DVC's messages would come twice
    sys.exit(main(sys.argv[1:]))
