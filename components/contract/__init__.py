"""What a step is: the signature of its `run`, annotated with what each parameter means, is its one statement.

From it come the command and its help, the run in MLflow with manifest and new folder, the stage in dvc.yaml, the
Kubeflow component, the chain runner's call and a TrainJob's words.
"""

from components.contract.parameters import Folder, Option, Output, Place, Settings
from components.contract.step import Call, Cluster, Step, Work, step, step_named

__all__ = [
    "Call",
    "Cluster",
    "Folder",
    "Option",
    "Output",
    "Place",
    "Settings",
    "Step",
    "Work",
    "step",
    "step_named",
]
