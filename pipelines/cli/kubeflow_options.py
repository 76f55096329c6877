"""Options of the Kubeflow commands: the pipeline, its parameters, and the server with its credentials.

Commands that share options take them as one dataclass; `flat_options` gives its fields to typer.
"""

import functools
import inspect
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from cascade_core.configs.overrides import parse_overrides
from cascade_core.errors import UserError
from components.bodies.interface import REUSE
from pipelines.cli.options import OverridesFile, Set
from pipelines.kubeflow.parameters import check_parameters, declared, parse_parameters

if TYPE_CHECKING:
    from pipelines.kubeflow.cluster import Connection

PipelineName = Literal["zero_shot", "inductive", "cross_dataset", "ablation", "benchmark", "predict"]
WHOLE = ("zero_shot", "inductive")
"""The pipelines that are a project's whole workflow; others take only its data from it."""
ALONE = ("predict",)
"""The pipelines that take nothing from a project."""
SPLITS = ("split", "gate_split")
"""Their parameters that decide how often a model is evaluated."""
Kind = Literal["cpu", "gpu"]
HOST_VARIABLES = ("KFP_ENDPOINT", "KF_PIPELINES_ENDPOINT")
NAMESPACE_VARIABLE, TOKEN_VARIABLE = "KFP_NAMESPACE", "KFP_EXISTING_TOKEN"
"""The environment variables of the `kfp` command."""
log = logging.getLogger(__name__)

Experiment = Annotated[str, typer.Option(help="Experiment for the run; created if it does not exist.")]
Description = Annotated[
    str | None,
    typer.Option(help="Text on the page; the pipeline's own, the code and the chosen parameters if none."),
]


@dataclass(frozen=True)
class PipelineChoice:
    """One pipeline of this project and the cluster that it is compiled for."""

    pipeline: Annotated[PipelineName, typer.Option(help="Which pipeline.")] = "zero_shot"
    kind: Annotated[Kind, typer.Option(help="Kind of nodes that the steps request.")] = "cpu"
    image: Annotated[
        str | None,
        typer.Option(help="Container image of the steps that need torch; the project's if left out."),
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

    def write(self, out: Path, values: Mapping[str, Any] | None = None) -> None:
        """Compile the pipeline to a file, for any run or one with these parameters; raises as `catalogue.compile_pipeline`."""
        from pipelines.kubeflow.catalogue import compile_pipeline

        compile_pipeline(
            self.pipeline,
            out,
            kind=self.kind,
            image=self.image,
            light_image=self.light_image,
            changes=self.resource or (),
            values=values,
        )


@dataclass(frozen=True)
class PackageChoice(PipelineChoice):
    """A compiled pipeline: one of this project's, or any file."""

    package: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A compiled pipeline instead of --pipeline.")
    ] = None

    @contextmanager
    def file(self, values: Mapping[str, Any] | None = None) -> Iterator[Path]:
        """Yield the path of the pipeline, compiled for any run or one with these parameters; a temporary file lasts until the block ends.

        Raises:
            UserError: an image or a resource is impossible, or is given for a compiled package.
        """
        if self.package is None:
            with TemporaryDirectory() as folder:
                path = Path(folder) / f"{self.pipeline}.yaml"
                self.write(path, values)
                yield path
        elif self.image or self.light_image or self.resource:
            raise UserError(
                f"{self.package} is compiled with its images and resources; give --image and --resource to `pipeline compile`"
            )
        else:
            yield self.package


