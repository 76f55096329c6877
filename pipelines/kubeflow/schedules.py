"""Schedules on a cluster (Kubeflow's recurring runs): a compiled pipeline, its parameters, and its start times."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from cascade_core.errors import UserError
from components.servers.paging import pages
from pipelines.kubeflow.cluster import PAGE_SIZE, Connection, name_filter
from pipelines.kubeflow.run_texts import all_parameters, run_description
from pipelines.kubeflow.submit import open_experiment, pipeline_source


@dataclass(frozen=True)
class Schedule:
    """A schedule, which the server calls a recurring run."""

    schedule_id: str
    name: str
    cron: str
    enabled: bool


def create(
    cluster: Connection,
    package: Path,
    *,
    parameters: Mapping[str, Any],
    experiment: str,
    name: str,
    cron: str,
    catch_up: bool = False,
    description: str | None = None,
) -> Schedule:
    """Start a compiled pipeline at every time of `cron` (six fields, in the server's time zone, by default UTC).

    Only one run is active at a time; a start during a run waits for its end. With `catch_up`, a resumed schedule makes
    up for all starts that it missed. Parameters and description are as of `submit`.

    Raises:
        UserError: a schedule of this name exists, the experiment is archived, or the server refuses.
    """
    if existing := _named(cluster, name):
        raise UserError(
            f"{cluster.host}: schedule {name!r} exists already ({existing.recurring_run_id}); delete it first, or give "
            "another name"
        )
    experiment_id = open_experiment(cluster, experiment)
    source: dict[str, Any] = pipeline_source(cluster, package)
    recurring_run = cluster.create(
        lambda: cluster.client.create_recurring_run(
            experiment_id,
            name,
            cron_expression=cron,
            no_catchup=not catch_up,
            max_concurrency=1,
            params=all_parameters(package, parameters),
            description=run_description(package, parameters) if description is None else description,
            **source,
        ),
        find=lambda: _named(cluster, name),
        about=f"schedule {name!r}",
    )
    return _schedule(recurring_run)


def schedules(cluster: Connection) -> list[Schedule]:
    """Return all schedules of the namespace, sorted by name.

    Raises:
        UserError: the server refuses.
    """
    answers = pages(lambda token: _page(cluster, token), next_token=attrgetter("next_page_token"))
    listed = [_schedule(recurring_run) for answer in answers for recurring_run in answer.recurring_runs or []]
    return sorted(listed, key=attrgetter("name", "schedule_id"))


def change(cluster: Connection, schedule_id: str, verb: Literal["disable", "enable", "delete"]) -> None:
    """Disable a schedule (an active run goes on), enable it, or delete it (its runs stay).

    Raises:
        UserError: there is no such schedule, or the server refuses.
    """
    about = f"schedule {schedule_id!r}"
    # The lookup comes first, because servers answer differently when an unknown schedule is deleted.
    cluster.call(lambda: cluster.client.get_recurring_run(schedule_id), about=about)
    cluster.call(lambda: getattr(cluster.client, f"{verb}_recurring_run")(schedule_id), about=about)


def _named(cluster: Connection, name: str) -> Any:
    return next(iter(_page(cluster, None, filter=name_filter(name)).recurring_runs or []), None)


def _page(cluster: Connection, token: str | None, filter: str | None = None) -> Any:  # noqa: A002
    return cluster.call(
        lambda: cluster.client.list_recurring_runs(
            page_token=token, page_size=PAGE_SIZE, namespace=cluster.namespace, filter=filter
        ),
        about="its schedules",
    )


def _schedule(recurring_run: Any) -> Schedule:
    trigger = recurring_run.trigger
    cron = trigger and trigger.cron_schedule and trigger.cron_schedule.cron
    enabled = str(recurring_run.status or recurring_run.mode or "").upper() in ("ENABLED", "ENABLE")
    return Schedule(recurring_run.recurring_run_id, recurring_run.display_name, cron or "-", enabled)
