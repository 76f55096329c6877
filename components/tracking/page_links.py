"""Links to MLflow's pages, and between those and Kubeflow's, which show the two sides of one run of a pipeline.

Pods know the servers by addresses of their own, which a browser may not reach. So two optional variables hold the
addresses that browsers use; without them, Kubeflow's page shows MLflow's address of the pods, and MLflow's page the id of
the run in Kubeflow.
"""

import logging
import os
import shlex
import sys
from pathlib import Path

from cascade_core.errors import UserError
from components.servers.addresses import HTTP, masked, server_address, without_user
from components.tracking.faults import translate_errors
from components.tracking.store import URI_VARIABLE, open_store, sqlite_file, tracking_off, tracking_uri

log = logging.getLogger(__name__)

MLFLOW_PAGE_VARIABLE, KUBEFLOW_PAGE_VARIABLE = "CASCADE_MLFLOW_PAGE", "CASCADE_KUBEFLOW_PAGE"
PAGE_VARIABLES = (MLFLOW_PAGE_VARIABLE, KUBEFLOW_PAGE_VARIABLE)
LOCAL_PAGES = "http://127.0.0.1:5000"
"""Where `serving_command` serves the pages of a store without a server."""


def mlflow_run_page(experiment: str, run_id: str) -> str | None:
    """Return the address of a run's page, by ids; None for a store without pages.

    Raises:
        UserError: the variable with the page's address holds none.
    """
    page = _mlflow_page()
    return page and f"{page}/#/experiments/{experiment}/runs/{run_id}"


def mlflow_table_page(experiment: str) -> str | None:
    """Return the address of an experiment's table of runs; its bare address shows charts of traces first.

    Raises:
        UserError: the variable with the page's address holds none.
    """
    page = _mlflow_page()
    return page and _table(page, experiment)


def where_runs_are(experiment: str | None) -> list[str]:
    """Return the lines for a terminal that lead to an experiment's table of runs: its address, or a command and its address.

    `experiment` is its id; None leads to all experiments.

    Raises:
        UserError: the variable with the page's address holds none.
    """
    page = _mlflow_page()
    command = [] if page else [serving_command()]
    if experiment is not None:
        return [*command, _table(page or LOCAL_PAGES, experiment)]
    return [*command, page or LOCAL_PAGES]


def log_where_runs_are(name: str, experiment: str) -> None:
    """Log what leads to the table with the run `name`; raises as `where_runs_are`."""
    log.info("%s in MLflow: %s", name, ", then ".join(where_runs_are(experiment)))


def where_runs_of(protocol: str | None) -> list[str]:
    """Return the lines of `where_runs_are` for the experiment of a protocol; make neither store nor experiment.

    Without tracking there are no lines; a store that does not answer costs them and a warning.
    """
    if tracking_off():
        return []
    file, experiment = sqlite_file(tracking_uri()), None
    try:
        if protocol is not None and (file is None or file.is_file()):
            client = open_store()
            with translate_errors(f"the experiment {protocol}", way_out=f"check {URI_VARIABLE}"):
                experiment = client.get_experiment_by_name(protocol)
        return where_runs_are(experiment.experiment_id if experiment else None)
    except UserError as error:
        log.warning("%s", error)
        return []


def serving_command() -> str:
    """Return the command that serves a database's pages on this machine only, from any folder.

    It shows no password: it reads an address that holds one from the environment variable.
    """
    uri = tracking_uri()
    store = shlex.quote(uri) if masked(uri) == uri else f'"${URI_VARIABLE}"'
    program = shlex.quote(str(Path(sys.executable).parent / "mlflow"))
    return f"{program} ui --backend-store-uri {store} --host 127.0.0.1 --port 5000"


def kubeflow_run_page(kfp_run: str) -> str | None:
    """Return the address of a Kubeflow run's page; None if the environment does not name the page.

    Raises:
        UserError: the variable with the page's address holds none.
    """
    page = _page(KUBEFLOW_PAGE_VARIABLE)
    return page and f"{page}/#/runs/details/{kfp_run}"


def run_note(kfp_run: str) -> str:
    """Return the Markdown that describes a pipeline's run on MLflow's page: the link to Kubeflow's page.

    Raises:
        UserError: the variable with the page's address holds none.
    """
    page = kubeflow_run_page(kfp_run)
    if page is None:
        return f"Kubeflow run `{kfp_run}` (the secret's key `{KUBEFLOW_PAGE_VARIABLE}` makes this a link)"
    return f"[Kubeflow run {kfp_run}]({page})"


def pipeline_note(experiment: str, name: str, run_id: str) -> str:
    """Return the Markdown that Kubeflow's page shows: links to the pipeline's run and to its experiment's table of runs.

    Raises:
        UserError: the variable with the page's address holds none.
    """
    run, table = mlflow_run_page(experiment, run_id), mlflow_table_page(experiment)
    if run is None:
        return f"# MLflow\n\nRun `{run_id}` of the experiment {name}, in a store that serves no pages.\n"
    lines = [
        "# MLflow",
        "",
        f"- [this pipeline's run]({run}): best scores, report, and the runs of its steps",
        f"- [all runs of {name}]({table})",
    ]
    if not os.environ.get(MLFLOW_PAGE_VARIABLE):
        lines += [
            "",
            f"The address is that of the pods; if your browser needs another, put it into the secret's key `{MLFLOW_PAGE_VARIABLE}`.",
        ]
    return "\n".join(lines) + "\n"


def _table(page: str, experiment: str) -> str:
    return f"{page}/#/experiments/{experiment}/runs"


def _mlflow_page() -> str | None:
    uri = tracking_uri()
    own = (
        without_user(server_address(uri, "MLFLOW_TRACKING_URI")).rstrip("/") if uri.startswith(HTTP) else None
    )
    return _page(MLFLOW_PAGE_VARIABLE) or own


def _page(variable: str) -> str | None:
    address = os.environ.get(variable)
    return without_user(server_address(address, variable)).rstrip("/") if address else None
