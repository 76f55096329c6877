"""The component that removes old results at a pipeline's end."""

from kfp import dsl
from kfp.dsl import Markdown, Output

from components.ops.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prune(keep: int, removed: Output[Markdown]) -> None:
    """Remove old results that nothing needs, and show what went."""
    from pathlib import Path

    from components.entry import enter
    from components.retention import pruning

    enter()
    Path(removed.path).write_text(pruning.prune_and_describe(keep=keep), encoding="utf-8")
