"""Commands about recurring runs on a cluster."""

import logging
from dataclasses import asdict
from typing import Annotated

import typer

from pipelines.cli.kubeflow_options import (
    Description,
    Experiment,
    PackageChoice,
    RunParameters,
    Server,
    flat_options,
)
from pipelines.cli.printing import Json, print_json

NEXT_TIMES = 3

log = logging.getLogger(__name__)

ScheduleId = Annotated[str, typer.Argument(help="Id of the schedule, as `list` prints it.")]


@flat_options
def create(
    server: Server,
    name: Annotated[str, typer.Option(help="Name of the schedule.")],
    cron: Annotated[
        str, typer.Option(help="Start times: five fields as in crontab, or six with seconds first; UTC.")
    ],
    package: PackageChoice,
    parameters: RunParameters,
    experiment: Experiment = "cascade-clip",
    description: Description = None,
    catch_up: Annotated[bool, typer.Option(help="After a pause, also make up for missed starts.")] = False,
) -> None:
    """Create a schedule that starts a pipeline again and again, and print its id.

    Expression and parameters are checked before the first request to the cluster.
    """
    from pipelines.kubeflow import schedules
    from pipelines.kubeflow.cron import checked_cron, next_times

    cron, package = checked_cron(cron), parameters.chosen(package)
    with package.file(parameters.splits()) as path:
        values = parameters.checked_for_cluster(path, package)
        schedule = schedules.create(
            server.connect(),
            path,
            parameters=values,
            experiment=experiment,
            name=name,
            cron=cron,
            catch_up=catch_up,
            description=description,
        )
    print(schedule.schedule_id)
    times = ", ".join(f"{time:%Y-%m-%d %H:%M:%S}" for time in next_times(cron, NEXT_TIMES))
    log.info("%s: %s, next at %s UTC", schedule.name, schedule.cron, times)


@flat_options
def list_schedules(server: Server, as_json: Json = False) -> None:
    """List schedules: id, state, expression, name."""
    from pipelines.kubeflow import schedules

    listed = schedules.schedules(server.connect())
    if as_json:
        print_json([asdict(schedule) for schedule in listed])
        return
    if not listed:
        log.info("no schedules; `cascade-clip pipeline schedule create` makes one")
    for schedule in listed:
        state = "active" if schedule.enabled else "paused"
        print(f"{schedule.schedule_id}  {state}  {schedule.cron:<16}  {schedule.name}")


@flat_options
def pause(server: Server, schedule_id: ScheduleId) -> None:
    """Pause a schedule: it starts no runs until resumed."""
    from pipelines.kubeflow import schedules

    schedules.change(server.connect(), schedule_id, "disable")


@flat_options
def resume(server: Server, schedule_id: ScheduleId) -> None:
    """Resume a paused schedule."""
    from pipelines.kubeflow import schedules

    schedules.change(server.connect(), schedule_id, "enable")


@flat_options
def delete(server: Server, schedule_id: ScheduleId) -> None:
    """Delete a schedule; the runs that it started stay."""
    from pipelines.kubeflow import schedules

    schedules.change(server.connect(), schedule_id, "delete")
