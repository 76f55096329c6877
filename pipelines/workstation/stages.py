"""Runs the changed stages of dvc.yaml through DVC's own functions, stages that do not need each other side by side."""

import logging
import signal
from collections.abc import Sequence

from dvc.cli import main as dvc
from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo
from dvc.repo.reproduce import collect_stages
from dvc.stage import run as dvc_run
from dvc.stage.cache import RunCacheNotSupported

from cascade_core.errors import UserError
from cascade_core.runtime.exit_codes import ExitCode
from cascade_core.runtime.machine_memory import free_memory
from pipelines.workstation.side_by_side import Part, run_parts
from pipelines.workstation.stage_commands import StageCommands
from pipelines.workstation.stage_plan import Plan, make_plan

log = logging.getLogger(__name__)

FAILED = 255
"""DVC's exit status if a stage fails."""


def reproduce(targets: Sequence[str], *, pull: bool, force: bool, jobs: int) -> int:
    """Run the changed stages among the targets and their dependencies, at most `jobs` at a time; return an exit status."""
    try:
        with Repo() as repo, repo.lock:
            plan = make_plan(repo, targets, force=force)
        if pull and plan.missing and (status := dvc(["pull", *plan.missing])):
            return int(status)
        if pull:
            _pull_run_cache()
        _run(plan, pull=pull, jobs=jobs)
    except UserError as error:
        log.error("%s", error)
        return ExitCode.USER_ERROR
    except DvcException as error:
        log.error("ERROR: %s", error)
        return FAILED
    except KeyboardInterrupt:
        log.error("ERROR: interrupted; the stages that ran have ended")
        return ExitCode.INTERRUPTED
    return ExitCode.DONE


def _pull_run_cache() -> None:
    """Fetch the record of results that others have pushed, as `dvc repro --pull` does, if there is a default remote."""
    with Repo() as repo, lock_repo(repo):
        if "remote" not in repo.config["core"]:
            return
        try:
            repo.stage_cache.pull(None)
        except RunCacheNotSupported as error:
            log.warning("Failed to pull run cache: %s", error)


def _run(plan: Plan, *, pull: bool, jobs: int) -> None:
    alone = jobs == 1 or len(plan.parts) == 1
    commands = StageCommands(labels=not alone, width=max((len(part.name) for part in plan.parts), default=0))
    dvc_run.cmd_run = commands

    def work(part: Part) -> None:
        with commands.turn, Repo() as repo, lock_repo(repo), repo.scm_context(quiet=True):
            (stage,) = collect_stages(repo, [part.name])
            forced = part.name in plan.forced
            run_cache = part.name not in plan.without_run_cache
            try:
                if stage.reproduce(force=forced, run_cache=run_cache, pull=pull):
                    stage.dump(update_pipeline=False)
            except DvcException as error:
                raise DvcException(f"failed to reproduce '{part.name}': {error}") from error

    def room() -> bool:
        to_come = [max(0, plan.memory - held) for held in commands.memory()]
        return free_memory() >= plan.memory + sum(to_come)

    before = signal.signal(signal.SIGINT, lambda *_: commands.stop())
    try:
        run_parts(plan.parts, work, at_once=jobs, room=room, halted=commands.stopped)
    finally:
        signal.signal(signal.SIGINT, before)
