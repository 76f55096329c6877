"""Commands about recurring runs on a cluster: create, list, pause, resume, delete.

kfp is imported inside them, so that `--help` is at once.
"""

import logging
from typing import Annotated

import typer

from pipelines.cli.kubeflow_options import (
    Experiment,
    Host,
    Image,
    Kind,
    LightImage,
    Namespace,
    Nodes,
    Package,
    Parameters,
    Pipeline,
    PipelineName,
    Resource,
    Token,
    chosen_package,
    connected,
    gathered_parameters,
)
from pipelines.cli.options import OverridesFile, Set

NEXT_TIMES = 3

log = logging.getLogger(__name__)

ScheduleId = Annotated[str, typer.Argument(help="Id of the schedule, as `list` prints it.")]


def create(
    host: Host,
    name: Annotated[str, typer.Option(help="Name of the schedule.")],
    cron: Annotated[
        str, typer.Option(help="When: five fields as in crontab, or six with seconds first; UTC.")
    ],
    pipeline: Pipeline = PipelineName.zero_shot,
    package: Package = None,
    parameter: Parameters = None,
    set_: Set = None,
    overrides: OverridesFile = None,
    kind: Kind = Nodes.cpu,
    image: Image = None,
    light_image: LightImage = None,
    resource: Resource = None,
    experiment: Experiment = "cascade-clip",
    catch_up: Annotated[bool, typer.Option(help="Make up for starts missed while paused.")] = False,
    namespace: Namespace = None,
    token: Token = None,
) -> None:
    """Start a pipeline again and again, print the schedule's id.

    Expression and parameters are checked before the cluster is contacted.
    """
    from pipelines.kubeflow import schedules
    from pipelines.kubeflow.cron import checked_cron, next_times

    cron = checked_cron(cron)
    with chosen_package(pipeline, package, kind, image, light_image, resource) as path:
        values = gathered_parameters(
            path,
            parameter,
            pipeline=None if package else pipeline,
            set_=set_,
            overrides=overrides,
            kind=kind,
            resource=resource,
        )
        made = schedules.create(
            connected(host, namespace, token),
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


def list_schedules(host: Host, namespace: Namespace = None, token: Token = None) -> None:
    """List schedules: id, state, expression, name."""
    from pipelines.kubeflow import schedules

    for one in schedules.schedules(connected(host, namespace, token)):
        print(f"{one.schedule_id}  {'active' if one.enabled else 'paused'}  {one.cron:<16}  {one.name}")


def pause(host: Host, schedule_id: ScheduleId, namespace: Namespace = None, token: Token = None) -> None:
    """Start no more runs until resumed."""
    from pipelines.kubeflow import schedules

    schedules.pause(connected(host, namespace, token), schedule_id)


def resume(host: Host, schedule_id: ScheduleId, namespace: Namespace = None, token: Token = None) -> None:
    """Start runs again."""
    from pipelines.kubeflow import schedules

    schedules.resume(connected(host, namespace, token), schedule_id)


def delete(host: Host, schedule_id: ScheduleId, namespace: Namespace = None, token: Token = None) -> None:
    """Remove a schedule; runs it started stay."""
    from pipelines.kubeflow import schedules

    schedules.delete(connected(host, namespace, token), schedule_id)
