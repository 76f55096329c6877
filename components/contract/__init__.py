"""The contract of a step: the annotated signature of its `run` states everything once.

From it come the command and its help, the run in MLflow, the output folder with its manifest, the stage in
dvc.yaml, the Kubeflow component, and the arguments of a TrainJob.
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
