"""Step: one unit vector per class name, from CLIP's text tower or from a file of ready ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cascade_core.configs.templates import TemplateSet
from cascade_core.errors import UserError
from components.contract import Call, Option, Output, Place, step
from components.contract.shared import ClipFolder, Overrides, comma_separated


@dataclass(frozen=True)
class TextVectors:
    """Where the vectors lie, and their number and width."""

    path: Path
    num_classes: int
    embed_dim: int


@step(
    "text_vectors",
    example="cascade-clip text-vectors --protocol mini-18-6 --recipe mini_zegclip --clip data/mini/clip",
)
def run(
    call: Call,
    /,
    *,
    protocol: Annotated[
        str | None,
        Option("Label set and unseen classes by name, such as voc12-15-5, or your label file (.yaml)."),
    ] = None,
    names: Annotated[
        Path | None, Option("Or a text file of any names, a line each; synonyms behind '|'.")
    ] = None,
    recipe: Annotated[str | None, Option("Recipe whose prompt templates are used.")] = None,
    template_set: Annotated[
        TemplateSet | None,
        Option("Or templates by name: one, the authors' 15, CLIP's 80.", flag="--templates"),
    ] = None,
    templates: Annotated[
        Sequence[str],
        Option("Or templates of your own, {} for the name; repeatable.", flag="--template"),
    ] = (),
    clip: ClipFolder | None = None,
    vectors: Annotated[Path, Place("Or ready vectors: .npy [classes, width].")] | None = None,
    background: Annotated[
        Sequence[str],
        Option(
            "What stands for background, by commas; the recipe's or label file's if none.",
            **comma_separated("--background-names"),
        ),
    ] = (),
    overrides: Overrides | None = None,
    out: Annotated[Path, Output(default="outputs/text")],
) -> TextVectors:
    """Make one vector per class name.

    Writes `class_vectors.safetensors` (float32, a unit row per class) and `names.json`. The vectors come from
    the text tower of the CLIP folder with the names put into the templates, or from a file of ready ones in the
    protocol's class order, which the templates then only describe. Names for background get vectors beside them.
    Vectors made once are kept: the same names, templates and weights cost nothing the second time.

    Raises:
        UserError: not exactly one source of names, of templates or of vectors is given, a file is missing or
            broken, a name comes twice, or the vectors do not fit the classes.
    """
    from components.vectors.sources import named_classes, prompt_templates
    from components.vectors.text_cache import cached_class_vectors
    from components.vectors.vector_files import (
        VECTORS_FILE,
        read_vectors,
        write_background_vectors,
        write_class_vectors,
    )

    prompts = prompt_templates(recipe, template_set, templates, overrides or {})
    classes = named_classes(protocol, names)
    if (clip is None) == (vectors is None):
        raise UserError("text vectors come from a CLIP folder or from a .npy file: give exactly one of them")
    behind = tuple(background) or prompts.background or classes.background
    if clip is None and (behind or names):
        raise UserError(
            "vectors of background names, and of --names, come from a CLIP folder alone; give it instead of a .npy file"
        )
    parameters: dict[str, Any] = {"protocol": classes.protocol, "templates": list(prompts.templates)}
    if any(classes.synonyms):
        parameters["synonyms"] = [list(others) for others in classes.synonyms]
    with call.writing(
        tracked=protocol is not None,
        protocol=classes.protocol or "",
        parameters={name: value for name, value in parameters.items() if value is not None},
        tracked_parameters={**parameters, **call.inputs},
    ) as work:
        if clip is None:
            assert vectors is not None
            rows = read_vectors(vectors, classes.names)
        else:
            rows = cached_class_vectors(clip, classes.names, prompts.templates, synonyms=classes.synonyms)
        write_class_vectors(work.folder, rows, classes.names)
        if clip is not None and behind:
            more = cached_class_vectors(clip, behind, prompts.templates)
            write_background_vectors(work.folder, behind, more)
        counts = {"classes": rows.shape[0], "width": rows.shape[1], "background_names": len(behind)}
        work.tracker.metrics(counts)
    return TextVectors(out / VECTORS_FILE, *rows.shape)
