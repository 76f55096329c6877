"""macOS and Windows are not shut out: no module of ours needs what only Unix has, and text files name their encoding.

These are rules of the source. Nothing was run on those systems.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("cascade_clip", "cascade_core", "components", "pipelines")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
POSIX_MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")
POSIX_NAMES = {
    "os": {
        *("chown", "fork", "forkpty", "getegid", "geteuid", "getgid", "getloadavg", "getpgid", "getuid", "killpg"),
        *("lchown", "major", "minor", "mkfifo", "mknod", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK"),
        *("posix_fadvise", "pread", "pwrite", "register_at_fork", "sched_getaffinity", "setsid", "statvfs", "sync"),
        *("uname", "wait", "wait3", "WNOHANG"),
    },
    "signal": {
        *("alarm", "pthread_kill", "pthread_sigmask", "setitimer", "siginterrupt", "sigwait"),
        *("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2"),
    },
    "loop": {"add_signal_handler"},
    "socket": {"AF_UNIX"},
    "ctypes": {"CDLL"},
}  # fmt: skip
"""Attributes that Windows lacks; a function that uses one also says what happens there (`sys.platform`, `hasattr`)."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def faults(source: str) -> Iterator[str]:
    """Yield what shuts other systems out, each with its line."""
    tree = ast.parse(source)
    guarded = {id(node) for function in _guarded(tree) for node in ast.walk(function)}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if bad := {name.name for name in names} & {*POSIX_MODULES}:
                yield f"{node.lineno}: imports {', '.join(bad)}"
            case ast.ImportFrom(module=str(module)) if module in POSIX_MODULES:
                yield f"{node.lineno}: imports {module}"
            case ast.Attribute(value=ast.Name(id=of), attr=name) if name in POSIX_NAMES.get(of, ()):
                if id(node) not in guarded:
                    yield f"{node.lineno}: uses {of}.{name} without a look at the platform"
            case ast.keyword(arg="process_group" | "start_new_session" | "preexec_fn"):
                if id(node) not in guarded:
                    yield f"{node.value.lineno}: starts a process with {node.arg} without a look at the platform"
            case ast.Call(
                func=ast.Attribute(attr="read_text" | "write_text" as name), args=args, keywords=words
            ):
                named = {word.arg for word in words} & {"encoding"} or len(args) > (name == "write_text")
                if not named:
                    yield f"{node.lineno}: {name} without encoding"
            case ast.Call(func=ast.Name(id="open") | ast.Attribute(attr="open"), keywords=words, args=args):
                modes = [arg.value for arg in args if isinstance(arg, ast.Constant)]
                text = any(mode in {"r", "w", "a", "x", "rt", "wt"} for mode in modes)
                if text and "encoding" not in {word.arg for word in words}:
                    yield f"{node.lineno}: opens text without encoding"


def _guarded(tree: ast.Module) -> Iterator[Function]:
    for function in ast.walk(tree):
        if isinstance(function, Function):
            looks = {
                ast.unparse(node) for node in ast.walk(function) if isinstance(node, ast.Attribute | ast.Name)
            }
            if looks & {"sys.platform", "os.name", "hasattr"}:
                yield function


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import fcntl", "1: imports fcntl"),
        ("def f():\n    from resource import getrusage", "2: imports resource"),
        ("os.getuid()", "1: uses os.getuid without a look at the platform"),
        ("def f():\n    if sys.platform != 'win32':\n        os.killpg(1, 2)", None),
        (
            "subprocess.Popen(command, process_group=0)",
            "1: starts a process with process_group without a look",
        ),
        ("path.write_text('x')", "1: write_text without encoding"),
        ("path.read_text(encoding='utf-8')", None),
        ("open(path, 'w')", "1: opens text without encoding"),
        ("path.open('rb')", None),
    ],
)
def test_the_rules_see_a_fault(source: str, fault: str | None) -> None:
    seen = [*faults(source)]
    assert [one.startswith(fault or "") for one in seen] == ([] if fault is None else [True])


def test_no_module_shuts_other_systems_out() -> None:
    assert len(FILES) > 200
    wrong = [
        f"{file.relative_to(ROOT)}:{fault}" for file in FILES for fault in faults(file.read_text("utf-8"))
    ]
    assert wrong == []


def test_predicting_imports_no_unix_module() -> None:
    program = f"""
import sys
for name in {POSIX_MODULES!r}:
    if name != "posix":  # os itself stands on it
        sys.modules[name] = None
import cascade_clip
print([name for name in ("mlflow", "kfp", "dvc", "typer", "components", "pipelines") if name in sys.modules])
import components.pictures.predict
import pipelines.cli.app
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
