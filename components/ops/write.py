"""Generates `stated.py`, which holds a component per step: `python -m components.ops.write`.

kfp copies a component's source into the pipeline, so the source must be a file. A test fails if it is out of date.
"""

from pathlib import Path
from typing import Any

from cascade_core.runtime.files import new_file
from components.bodies.interface import NODES, REUSE, cluster_of, inputs, labels, outputs, stated_steps
from components.contract import Step

FILE = Path(__file__).with_name("stated.py")
HEAD = '''"""Generated from the steps' statements by `python -m components.ops.write`; change the statements instead."""

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
    """Generate the text of `stated.py`."""
    steps = stated_steps()
    types = [hint for step in steps for _, hint in (*inputs(step), *outputs(step)) if hint.endswith("]")]
    kinds = {part for hint in types for part in hint.rstrip("]").split("[")}
    return HEAD.format(artifacts=", ".join(sorted(kinds))) + "".join(map(_component, steps))


def _component(stated: Step[Any, Any]) -> str:
    lines = [f"    {name}: {hint},\n" for name, hint in (*inputs(stated), *outputs(stated))]
    lines += [f"    {name}: {annotation},\n" for name, annotation in labels(stated).items()]
    if cluster_of(stated).trains:
        lines += [f'    {NODES}: str = "",\n', f"    {REUSE}: bool = True,\n"]
    summary = stated.help.splitlines()[0]
    return COMPONENT.format(name=stated.name, parameters="".join(lines), help=summary)


if __name__ == "__main__":
    with new_file(FILE) as path:
        path.write_text(source(), encoding="utf-8")
