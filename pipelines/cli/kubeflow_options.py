"""Options of the commands about Kubeflow: which pipeline with which parameters, and which server as whom."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade_core.configs.overrides import parse_overrides
from cascade_core.errors import UserError

if TYPE_CHECKING:
    from pipelines.kubeflow.cluster import Cluster


class PipelineName(StrEnum):
    """Pipelines of this project."""

    zero_shot = "zero_shot"
    cross_dataset = "cross_dataset"
    ablation = "ablation"
    benchmark = "benchmark"


class Nodes(StrEnum):
    """Kinds of nodes that resources are known for."""

    cpu = "cpu"
    gpu = "gpu"


Pipeline = Annotated[PipelineName, typer.Option(help="Which pipeline.")]
Kind = Annotated[Nodes, typer.Option(help="Kind of nodes that resources are asked for.")]
Image = Annotated[
    str | None, typer.Option(help="Container image of steps that need torch; the project's if left out.")
]
LightImage = Annotated[
    str | None, typer.Option(help="Image of all other steps; --image with -light after its tag if left out.")
]
Resource = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STEP.FIELD=VALUE",
        help="Change of a step's resources, such as train.gpu.count=4, train.nodes=2, all.gpu.resource=amd.com/gpu or "
        "'all.gpu.labels={nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}'; repeatable.",
    ),
]
Package = Annotated[Path | None, typer.Option(help="A compiled pipeline instead of --pipeline.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Parameter of the pipeline; repeatable."),
]
Experiment = Annotated[str, typer.Option(help="Experiment that gathers the runs; made if there is none.")]
# The names of the variables are those of Kubeflow's own `kfp` command.
Host = Annotated[
    str,
    typer.Option(
        envvar=["KFP_ENDPOINT", "KF_PIPELINES_ENDPOINT"],
        help="Address of the API, such as http://localhost:8080.",
    ),
]
Namespace = Annotated[
    str | None, typer.Option(envvar="KFP_NAMESPACE", help="Namespace, where the server keeps users apart.")
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="KFP_EXISTING_TOKEN",
        show_default=False,
        help="Bearer token; better by the variable, which other users of the machine do not see.",
    ),
]


@contextmanager
def chosen_package(
    pipeline: PipelineName,
    package: Path | None,
    kind: Nodes,
    image: str | None = None,
    light_image: str | None = None,
    resource: Sequence[str] | None = None,
) -> Iterator[Path]:
    """Give the compiled pipeline that was asked for; one of this project's is there until the block ends.

    Raises:
        UserError: an image or a resource is not possible, or comes with a package, which has its own.
    """
    if package is not None:
        if image or light_image or resource:
            raise UserError(
                f"{package} is compiled: it has its images and resources; give them when you compile"
            )
        yield package
        return
    from tempfile import TemporaryDirectory

    from pipelines.kubeflow.catalogue import compile_pipeline

    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{pipeline.value}.yaml"
        compile_pipeline(
            pipeline.value,
            path,
            kind=kind.value,
            image=image,
            light_image=light_image,
            changes=resource or (),
        )
        yield path


def gathered_parameters(
    package: Path,
    items: Sequence[str] | None,
    *,
    pipeline: PipelineName | None,
    set_: Sequence[str] | None = None,
    overrides: Path | None = None,
    kind: Nodes = Nodes.cpu,
    resource: Sequence[str] | None = None,
    defaults: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Give the parameters of a run, checked by the pipeline's own rules too where it is one of this project's.

    Its batches are then held against the table of `kind` with the changes of `resource`. `defaults` are for
    parameters that the pipeline has and nobody gave.

    Raises:
        UserError: one is unknown, missing, of another type, or not possible, or a batch cannot be shared.
    """
    import json

    from pipelines.kubeflow.parameters import check_parameters, declared, parse_parameters

    known = declared(package)
    own = {name: value for name, value in (defaults or {}).items() if name in known}
    values = own | parse_parameters(items or (), known)
    if set_ or overrides is not None:
        if "overrides" in values:
            raise UserError("overrides come by --set and --overrides, or as a parameter: not both")
        values["overrides"] = json.dumps(parse_overrides(set_ or (), overrides))
    check_parameters(values, known)
    if pipeline is not None:
        from pipelines.kubeflow.catalogue import check_submission

        check_submission(pipeline.value, values, kind=kind.value, changes=resource or ())
    return values


def connected(host: str, namespace: str | None, token: str | None) -> "Cluster":
    """Connect to the server that the options name."""
    from pipelines.kubeflow.cluster import connect

    return connect(host, namespace=namespace, token=token)
