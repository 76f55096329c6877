"""`dvc plots show` writes a page that loads nothing from another machine."""

import configparser
import re
from pathlib import Path

import pytest
from dvc.cli import main as dvc
from dvc.config import Config

from pipelines.workstation.project_files import PLOTS_PAGE, Choices, make
from tests.own_data import write_own_data_and_clip

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # in DVC's own code

OTHER_HOST = re.compile(
    r"""(?:src|href|url|import)\s*[=(]?\s*["']?\s*(?:[a-z]+:)?//[^"'\s]+""", re.IGNORECASE
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project, and write a loss curve and scores of classes as its stages would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    write_own_data_and_clip(tmp_path)
    make(Path(), Choices(data=Path("garden"), labels=Path("garden/garden.yaml"), clip="clip"))
    write_results(tmp_path)
    return tmp_path


def write_results(folder: Path) -> None:
    """Write what two plots of a project show."""
    train = folder / "outputs/train/cascade_clip"
    train.mkdir(parents=True)
    (train / "history.csv").write_text("iteration,loss\n10,3.5\n20,2.25\n30,1.75\n")
    scores = folder / "outputs/evaluate/cascade_clip-inductive"
    scores.mkdir(parents=True)
    (scores / "per_class.csv").write_text("class,group,iou\ngrass,seen,0.5\nwater,unseen,0.25\nsand,seen,\n")


def test_a_projects_plots_name_no_other_host(project: Path) -> None:
    assert dvc(["plots", "show"]) == 0
    page = (project / "dvc_plots/index.html").read_text()
    assert OTHER_HOST.findall(page) == []
    assert '"loss": "2.25"' in page or '"loss": 2.25' in page
    assert "/dvc_plots/" in (project / ".gitignore").read_text()


def test_the_search_for_other_hosts_finds_those_of_dvcs_own_page(project: Path) -> None:
    with Config(str(project / ".dvc")).edit("repo") as settings:
        del settings["plots"]["html_template"]
    assert dvc(["plots", "show"]) == 0
    assert OTHER_HOST.findall((project / "dvc_plots/index.html").read_text())


def test_a_page_of_the_users_own_stays(project: Path) -> None:
    with Config(str(project / ".dvc")).edit("repo") as settings:
        settings["plots"]["html_template"] = "ours.html"
    make(Path(), Choices(seed=1))
    assert Config(str(project / ".dvc"))["plots"]["html_template"] == "ours.html"


def test_this_repository_uses_the_page_too() -> None:
    root = Path(__file__).parents[3]
    config = configparser.ConfigParser()
    config.read(root / ".dvc/config")
    assert (root / ".dvc" / config["plots"]["html_template"]).resolve() == PLOTS_PAGE
