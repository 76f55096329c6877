"""The code blocks of README and docs, with the comment before each that says why `make docs` does not run it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"(?:^<!-- (?P<key>not run|file): (?P<note>.*?) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```", re.S | re.M
)
DATA = ("yaml", "diff", "mermaid", "text", "json")
"""Blocks of these kinds are no commands; a yaml block whose comment names a file is written to it."""
FOLLOWED_ELSEWHERE = ("extending.md",)
"""tests/test_extending.py follows these pages whole."""


@dataclass(frozen=True)
class Block:
    """A block of a page: its line, its kind (shell if empty), its text, and what the comment before it says."""

    page: Path
    line: int
    kind: str
    text: str
    reason: str | None = None
    file: str | None = None

    @property
    def runs(self) -> bool:
        return self.reason is None and (self.file is not None or self.kind not in DATA)


def pages() -> list[Path]:
    """List README, CONTRIBUTING, SECURITY and the pages of docs."""
    folder = ROOT / "docs"
    named = [path for path in sorted(folder.glob("*.md")) if path.name not in FOLLOWED_ELSEWHERE]
    return [*sorted(ROOT.glob("*.md")), *named]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in order."""
    content = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(content):
        note = {match["key"]: match["note"]}
        line = content[: match.start("text")].count("\n")
        yield Block(page, line, match["kind"], match["text"], note.get("not run"), note.get("file"))
