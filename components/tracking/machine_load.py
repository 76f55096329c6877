"""The load of processor, memory, disk, network and GPU beside a training, as MLflow measures it."""

from collections.abc import Callable, Mapping

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

UNUSED = "http://127.0.0.1"
"""Where MLflow's monitor would send to. It opens its store at once: a database that is away would end the step."""


class LoadMonitor(SystemMetricsMonitor):
    """MLflow's monitor, whose own loop ends once the store is away: this one only notes, in a thread of its own.

    MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL says how often.
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
        for one in self.monitors:
            one.clear_metrics()
