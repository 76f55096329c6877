"""Step: make a CLIP folder from published weights, in any of the usual formats."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cascade_core.clip.home import clip_folder, clip_home, imported_clip, model_home, training_free_folder
from cascade_core.configs.settings import Activation
from cascade_core.errors import UserError
from components.contract import Call, Option, Output, Settings, step

if TYPE_CHECKING:
    from cascade_core.configs.model import ClipConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Imported:
    """The CLIP folder or model folder, the CLIP's configuration, the file of its weights (None: random), and the method if any."""

    folder: Path
    config: "ClipConfig"
    weights: Path | None
    method: str | None = None

    def show(self) -> None:
        """Print model, activation and folder, and the name that commands accept for the folder."""
        method = f"{self.method} on " if self.method else "random weights of " if self.weights is None else ""
        print(f"{method}{self.config.name}, {self.config.activation}: {self.folder}")
        if self.folder.parent == clip_home():
            print(f"commands take it as --clip {self.folder.name}")
        if self.folder.parent == model_home():
            print(f"commands take it as --model {self.folder.name}; evaluate as {self.folder / 'checkpoint'}")


@step(
    "import_clip",
    example="cascade-clip import-clip ViT-B-16 --tag openai",
    tracked=False,
)
def run(
    call: Call,
    /,
    *,
    source: Annotated[
        str,
        Option(
            "Model name such as ViT-B-16, with --tag; or the path of a safetensors file, OpenAI's .pt, or a hub folder.",
            argument=True,
        ),
    ],
    tag: Annotated[
        str | None, Option("Weights of the model, by open_clip's tag: openai, laion2b_s34b_b88k, ...")
    ] = None,
    activation: Annotated[Activation | None, Option("Activation of a bare file without --tag.")] = None,
    out: Annotated[
        Path | None,
        Output("Folder to write; if left out, clip/<name> or models/<method>-<name> in $CASCADE_HOME."),
    ] = None,
    cache: Annotated[Path | None, Option("Cache folder of open_clip; if left out, its usual one.")] = None,
    method: Annotated[
        str | None,
        Option(
            "Make a model without training instead of a CLIP folder: maskclip, sclip, clearclip or naclip."
        ),
    ] = None,
    protocol: Annotated[
        str | None, Option("With --method: label set of the model's later evaluations, such as context59.")
    ] = None,
    random: Annotated[
        bool,
        Option(
            "Random weights instead of published ones, to try a workflow: scores mean nothing. Source: a model name, or mini."
        ),
    ] = False,
    overrides: Annotated[
        Mapping[str, Any] | None,
        Settings("With --method: another setting, such as model.temperature=50; repeatable."),
    ] = None,
) -> Imported:
    """Make a CLIP folder from published weights.

    The source is a model of open_clip, which is downloaded if it is not in the cache; or OpenAI's archive, a
    safetensors file, a state dict, or a folder of the hub. Shapes follow from the weights. The activation follows
    from the tag, the folder's configuration, or OpenAI's archive; for a bare file, --tag or --activation states it.

    Without --out, the folder is outside every project: in $CASCADE_HOME, or without that variable in the user's data
    folder. Every command then takes the name of the CLIP: --clip ViT-B-16.

    With --method, a model folder is written that predicts without training. The source may then also be an imported
    CLIP or a CLIP folder, and --tag is openai if left out. Every command takes its name: --model naclip-ViT-B-16.
    --set changes its settings: --set evaluate.synonyms=mean, --set evaluate.average=probabilities, and so on.

    With --random, nothing is read: the folder holds random weights of a model, or of `mini`, the smallest, which trains in
    minutes without a GPU and reads any words. Every command takes the name random-mini.

    Raises:
        UserError: the weights are missing or not of OpenAI's ViT layout, statements about them contradict each other
            or the weights, the activation, method or protocol is unknown, or an override is, has an option of its own
            or asks for a training.
    """
    from cascade_core.clip.files import CONFIG_FILE, WEIGHTS_FILE
    from cascade_core.clip.published_clip import read_published
    from cascade_core.clip.sources import OPENAI
    from cascade_core.clip.weights import load_clip, save_clip
    from cascade_core.configs.overrides import refuse_stated
    from cascade_core.training_free import check_method, training_free_config, write_training_free

    if method is None and protocol is not None:
        raise UserError("--protocol needs --method; a CLIP folder knows no classes")
    if method is None and overrides:
        raise UserError(f"--set {min(overrides)} needs --method; a CLIP folder has no settings")
    refuse_stated(overrides or ())
    if "data.protocol" in (overrides or ()):
        raise UserError("override 'data.protocol': it is stated by --protocol; use that instead")
    check_method(method)
    if random:
        others = {"--tag": tag, "--activation": activation, "--cache": cache, "--method": method}
        if stated := [flag for flag, value in others.items() if value is not None]:
            raise UserError(f"--random reads no weights; leave out {' and '.join(stated)}")
        return _random(call, source, out)
    local, text = clip_folder(Path(source)), None
    if method is not None and tag is None and (local / CONFIG_FILE).is_file():
        clip, weights, text = load_clip(local)[0], local / WEIGHTS_FILE, local
    else:
        if method is not None and tag is None and not Path(source).exists():
            tag = OPENAI
        clip, weights = read_published(source, tag=tag, activation=activation, cache=cache)
    name = clip.config.name
    folder = out or (imported_clip(name) if method is None else training_free_folder(method, name))
    parameters: dict[str, Any] = {
        "source": Path(source).name,
        "tag": tag,
        "activation": clip.config.activation,
    }
    config = None
    if method is not None:
        config = training_free_config(method, clip, protocol=protocol, overrides=overrides)
        parameters |= {"method": method, "protocol": protocol}
        if overrides:
            parameters["overrides"] = dict(overrides)
    with call.writing(out=folder, inputs={"weights": weights}, parameters=parameters) as work:
        if config is None:
            save_clip(work.folder, clip)
        else:
            write_training_free(work.folder, clip, config, text=text)
    log.info("CLIP %s (%s) from %s: %s", name, clip.config.activation, weights, folder)
    return Imported(folder, clip.config, weights, method)


def _random(call: Call, name: str, out: Path | None) -> Imported:
    """Write the folder of a CLIP with random weights, the same at every call."""
    from cascade_core.clip.weights import new_clip, save_clip
    from cascade_core.configs.backbones import untrained

    config = untrained(name)
    folder = out or imported_clip(f"random-{config.name}")
    parameters = {"source": "random", "activation": config.activation}
    with call.writing(out=folder, parameters=parameters) as work:
        save_clip(work.folder, new_clip(config, seed=0))
    log.warning("CLIP %s has random weights: scores on it mean nothing", folder)
    return Imported(folder, config, None)
