"""Recurring runs on a cluster: a compiled pipeline, its parameters, and the times at which it starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from cascade_core.errors import UserError
from components.paging import pages
from pipelines.kubeflow.cluster import Cluster
from pipelines.kubeflow.submit import PAGE_SIZE, named, open_experiment


@dataclass(frozen=True)
class Schedule:
    """One schedule: what the server calls a recurring run."""

    schedule_id: str
    name: str
    cron: str
    enabled: bool


def create(
    cluster: Cluster,
    package: Path,
    *,
    parameters: Mapping[str, Any],
    experiment: str,
    name: str,
    cron: str,
    catch_up: bool = False,
) -> Schedule:
    """Start a compiled pipeline at every time of `cron` (six fields, in the server's time zone, UTC unless it was set).

    One run at a time: a start that falls into a run waits for its end. `catch_up` makes up for the starts
    that were missed while the schedule was paused, all of them.

    Raises:
        UserError: a schedule of this name exists, the experiment is archived, or the server refuses.
    """
    if existing := _named(cluster, name):
        raise UserError(
            f"{cluster.host}: schedule {name!r} exists already ({existing.recurring_run_id}); delete it first, or give "
            "another name"
        )
    experiment_id = open_experiment(cluster, experiment)
    made = cluster.create(
        lambda: cluster.client.create_recurring_run(
            experiment_id,
            name,
            cron_expression=cron,
            no_catchup=not catch_up,
            max_concurrency=1,
            params=dict(parameters),
            pipeline_package_path=str(package),
        ),
        find=lambda: _named(cluster, name),
        about=f"schedule {name!r}",
    )
    return _schedule(made)


def schedules(cluster: Cluster) -> list[Schedule]:
    """Give every schedule of the namespace, in the order of their names.

    Raises:
        UserError: the server refuses.
    """
    answer = pages(lambda token: _page(cluster, token), next_token=attrgetter("next_page_token"))
    found = [_schedule(one) for page in answer for one in page.recurring_runs or []]
    return sorted(found, key=lambda one: (one.name, one.schedule_id))


def change(cluster: Cluster, schedule_id: str, verb: Literal["disable", "enable", "delete"]) -> None:
    """Pause a schedule (a run that is under way goes on), resume it, or remove it (its runs stay).

    Raises:
        UserError: there is no such schedule, or the server refuses.
    """
    about = f"schedule {schedule_id!r}"
    # Looked up first: servers differ in what they answer to deleting what is not there.
    cluster.call(lambda: cluster.client.get_recurring_run(schedule_id), about=about)
    cluster.call(lambda: getattr(cluster.client, f"{verb}_recurring_run")(schedule_id), about=about)


def _named(cluster: Cluster, name: str) -> Any:
    return next(iter(_page(cluster, None, filter=named(name)).recurring_runs or []), None)


def _page(cluster: Cluster, token: str | None, filter: str | None = None) -> Any:  # noqa: A002
    return cluster.call(
        lambda: cluster.client.list_recurring_runs(
            page_token=token, page_size=PAGE_SIZE, namespace=cluster.namespace, filter=filter
        ),
        about="its schedules",
    )


def _schedule(told: Any) -> Schedule:
    cron = told.trigger and told.trigger.cron_schedule and told.trigger.cron_schedule.cron
    enabled = str(told.status or told.mode or "").upper() in ("ENABLED", "ENABLE")
    return Schedule(told.recurring_run_id, told.display_name, cron or "-", enabled)
