"""Writes `stated.py`: a component for each step that states what it asks of a cluster.

kfp copies the source of a component into the pipeline, so that there must be some: `python -m components.ops.write`
writes it anew, and a test fails while the file is another one.
"""

from pathlib import Path
from typing import Any

from cascade_core.runtime.files import new_file
from components.bodies.interface import NODES, cluster_of, inputs, outputs, stated_steps
from components.contract import Step

FILE = Path(__file__).with_name("stated.py")
HEAD = '''"""Components made from the statements of their steps by `python -m components.ops.write`: change those instead."""

from kfp import dsl
from kfp.dsl import {artifacts}

from components.ops.image import IMAGE
'''
COMPONENT = '''

@dsl.component(base_image=IMAGE, install_kfp_package=False)
def {name}(
{parameters}) -> None:
    """{help}"""
    from components.bodies.stated_step import run_component

    run_component("{name}", locals())
'''


def source() -> str:
    """Give the whole file as it should be."""
    steps = stated_steps()
    hints = [hint for one in steps for _, hint in (*inputs(one), *outputs(one)) if hint.endswith("]")]
    kinds = {part for hint in hints for part in hint.rstrip("]").split("[")}
    return HEAD.format(artifacts=", ".join(sorted(kinds))) + "".join(map(_component, steps))


def _component(stated: Step[Any, Any]) -> str:
    lines = [f"    {name}: {hint},\n" for name, hint in (*inputs(stated), *outputs(stated))]
    if cluster_of(stated).trains:
        lines.append(f'    {NODES}: str = "",\n')
    first_sentence = stated.help.splitlines()[0]
    return COMPONENT.format(name=stated.name, parameters="".join(lines), help=first_sentence)


if __name__ == "__main__":
    with new_file(FILE) as path:
        path.write_text(source())
