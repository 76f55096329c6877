"""The missing requirement of Triton is named."""

import sysconfig
from pathlib import Path

import pytest

from cascade_core.runtime import c_compiler as compiler
from cascade_core.runtime.c_compiler import missing_for_triton


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty folder where programs and headers are searched; Triton is installed."""
    monkeypatch.setattr(compiler, "find_spec", lambda name: name)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sysconfig, "get_path", lambda name, scheme: str(tmp_path))
    return tmp_path


def test_a_missing_triton_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_spec", lambda name: None)
    assert missing_for_triton() == "Triton, which torch brings on Linux alone"


@pytest.mark.parametrize("program", ["gcc", "clang"])
def test_a_c_compiler_and_pythons_headers_are_needed(bare: Path, program: str) -> None:
    assert "a C compiler" in str(missing_for_triton())
    (bare / program).touch(mode=0o755)
    assert "Python's headers" in str(missing_for_triton())
    (bare / "Python.h").touch()
    assert missing_for_triton() is None


def test_cc_names_a_compiler(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "Python.h").touch()
    monkeypatch.setenv("CC", "tcc")
    assert missing_for_triton() is None
