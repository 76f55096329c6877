"""Paths in the sentences of errors, as a user can paste them into a shell: one with blanks stands in quotes.

Errors name paths as the user wrote them, from many places below this layer, which knows nothing of shells. Here the
paths of the command line are known.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cascade_core.clip.home import clip_home

PATHS_OR_NAMES = {"model", "pictures", "source"}
"""Options and arguments that are texts, because they take names too."""
BELOW = r"(?:/[^\s'\"`,;:()]*[^\s'\"`,;:().])?"
"""What may follow a path of the command line: a file or folder below it."""


def paths_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths among a command's options that a shell takes as one word only in quotes."""
    texts = {
        text for name, value in options.items() for text in _paths(value, certain=name in PATHS_OR_NAMES)
    }
    places = {str(Path.cwd()), str(clip_home().parent)}
    return tuple(text for text in sorted(texts | places, key=len, reverse=True) if shlex.quote(text) != text)


def with_quoted(sentence: str, paths: Iterable[str]) -> str:
    """Put those of `paths` that stand in a sentence, and paths below them, into quotes; the longest come first."""
    known = "|".join(re.escape(path) for path in paths)
    if not known:
        return sentence
    return re.sub(
        rf"(?<![\w'\"/])(?:{known}){BELOW}(?![\w'\"])", lambda path: shlex.quote(path.group()), sentence
    )


def _paths(value: Any, *, certain: bool) -> Iterator[str]:
    if isinstance(value, Path):
        yield str(value)
    elif isinstance(value, str) and value and "\n" not in value:
        if certain or "/" in value or _exists(value):
            yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _paths(part, certain=certain)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a name, or with a null byte
        return False
