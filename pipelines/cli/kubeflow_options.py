"""Options of the commands about Kubeflow: which pipeline with which parameters, and which server as whom.

Commands that take the same options take one dataclass of them; `unbundled` gives its fields to typer.
"""

import functools
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from cascade_core.configs.overrides import parse_overrides
from cascade_core.errors import UserError
from pipelines.cli.options import OverridesFile, Set

if TYPE_CHECKING:
    from pipelines.kubeflow.cluster import Cluster

PipelineName = Literal["zero_shot", "cross_dataset", "ablation", "benchmark"]
Kind = Literal["cpu", "gpu"]
Experiment = Annotated[str, typer.Option(help="Experiment that gathers the runs; made if there is none.")]


@dataclass(frozen=True)
class Made:
    """Which pipeline of this project, made for which cluster."""

    pipeline: Annotated[PipelineName, typer.Option(help="Which pipeline.")] = "zero_shot"
    kind: Annotated[Kind, typer.Option(help="Kind of nodes that resources are asked for.")] = "cpu"
    image: Annotated[
        str | None, typer.Option(help="Container image of steps that need torch; the project's if left out.")
    ] = None
    light_image: Annotated[
        str | None,
        typer.Option(help="Image of all other steps; --image with -light after its tag if left out."),
    ] = None
    resource: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEP.FIELD=VALUE",
            help="Change of a step's resources, such as train.gpu.count=4, train.nodes=2, all.gpu.resource=amd.com/gpu or "
            "'all.gpu.labels={nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}'; repeatable.",
        ),
    ] = None

    def write(self, out: Path) -> None:
        """Compile it to a file; errors as of `catalogue.compile_pipeline`."""
        from pipelines.kubeflow.catalogue import compile_pipeline

        compile_pipeline(
            self.pipeline,
            out,
            kind=self.kind,
            image=self.image,
            light_image=self.light_image,
            changes=self.resource or (),
        )


@dataclass(frozen=True)
class Chosen(Made):
    """Which compiled pipeline: one of this project's, or somebody's file."""

    package: Annotated[Path | None, typer.Option(help="A compiled pipeline instead of --pipeline.")] = None

    @contextmanager
    def file(self) -> Iterator[Path]:
        """Give the compiled pipeline; one of this project's is there until the block ends.

        Raises:
            UserError: an image or a resource is not possible, or comes with a package, which has its own.
        """
        if self.package is None:
            with TemporaryDirectory() as folder:
                path = Path(folder) / f"{self.pipeline}.yaml"
                self.write(path)
                yield path
        elif self.image or self.light_image or self.resource:
            raise UserError(
                f"{self.package} is compiled: it has its images and resources; give them when you compile"
            )
        else:
            yield self.package


@dataclass(frozen=True)
class Given:
    """Parameters of a pipeline's run."""

    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", metavar="NAME=VALUE", help="Parameter of the pipeline; repeatable."
        ),
    ] = None
    set_: Set = None
    overrides: OverridesFile = None

    def checked(
        self, file: Path, chosen: Chosen, *, defaults: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Give the parameters for the compiled pipeline `file`, checked by its own rules too where it is this project's.

        Its batches are then held against the resources that were `chosen`. `defaults` are for parameters that the
        pipeline has and nobody gave.

        Raises:
            UserError: one is unknown, missing, of another type, or not possible, or a batch cannot be shared.
        """
        from pipelines.kubeflow.parameters import check_parameters, declared, parse_parameters

        known = declared(file)
        own = {name: value for name, value in (defaults or {}).items() if name in known}
        values = own | parse_parameters(self.parameter or (), known)
        if self.set_ or self.overrides is not None:
            if "overrides" in values:
                raise UserError("overrides come by --set and --overrides, or as a parameter: not both")
            values["overrides"] = json.dumps(parse_overrides(self.set_ or (), self.overrides))
        check_parameters(values, known)
        if chosen.package is None:
            from pipelines.kubeflow.catalogue import check_submission

            check_submission(chosen.pipeline, values, kind=chosen.kind, changes=chosen.resource or ())
        return values


@dataclass(frozen=True)
class Server:
    """Which server, as whom; the names of the variables are those of Kubeflow's own `kfp` command."""

    host: Annotated[
        str,
        typer.Option(
            envvar=["KFP_ENDPOINT", "KF_PIPELINES_ENDPOINT"],
            help="Address of the API, such as http://localhost:8080.",
        ),
    ]
    namespace: Annotated[
        str | None,
        typer.Option(envvar="KFP_NAMESPACE", help="Namespace, where the server keeps users apart."),
    ] = None
    token: Annotated[
        str | None,
        typer.Option(
            envvar="KFP_EXISTING_TOKEN",
            show_default=False,
            help="Bearer token; better by the variable, which other users of the machine do not see.",
        ),
    ] = field(default=None, repr=False)

    def connect(self) -> "Cluster":
        """Connect to it; errors as of `cluster.connect`."""
        from pipelines.kubeflow.cluster import connect

        return connect(self.host, namespace=self.namespace, token=self.token)


def unbundled(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose options are the fields of the dataclasses that `command` takes, and its other parameters."""
    hints = get_type_hints(command, include_extras=True)
    bundles: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}

    @functools.wraps(command)
    def called(**options: Any) -> None:
        for name, bundle in bundles.items():
            options[name] = bundle(**{one.name: options.pop(one.name) for one in fields(bundle)})
        command(**options)

    parameters = [
        option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, one in inspect.signature(command).parameters.items()
        for option in (inspect.signature(bundles[name]).parameters.values() if name in bundles else [one])
    ]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in parameters}
    return called
