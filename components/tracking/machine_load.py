"""Measure the load of CPU, memory, disk, network and GPU during a training, with MLflow's monitor."""

from collections.abc import Callable, Mapping

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

UNUSED = "http://127.0.0.1"
"""A placeholder address: MLflow's monitor opens its store at once, and an unavailable database would end the step."""


class LoadMonitor(SystemMetricsMonitor):
    """MLflow's monitor in a thread; calls `note(metrics, step)` instead of logging, so it survives a lost store.

    MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL sets the seconds between samples.
    """

    def __init__(self, note: Callable[[Mapping[str, float], int], None]) -> None:
        super().__init__(run_id="", tracking_uri=UNUSED)
        self._note = note

    def monitor(self) -> None:
        while True:
            for _ in range(self.samples_before_logging):
                self.collect_metrics()
                if self._shutdown_event.wait(self.sampling_interval):
                    return
            self.publish_metrics(self.aggregate_metrics())

    def publish_metrics(self, metrics: Mapping[str, float]) -> None:
        prefix = f"{self._metrics_prefix}{self.node_id}/" if self.node_id else self._metrics_prefix
        self._note({f"{prefix}{name}": value for name, value in metrics.items()}, self._logging_step)
        self._logging_step += 1
        for monitor in self.monitors:
            monitor.clear_metrics()
