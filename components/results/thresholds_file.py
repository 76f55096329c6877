"""The result of a fit, as the fit-thresholds step writes it into `thresholds.json`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cascade_core.runtime.files import read_json
from cascade_core.runtime.validation import validated
from components.results.names import THRESHOLDS_FILE
from components.results.rows import run_names

STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
READS_UNSEEN = "the fit reads validation labels of the unseen classes"


class FittedPoint(BaseModel):
    """Penalty and threshold (None: no threshold), with their scores on the validation split as fractions."""

    model_config = STRICT

    seen_penalty: float
    threshold: float | None
    miou_seen: float | None
    miou_unseen: float | None
    hiou: float | None

    def percent(self, score: str) -> str:
        """Format a score in percent; a dash if it is undefined."""
        value = getattr(self, score)
        return "-" if value is None else f"{100 * value:.1f}"


class Reliable(BaseModel):
    """A bin of a reliability diagram."""

    model_config = STRICT

    confidence: float
    accuracy: float
    pixels: int


class Thresholds(BaseModel):
    """A fit on a validation split.

    Attributes:
        held_out: the seen classes that stood for unseen ones; empty if the unseen classes' labels were read.
        held_out_in_training: whether the model was trained with labels of these classes.
        unseen: the classes that pay no penalty in this fit.
        reason: why no penalty was fitted; None if one was.
        fitted: the best values; None if there was nothing to fit.
        by_penalty: the scores over the penalty, at the best threshold; `by_threshold` those over the threshold.
    """

    model_config = STRICT

    method: str
    setting: str
    protocol: str
    split: str
    seed: int
    background: str
    num_pictures: int
    data_hash: str
    held_out: tuple[str, ...]
    held_out_in_training: bool
    unseen: tuple[str, ...]
    reason: str | None
    configured: FittedPoint
    fitted: FittedPoint | None
    by_penalty: tuple[FittedPoint, ...]
    by_threshold: tuple[FittedPoint, ...]
    reliability: tuple[Reliable, ...]
    calibration_error: float | None

    @property
    def title(self) -> str:
        return ", ".join(run_names(self.method, self.setting))

    @property
    def labels_read(self) -> str:
        """Say which labels the fit read."""
        if self.reason is not None:
            return f"no penalty was fitted: {self.reason}"
        if not self.held_out:
            return f"{READS_UNSEEN} ({', '.join(self.unseen)})"
        seen_before = (
            "; the model was trained with their labels, so the penalty is probably too small for unseen classes"
            if self.held_out_in_training
            else ""
        )
        return f"no label of an unseen class was read: {', '.join(self.held_out)} were held out{seen_before}"

    @property
    def options(self) -> str:
        """The options of `evaluate` that apply the fit; empty if nothing was fitted."""
        if self.fitted is None:
            return ""
        penalty = [] if self.reason else [f"--seen-penalty {self.fitted.seen_penalty:g}"]
        threshold = self.fitted.threshold
        return " ".join([*penalty, *([] if threshold is None else [f"--background threshold={threshold:g}"])])

    def show(self) -> None:
        """Print the fitted values with their scores, and which labels the fit read."""
        where = (
            f"{self.method} {self.setting} on {self.split} of {self.protocol}, {self.num_pictures} pictures"
        )
        if self.fitted is None:
            print(f"{where}: nothing to fit; {self.labels_read}")
            return
        own, best = self.configured, self.fitted
        changes = [] if self.reason else [f"seen penalty {own.seen_penalty:g} -> {best.seen_penalty:g}"]
        if best.threshold is not None:
            changes.append(f"threshold {own.threshold:g} -> {best.threshold:g}")
        scores = (("mIoU(S)", "miou_seen"), ("mIoU(U)", "miou_unseen"), ("hIoU", "hiou"))
        listed = " | ".join(f"{title} {own.percent(name)} -> {best.percent(name)}" for title, name in scores)
        print(f"{where}: {', '.join(changes)} | {listed}")
        print(f"{self.labels_read}; to apply it: cascade-clip evaluate {self.options}")


def read_thresholds(folder: Path) -> Thresholds:
    """Read the result in the folder of a fit-thresholds step.

    Raises:
        UserError: the file is missing or broken.
    """
    file = folder / THRESHOLDS_FILE
    return validated(Thresholds, read_json(file), source=file, way_out="run the fit-thresholds step again")