@dataclass(frozen=True)
class RunParameters:
    """Parameters of a pipeline's run."""

    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", metavar="NAME=VALUE", help="Parameter of the pipeline; repeatable."
        ),
    ] = None
    set_: Set = None
    overrides: OverridesFile = None
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Train, even if an equal training is finished.")
    ] = False
    project: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Project whose settings are the parameters; the working folder if its settings have a section cluster.",
        ),
    ] = None

    def chosen(self, package: PackageChoice, *, in_pods: bool = True) -> PackageChoice:
        """Return the pipeline to run: without self-training if that of the project has none."""
        folder = self._folder(in_pods=in_pods)
        if folder is None or package.package is not None or package.pipeline != "zero_shot":
            return package
        from pipelines.graphs.project import read_project

        return (
            replace(package, pipeline="inductive")
            if read_project(folder).self_training == "none"
            else package
        )

    def splits(self) -> dict[str, str]:
        """Return the parameters `SPLITS` of a run on a cluster, if options or the project state them."""
        from pipelines.graphs.project import read_project

        stated: dict[str, str] = {}
        if (folder := self._folder(in_pods=True)) is not None:
            project = read_project(folder)
            stated = {"split": project.evaluate.split, "gate_split": project.gate.split}
        pairs = (item.partition("=") for item in self.parameter or ())
        return stated | {name: text for name, _, text in pairs if name in SPLITS}

    def _folder(self, *, in_pods: bool) -> Path | None:
        """Return the project's folder; None if there is none."""
        from pipelines.graphs.project import is_project, read_project

        if self.project is not None:
            return self.project
        if not is_project() or (in_pods and read_project().cluster is None):
            return None
        return Path()

    def checked(
        self,
        file: Path,
        package: PackageChoice,
        *,
        in_pods: bool = True,
        defaults: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the checked parameters for the compiled pipeline `file`: the user's, else the project's.

        For a pipeline of this package, also apply its own rules and compare its batches with its resources; a theme of
        ablations among its recipes, such as mini_cascade_clip:sigma, becomes the theme's cells.
        `defaults` fill parameters that the pipeline has and neither states.

        Raises:
            UserError: a parameter is unknown, missing, impossible or of another type, a batch cannot be shared, or the
                project's settings are wrong or do not say where the pods find a file.
        """
        inputs = declared(file)
        values = parse_parameters(self.parameter or (), inputs)
        if package.package is None and package.pipeline in WHOLE and "gate_split" not in inputs:
            values.pop("gate_split", None)  # compiled for one split, which `split` names
        fallback: dict[str, Any] = dict(defaults or {})
        alone = package.package is None and package.pipeline in ALONE
        if not alone and (folder := self._folder(in_pods=in_pods)) is not None:
            from pipelines.kubeflow.project_parameters import project_parameters

            whole = package.package is not None or package.pipeline in WHOLE
            fallback |= project_parameters(folder, in_pods=in_pods, but=values.keys(), whole=whole)
        if self.set_ or self.overrides is not None:
            if "overrides" in values:
                raise UserError(
                    "overrides are given twice; use either --set and --overrides, or -p overrides=..."
                )
            stated = json.loads(fallback.get("overrides", "{}"))
            values["overrides"] = json.dumps(stated | parse_overrides(self.set_ or (), self.overrides))
        values = {name: value for name, value in fallback.items() if name in inputs} | values
        if self.no_cache:
            if REUSE not in inputs:
                raise UserError(f"--no-cache: the pipeline has no parameter {REUSE}; leave --no-cache out")
            values[REUSE] = False
        check_parameters(values, inputs)
        if package.package is None:
            from cascade_core.configs.ablations import cells_of
            from pipelines.kubeflow.catalogue import check_submission

            if "recipes" in values:
                values["recipes"] = cells_of(values["recipes"])
            check_submission(package.pipeline, values, kind=package.kind, changes=package.resource or ())
        return values

    def checked_for_cluster(self, file: Path, package: PackageChoice) -> dict[str, Any]:
        """Return the checked parameters for a run on a cluster; log a warning if an image names no registry.

        Raises:
            UserError: as for `checked`, or a path is relative, which a pod cannot find.
        """
        from pipelines.kubeflow.checks import check_absolute
        from pipelines.kubeflow.resources import images, names_registry

        values = self.checked(file, package)
        if package.package is None:
            check_absolute(values)
            image, _ = images(package.image, package.light_image)
            if not names_registry(image):
                log.warning(
                    "image %s names no registry: a node that lacks it asks Docker Hub, which has none of ours; load it on "
                    "every node, or push it to a registry and give --image registry.example/%s",
                    image,
                    image,
                )
        return values


@dataclass(frozen=True)
class Server:
    """Address and credentials of a server; the environment variables are those of the `kfp` command."""

    host: Annotated[
        str,
        typer.Option(
            envvar=list(HOST_VARIABLES),
            help="Address of the API, such as http://localhost:8080.",
        ),
    ]
    namespace: Annotated[
        str | None,
        typer.Option(envvar=NAMESPACE_VARIABLE, help="Namespace; only if the server separates users."),
    ] = None
    token: Annotated[
        str | None,
        typer.Option(
            envvar=TOKEN_VARIABLE,
            show_default=False,
            help="Bearer token; prefer the environment variable, which other users cannot see.",
        ),
    ] = field(default=None, repr=False)

    def connect(self) -> "Connection":
        """Connect to the server; raises as `cluster.connect`."""
        from pipelines.kubeflow.cluster import connect

        return connect(self.host, namespace=self.namespace, token=self.token)


def flat_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` with the fields of each dataclass parameter as options of their own."""
    hints = get_type_hints(command, include_extras=True)
    bundles: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}

    @functools.wraps(command)
    def flat(**options: Any) -> None:
        for name, bundle in bundles.items():
            options[name] = bundle(**{item.name: options.pop(item.name) for item in fields(bundle)})
        command(**options)

    parameters = [
        option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
        for option in (
            inspect.signature(bundles[name]).parameters.values() if name in bundles else [parameter]
        )
    ]
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {option.name: option.annotation for option in parameters}
    return flat
