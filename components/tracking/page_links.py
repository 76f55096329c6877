"""Links between the pages of Kubeflow and of MLflow, which show the two sides of one run of a pipeline.

Pods know the servers by addresses of their own, which a browser may not reach. So two optional variables hold the
addresses that browsers use; without them, Kubeflow's page shows MLflow's address of the pods, and MLflow's page the id of
the run in Kubeflow.
"""

import os

from components.addresses import HTTP, server_address, without_user
from components.tracking.store import tracking_uri

MLFLOW_PAGE_VARIABLE, KUBEFLOW_PAGE_VARIABLE = "CASCADE_MLFLOW_PAGE", "CASCADE_KUBEFLOW_PAGE"
PAGE_VARIABLES = (MLFLOW_PAGE_VARIABLE, KUBEFLOW_PAGE_VARIABLE)


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
    return page and f"{page}/#/experiments/{experiment}/runs"


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


def _mlflow_page() -> str | None:
    uri = tracking_uri()
    own = (
        without_user(server_address(uri, "MLFLOW_TRACKING_URI")).rstrip("/") if uri.startswith(HTTP) else None
    )
    return _page(MLFLOW_PAGE_VARIABLE) or own


def _page(variable: str) -> str | None:
    address = os.environ.get(variable)
    return without_user(server_address(address, variable)).rstrip("/") if address else None
