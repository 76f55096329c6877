"""Step: make one unit vector per class name with CLIP's text tower, or read them from a file."""

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
    """The file of the vectors, their number and their width."""

    path: Path
    num_classes: int
    embed_dim: int


@step(
    "text_vectors",
    threads="usable",
    example="cascade-clip text-vectors --protocol mini-18-6 --recipe mini_zegclip --clip data/mini/clip",
)
def run(
    call: Call,
    /,
    *,
    protocol: Annotated[
        str | None,
        Option("Label set and unseen classes: a protocol such as voc12-15-5, or your label file (.yaml)."),
    ] = None,
    names: Annotated[
        Path | None,
        Option("Instead of --protocol: a text file with a name per line, and synonyms after '|'."),
    ] = None,
    recipe: Annotated[str | None, Option("Recipe that states the prompt templates.")] = None,
    template_set: Annotated[
        TemplateSet | None,
        Option("Instead of --recipe: a set of templates, by name.", flag="--templates"),
    ] = None,
    templates: Annotated[
        Sequence[str],
        Option("Instead of --recipe: your own template, {} for the name; repeatable.", flag="--template"),
    ] = (),
    clip: ClipFolder | None = None,
    vectors: Annotated[
        Path,
        Place(
            "Instead of --clip: a .npy file with an array [classes, width] or [classes, templates, width]."
        ),
    ]
    | None = None,
    random_clip: Annotated[
        bool,
        Option("Instead of --clip: a random vector per name, as wide as the CLIP of --recipe, for controls."),
    ] = False,
    by_template: Annotated[
        bool,
        Option(
            "Keep the vector of each template and the tokens too, as for a recipe that reads them, such as mini_otseg."
        ),
    ] = False,
    background: Annotated[
        Sequence[str],
        Option(
            "Names for background, separated by commas; if left out, those of recipe or label file.",
            **comma_separated("--background-names"),
        ),
    ] = (),
    overrides: Overrides | None = None,
    out: Annotated[Path, Output(default="local_outputs/text", stage="outputs/text")],
) -> TextVectors:
    """Make one text vector per class name.

    Writes `class_vectors.safetensors` (float32, a unit row per class) and `names.json`. A class with synonyms has the
    mean of their vectors; `name_vectors.safetensors` keeps the vector of each. The text tower of --clip makes
    the vectors from names and templates. A file of --vectors must be in the protocol's class order; the templates
    then only record how the vectors were made. With --random-clip no weights are needed: each name has a random
    vector that is always the same. Background names get vectors in a file of their own. With --by-template, or a recipe
    that reads them, each file also holds the vectors [names, templates, width] of the single templates and, from a CLIP
    folder, the ids of their tokens [names, templates, context]. A cache keeps
    vectors for the next call with the same names, templates and weights.

    Raises:
        UserError: there is not exactly one source of names, of templates and of vectors, --random-clip comes without a
            recipe, a file is missing or broken, a name occurs twice, or the vectors do not fit the classes.
    """
    from components.vectors.made import TextRows, encoded_rows, random_rows, rows_of_file
    from components.vectors.sources import named_classes, prompt_templates
    from components.vectors.vector_files import (
        VECTORS_FILE,
        write_background_vectors,
        write_class_vectors,
        write_name_vectors,
    )

    prompts = prompt_templates(recipe, template_set, templates, overrides or {})
    classes = named_classes(protocol, names)
    if (clip is not None) + (vectors is not None) + random_clip != 1:
        raise UserError(
            "text vectors come from --clip FOLDER, from --vectors FILE.npy, or from --random-clip: give exactly one of them"
        )
    if random_clip and prompts.width is None:
        raise UserError("--random-clip makes vectors as wide as those of a recipe's CLIP; give --recipe")
    background = tuple(background) or prompts.background or classes.background
    if vectors is not None and (background or names):
        raise UserError(
            "background names and --names need a CLIP folder, which makes their vectors; give --clip instead of --vectors"
        )

    kept = by_template or prompts.form != "mean"
    if prompts.form == "tokens" and clip is None:
        raise UserError(
            f"recipe {recipe} trains the text tower, and reads the tokens of the texts; give --clip FOLDER, which has the tokenizer"
        )

    def vectors_of(texts: Sequence[str]) -> TextRows:
        if clip is not None:
            return encoded_rows(clip, texts, prompts.templates, by_template=kept)
        assert prompts.width is not None
        return random_rows(texts, prompts.templates, prompts.width, by_template=kept)

    parameters: dict[str, Any] = {"protocol": classes.protocol, "templates": list(prompts.templates)}
    if random_clip:
        parameters["random_clip"] = True
    if kept:
        parameters["by_template"] = True
    if any(classes.synonyms):
        parameters["synonyms"] = [list(others) for others in classes.synonyms]
    with call.writing(
        tracked=protocol is not None,
        protocol=classes.protocol or "",
        parameters={name: value for name, value in parameters.items() if value is not None},
        tracked_parameters={**parameters, **call.inputs},
    ) as work:
        if vectors is not None:
            rows = rows_of_file(vectors, classes.names, prompts.templates, by_template=kept)
        elif not any(classes.synonyms):
            rows = vectors_of(classes.names)
        else:
            groups = classes.groups
            names_in_order = [name for group in groups for name in group]
            name_rows = vectors_of(names_in_order)
            rows = name_rows.of_classes([len(group) for group in groups])
            write_name_vectors(
                work.folder,
                name_rows.mean,
                groups,
                by_template=name_rows.by_template,
                tokens=name_rows.tokens,
            )
        write_class_vectors(
            work.folder, rows.mean, classes.names, by_template=rows.by_template, tokens=rows.tokens
        )
        if background:
            names_rows = vectors_of(background)
            write_background_vectors(
                work.folder,
                background,
                names_rows.mean,
                by_template=names_rows.by_template,
                tokens=names_rows.tokens,
            )
        num_classes, width = rows.mean.shape
        counts = {"classes": num_classes, "width": width, "background_names": len(background)}
        work.tracker.metrics(counts)
    return TextVectors(out / VECTORS_FILE, num_classes, width)
