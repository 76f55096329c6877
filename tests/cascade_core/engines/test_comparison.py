"""Engines side by side: which rows there are, and what they compare."""

import jaxtyping
import numpy as np
import pytest

from cascade_core.clip.vision import VisionTransformer
from cascade_core.engines import comparison
from cascade_core.engines.check import Inputs
from cascade_core.engines.graph import Exportable, Outputs
from cascade_core.model.build import build_segmentor
from tests.tiny import tiny_config

CONFIG = tiny_config()
ALL = [("torch", "fp32"), ("torch", "bf16"), *comparison.GRAPHS]


@pytest.fixture
def module() -> Exportable:
    return Exportable(build_segmentor(CONFIG.model, VisionTransformer(CONFIG.model.clip), seed=0), CONFIG)


@pytest.fixture
def inputs() -> list[Inputs]:
    random = np.random.default_rng(0)
    vectors, penalties = np.eye(16, dtype=np.float32)[:6], np.zeros(6, dtype=np.float32)
    pictures = random.integers(0, 256, (2, 1, 3, 32, 32)).astype(np.float32)
    return [(picture, vectors, penalties) for picture in pictures]


def compared(module: Exportable, inputs: list[Inputs]) -> tuple[comparison.EngineTime, ...]:
    return comparison.compare_engines(
        module, inputs[0], inputs[1:], threads=1, repeats=2, report=lambda *_: None
    )


def test_without_packages_torch_alone_is_timed(
    module: Exportable, inputs: list[Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "find_spec", lambda _: None)
    times = compared(module, inputs)
    assert [(time.engine, time.precision) for time in times] == ALL
    assert times[0].labels_equal == times[0].labels_of_logits_equal == 1
    assert times[1].labels_equal is not None and times[1].labels_equal > 0.8
    assert all(time.milliseconds is None and time.labels_equal is None for time in times[2:])


def test_own_labels_and_those_of_logits_are_compared_apart(
    module: Exportable, inputs: list[Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    def off(*arrays: np.ndarray) -> Outputs:
        outputs = module.outputs(*arrays)
        return outputs._replace(labels=outputs.labels + 1)

    monkeypatch.setattr(comparison, "_graphs", lambda *_: {("openvino", "int8"): off})
    last = compared(module, inputs)[-1]
    assert (last.labels_equal, last.labels_of_logits_equal) == (0, 1)
    assert last.milliseconds is not None and last.milliseconds_quartiles is not None
    assert last.milliseconds_quartiles[0] <= last.milliseconds <= last.milliseconds_quartiles[1]


@pytest.mark.slow
def test_every_engine_is_timed(
    module: Exportable, inputs: list[Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="needs openvino, of the extra openvino")
    # While a graph is traced, a height is a symbol and no int.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    times = compared(module, inputs)
    assert [(time.engine, time.precision) for time in times] == ALL
    equal = {(time.engine, time.precision): time.labels_equal for time in times if time.milliseconds}
    assert len(equal) == len(ALL)
    assert all(share is not None and share > 0.99 for (_, kind), share in equal.items() if kind == "fp32")
