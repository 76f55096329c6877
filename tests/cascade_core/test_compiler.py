"""Which compiler Triton would find, and that it is of no use without Python's headers."""

import sysconfig
from pathlib import Path

import pytest

from cascade_core.compiler import c_compiler


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder that is searched for programs and headers alike, and holds neither."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sysconfig, "get_path", lambda name, scheme: str(tmp_path))
    return tmp_path


def _put(program: Path) -> str:
    program.touch(mode=0o755)
    return str(program)


def test_gcc_goes_before_clang_and_what_cc_names_before_both(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "Python.h").touch()
    assert c_compiler() is None
    clang = _put(bare / "clang")
    assert c_compiler() == clang
    gcc = _put(bare / "gcc")
    assert c_compiler() == gcc
    monkeypatch.setenv("CC", "tcc")
    assert c_compiler() == "tcc"


def test_without_pythons_headers_a_compiler_is_none(bare: Path) -> None:
    _put(bare / "gcc")
    assert c_compiler() is None
