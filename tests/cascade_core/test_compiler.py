"""What Triton lacks is named."""

import pytest

from cascade_core import compiler


@pytest.fixture(autouse=True)
def _nothing_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_spec", lambda name: name)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)


def test_without_triton_it_is_triton_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_spec", lambda name: None)
    assert "Triton" in str(compiler.missing_for_triton())


def test_without_a_c_compiler_that_is_missing_unless_cc_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "a C compiler" in str(compiler.missing_for_triton())
    monkeypatch.setenv("CC", "tcc")
    assert compiler.missing_for_triton() is None
