"""The image recipe, as far as it can be tested without building it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.artifacts.manifest import git_commit
from components.ops.image import IMAGE, image_of_commit

REPOSITORY = Path(__file__).parents[3]
IMAGES = REPOSITORY / "components" / "images"


def build(*kinds: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(IMAGES / "build.sh"), *kinds],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("image", "torch"), [("torch", ["torch==2.15.0"]), ("light", [])])
def test_an_image_has_no_development_tools(image: str, torch: list[str]) -> None:
    printed = subprocess.run(
        # -S: in the image it runs before any package is installed.
        [
            sys.executable,
            "-I",
            "-S",
            str(IMAGES / "run_requirements.py"),
            str(REPOSITORY / "pyproject.toml"),
            image,
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert [line for line in printed if line.startswith("torch==")] == torch
    assert "mlflow>=3.17" in printed
    assert not any(line.startswith(("pytest", "mypy", "ruff", "moto")) for line in printed)


def test_dockerignore_admits_only_what_the_recipe_copies() -> None:
    lines = (IMAGES / "Dockerfile").read_text().splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    sources = {source.split("/")[0] for copied in copies for source in copied}
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == sources


def test_credentials_are_mounted_and_never_arguments() -> None:
    recipe = (IMAGES / "Dockerfile").read_text()
    arguments = {line.split()[1].split("=")[0] for line in recipe.splitlines() if line.startswith("ARG ")}
    assert arguments == {"BASE_IMAGE", "KIND", "COMMIT"}
    assert "--mount=type=secret,id=pip_conf" in recipe


def test_only_the_torch_image_has_a_c_compiler() -> None:
    below, packages, _ = (IMAGES / "Dockerfile").read_text().partition("COPY --from=packages")
    guard, installing, _ = below.partition(" apt-get install ")
    assert packages and installing
    assert guard.rpartition("RUN ")[2].startswith('if [ "$KIND" = torch ]; then')
    assert "gcc libc6-dev" in below


def test_an_unknown_image_is_refused_before_any_build() -> None:
    process = build("light", "tpu", BUILDER="true")
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == "error: no image 'tpu'; there are torch and light\n"


@pytest.mark.parametrize(
    ("kinds", "tags"),
    [((), ("", "-light")), (("torch",), ("",)), (("light",), ("-light",))],
)
def test_tags_name_version_python_and_kind(kinds: tuple[str, ...], tags: tuple[str, ...]) -> None:
    process = build(*kinds, BUILDER="true", IMAGE="team/cascade")
    name = image_of_commit(git_commit()).replace("cascade-clip-workflow", "team/cascade")
    assert process.stdout.splitlines() == [f"built {name}{tag}" for tag in tags]
    assert ("nodes that have pulled" in process.stderr) == name.endswith("-dirty")


def test_a_tag_changes_with_the_commit() -> None:
    commit = "0123456789abcdef" * 2
    tagged = f"{IMAGE}-0123456789ab"
    assert [image_of_commit(one) for one in (None, commit, f"{commit}-dirty")] == [
        IMAGE,
        tagged,
        f"{tagged}-dirty",
    ]


def test_both_images_have_the_systems_certificates() -> None:
    image = (IMAGES / "Dockerfile").read_text().partition(" AS image")[2]
    step = next(part for part in image.split("RUN ") if "ca-certificates.crt" in part)
    assert step.startswith("test -s /etc/ssl/certs/ca-certificates.crt") and "apt-get install" in step
