"""Commands about recurring runs on a cluster: create, list, pause, resume, delete."""

import logging
from typing import Annotated

import typer

from pipelines.cli.kubeflow_options import Chosen, Experiment, Given, Server, unbundled

NEXT_TIMES = 3

log = logging.getLogger(__name__)

ScheduleId = Annotated[str, typer.Argument(help="Id of the schedule, as `list` prints it.")]


@unbundled
def create(
    server: Server,
    name: Annotated[str, typer.Option(help="Name of the schedule.")],
    cron: Annotated[
        str, typer.Option(help="When: five fields as in crontab, or six with seconds first; UTC.")
    ],
    chosen: Chosen,
    given: Given,
    experiment: Experiment = "cascade-clip",
    catch_up: Annotated[bool, typer.Option(help="Make up for starts missed while paused.")] = False,
) -> None:
    """Start a pipeline again and again, print the schedule's id.

    Expression and parameters are checked before the cluster is contacted.
    """
    from pipelines.kubeflow import schedules
    from pipelines.kubeflow.cron import checked_cron, next_times

    cron = checked_cron(cron)
    with chosen.file() as path:
        values = given.checked(path, chosen)
        made = schedules.create(
            server.connect(),
            path,
            parameters=values,
            experiment=experiment,
            name=name,
            cron=cron,
            catch_up=catch_up,
        )
    print(made.schedule_id)
    times = ", ".join(f"{time:%Y-%m-%d %H:%M:%S}" for time in next_times(cron, NEXT_TIMES))
    log.info("%s: %s, next at %s UTC", made.name, made.cron, times)


@unbundled
def list_schedules(server: Server) -> None:
    """List schedules: id, state, expression, name."""
    from pipelines.kubeflow import schedules

    for one in schedules.schedules(server.connect()):
        print(f"{one.schedule_id}  {'active' if one.enabled else 'paused'}  {one.cron:<16}  {one.name}")


@unbundled
def pause(server: Server, schedule_id: ScheduleId) -> None:
    """Start no more runs until resumed."""
    from pipelines.kubeflow import schedules

    schedules.change(server.connect(), schedule_id, "disable")


@unbundled
def resume(server: Server, schedule_id: ScheduleId) -> None:
    """Start runs again."""
    from pipelines.kubeflow import schedules

    schedules.change(server.connect(), schedule_id, "enable")


@unbundled
def delete(server: Server, schedule_id: ScheduleId) -> None:
    """Remove a schedule; runs it started stay."""
    from pipelines.kubeflow import schedules

    schedules.change(server.connect(), schedule_id, "delete")
