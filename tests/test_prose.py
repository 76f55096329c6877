"""Rules of the project's prose that a machine can hold: names are nouns, test names are short, pages have an index."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTICIPLES = {"found", "told", "drawn", "shown"}
LONGEST_TEST_NAME = 60
TELL = re.compile(r"(?<!cannot be )\b(told|tells?)\b")
TELL_LINES = 40
"""Fewer lines than this hold `tell`: report, log, raise, record or distinguish says more. "Cannot be told" is one of the three verdicts
on a claim."""


def tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    return [
        path for path in paths if path.suffix in suffixes and path.is_file() and "stored" not in path.parts
    ]


def names(tree: ast.AST) -> Iterator[str]:
    """Yield the names that a module gives: of variables, parameters, functions and classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def test_names_are_short_and_no_participles() -> None:
    bad = {}
    for path in tracked(".py"):
        for name in names(ast.parse(path.read_text(encoding="utf-8"))):
            if name in PARTICIPLES or (name.startswith("test_") and len(name) > LONGEST_TEST_NAME):
                bad[f"{path.relative_to(ROOT)}: {name}"] = name
    assert not bad, "\n".join(bad)


def test_prose_says_report_or_raise_and_not_tell() -> None:
    lines = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in tracked(".py", ".md")
        for line in path.read_text(encoding="utf-8").splitlines()
        if TELL.search(line)
    ]
    assert len(lines) < TELL_LINES, "\n".join(lines)


def test_the_readme_has_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def headings(page: Path) -> set[str]:
    """Give the anchors of a page, as sites render headings: lower case, words joined by dashes, no other signs."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in tracked(".md"):
        for target, anchor in re.findall(
            r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8")
        ):
            path = (page.parent / target) if target else page
            if not path.exists() or (anchor and path.suffix == ".md" and anchor not in headings(path)):
                broken.append(f"{page.relative_to(ROOT)}: {target}#{anchor}")
    assert not broken, "\n".join(broken)


def test_the_index_of_the_docs_lists_every_page_once() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    links = re.findall(r"\]\(([\w.]+\.md)\)", (ROOT / "docs" / "README.md").read_text(encoding="utf-8"))
    assert sorted(links) == sorted(pages)


def test_the_glossary_explains_each_term_once() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    sections = [re.findall(r"^\*\*(.+?)\*\*", part, re.MULTILINE) for part in text.split("\n## ")[1:]]
    assert all(terms and terms == sorted(set(terms), key=str.lower) for terms in sections), sections
    assert len({term for terms in sections for term in terms}) == sum(map(len, sections)) > 30
