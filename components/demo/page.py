"""The page's components and events, in Gradio."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import gradio as gr

from cascade_core.errors import UserError
from components.demo.segmenting import Answer, Model, names_in_field, notes, read_photograph, segment

TITLE = "Segment a photograph into any classes"
OPACITY = 55
MOST_WAITING = 64
"""The most requests that wait for their turn; one more is refused."""
SET_OPACITY = "(percent) => { document.documentElement.style.setProperty('--tint', percent / 100); }"
NAME_EXAMPLES = """() => {
  const names = NAMES;
  document.querySelectorAll('#examples button').forEach(
    (button, place) => button.setAttribute('aria-label', `Example ${names[place]}`));
}"""
MESSAGE = '<div class="message" role="status" aria-live="polite">${value}</div>'
DOWNLOADS = {"overlay": "Overlay (PNG)", "label_map": "Label map (PNG)", "classes": "Classes (JSON)"}
"""The label of each download, by its field of `ResultFiles`."""


@dataclass
class Results:
    """The folders of results: each visitor has one, which the next request replaces and the end of the visit removes."""

    root: Path
    folders: dict[str, Path] = field(default_factory=dict)

    def new(self, visitor: str) -> Path:
        """Return a folder for the next results of a visitor; the earlier one is removed."""
        self.drop(visitor)
        self.folders[visitor] = folder = self.root / uuid4().hex
        return folder

    def drop(self, visitor: str) -> None:
        """Remove the results of a visitor, if there are any."""
        if folder := self.folders.pop(visitor, None):
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Column:
    """The components of one model."""

    figure: gr.HTML
    downloads: tuple[gr.DownloadButton, ...]

    @property
    def outputs(self) -> list[Any]:
        return [self.figure, *self.downloads]


def page(
    models: Sequence[Model], *, labels: str, examples: Sequence[Path], uploads: Path, results_root: Path
) -> gr.Blocks:
    """Build the page for one or two models, with `labels` in its field and pictures to start from.

    Gradio stores uploads below `uploads`; results are written below `results_root`.
    """
    results = Results(results_root)
    with gr.Blocks(analytics_enabled=False, title=TITLE, delete_cache=(600, 3600)) as blocks:
        gr.HTML(
            f"<h1>{TITLE}</h1>{''.join(f'<p>{escape(note)}</p>' for note in notes(models))}", js_on_load=None
        )
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                photograph = gr.Image(
                    label="Photograph",
                    type="filepath",
                    sources=["upload", "clipboard"],
                    buttons=[],
                    height=240,
                    alt_text="The photograph to segment",
                )
                names = gr.Textbox(
                    labels,
                    label="Class names",
                    info="Any words, separated by commas; a name with a comma stands in double quotes.",
                    placeholder="dog, grass, sky",
                    max_lines=8,
                )
                button = gr.Button("Segment", variant="primary")
                message = gr.HTML("", html_template=MESSAGE, js_on_load=None)
                opacity = gr.Slider(0, 100, OPACITY, step=1, label="Opacity of the overlay (percent)")
                if examples:
                    _examples(examples, photograph, blocks)
            with gr.Column(scale=len(models) + 1), gr.Row():
                columns = [_column() for _ in models]
        gr.on(
            [button.click, names.submit],
            _segment_with(models, results, uploads),
            [photograph, names],
            [message, *(output for column in columns for output in column.outputs)],
            preprocess=False,  # Gradio would decode the file before our own reader checks it.
            concurrency_limit=1,
            api_visibility="private",
        )
        gr.on([opacity.input, opacity.change], None, [opacity], js=SET_OPACITY)

        def leave(request: gr.Request) -> None:
            results.drop(str(request.session_hash))

        blocks.unload(leave)
    blocks.queue(max_size=MOST_WAITING)
    return blocks


def _examples(examples: Sequence[Path], photograph: gr.Image, blocks: gr.Blocks) -> None:
    """Show pictures that a click puts into the page; Gradio's buttons have no names, so give each one."""
    gr.Examples(
        [[str(path)] for path in examples],
        [photograph],
        label="Examples",
        elem_id="examples",
        examples_per_page=len(examples),
        cache_examples=False,
    )
    blocks.load(None, js=NAME_EXAMPLES.replace("NAMES", json.dumps([path.name for path in examples])))


def _column() -> Column:
    with gr.Column(min_width=280):
        figure = gr.HTML("", js_on_load=None)
        with gr.Row():
            downloads = tuple(
                gr.DownloadButton(label, visible=False, size="sm", min_width=120)
                for label in DOWNLOADS.values()
            )
    return Column(figure, downloads)


def _segment_with(models: Sequence[Model], results: Results, uploads: Path) -> Callable[..., list[Any]]:
    """Return the handler of a request: a message, then the figure and downloads of each model."""

    def handle(
        upload: Mapping[str, Any] | None,
        field: str | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        out, start = results.new(str(request.session_hash)), perf_counter()
        try:
            picture, names = read_photograph(_path(upload, uploads)), names_in_field(field or "")
            answers = []
            for number, model in enumerate(models):
                title = f"{model.title}: {len(names):,} classes"
                progress((number, len(models)), desc=title, unit="models")

                def show(done: int, total: int, title: str = title) -> None:
                    progress((done, total), desc=f"{title}, text vectors", unit="texts")

                answers.append(segment(model, picture, names, out=out / str(number), on_texts=show))
        except UserError as error:
            return [f'<p class="error">{escape(str(error))}</p>', *_nothing(len(models))]
        height, width = picture.pixels.shape[:2]
        done = f"{picture.file.path.name}: {width} x {height} pixels, {len(names):,} classes, {perf_counter() - start:.1f} s"
        return [f"<p>{escape(done)}</p>", *(output for answer in answers for output in _updates(answer))]

    return handle


def _path(upload: Mapping[str, Any] | None, uploads: Path) -> Path:
    """Return the path of an upload; a path elsewhere on this machine is nobody's upload."""
    path = Path(upload["path"]).resolve() if upload and upload.get("path") else None
    if path is None:
        raise UserError("There is no photograph; choose a picture file first")
    if not path.is_relative_to(uploads.resolve()):
        raise UserError("This photograph is no upload of this page; choose a picture file")
    return path


def _updates(answer: Answer) -> list[Any]:
    files = [str(getattr(answer.files, name)) for name in DOWNLOADS]
    return [answer.figure, *(gr.DownloadButton(value=file, visible=True) for file in files)]


def _nothing(num_models: int) -> list[Any]:
    return ["", *(gr.DownloadButton(value=None, visible=False) for _ in DOWNLOADS)] * num_models
