"""A real pipeline of two quick steps, with and without settings of Kubernetes, for tests in which ours would take minutes."""

from pathlib import Path

from kfp import compiler, dsl, kubernetes

IMAGE = "none-python3.11"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def write(text: str, times: int, note: dsl.Output[dsl.Artifact]) -> None:
    """Write a text some times."""
    from pathlib import Path

    Path(note.path).write_text(text * times)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def check(note: dsl.Input[dsl.Artifact], expected: str, written: dsl.Output[dsl.Artifact]) -> None:
    """Fail unless the note is as expected."""
    from pathlib import Path

    text = Path(note.path).read_text()
    if text != expected:
        raise ValueError(f"note is {text!r}, expected {expected!r}")
    Path(written.path).write_text(text)


def compile_tiny(package: Path, *, with_kubernetes: bool = False) -> Path:
    """Compile it: `text` times `times` must be `expected`."""

    @dsl.pipeline(name="tiny", description="Write a text, and check it.")
    def tiny(text: str, expected: str, times: int = 2) -> None:
        note = write(text=text, times=times)
        checked = check(note=note.outputs["note"], expected=expected)
        if with_kubernetes:
            kubernetes.use_secret_as_env(note, "keys", {"KEY": "KEY"})
            kubernetes.set_timeout(checked, 60)

    compiler.Compiler().compile(tiny, str(package))
    return package


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def slow(mark: str, done: dsl.Output[dsl.Artifact]) -> None:
    """Wait for a minute, unless an earlier try left a mark."""
    import time
    from pathlib import Path

    file = Path(done.path).parents[3] / mark
    if not file.exists():
        file.touch()
        time.sleep(60)
    Path(done.path).write_text("done")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def close(status: dsl.PipelineTaskFinalStatus, heard: dsl.Output[dsl.Artifact]) -> None:
    """Write the state that the exit handler gets."""
    from pathlib import Path

    Path(heard.path).write_text(status.state)


def compile_tiny_exit(package: Path) -> Path:
    """Compile a pipeline of one slow step and an exit handler."""

    @dsl.pipeline(name="tiny-exit")
    def tiny_exit() -> None:
        with dsl.ExitHandler(exit_task=close(), name="watched"):
            slow(mark="mark")

    compiler.Compiler().compile(tiny_exit, str(package))
    return package
