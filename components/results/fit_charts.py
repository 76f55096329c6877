"""Charts of a fit: scores over the seen penalty and the threshold, and a reliability diagram."""

from components.results.pages import COLOURS, GREY, Curve, line_chart
from components.results.thresholds_file import FittedPoint, Thresholds


def charts(fit: Thresholds) -> dict[str, tuple[str, list[Curve]]]:
    """Draw a fit: by title, an SVG with its curves; the penalty's only if one was fitted."""
    drawings = {}
    for title, points, field in (
        ("Scores by seen penalty", fit.by_penalty, "seen_penalty"),
        ("Scores by background threshold", fit.by_threshold, "threshold"),
    ):
        if len(points) > 1 and fit.fitted is not None:
            x_title = title.partition(" by ")[2]
            curves = _score_curves(points, field, float(getattr(fit.fitted, field)))
            drawings[title] = (line_chart(curves, x_title=x_title, y_title="percent", numbered=True), curves)
    curves = [
        Curve("measured", tuple((one.confidence, one.accuracy) for one in fit.reliability), COLOURS[0]),
        Curve("perfect calibration", ((0.0, 0.0), (1.0, 1.0)), GREY, dashed=True),
    ]
    diagram = line_chart(curves, x_title="confidence", y_title="share of right pixels", numbered=True)
    drawings["Reliability of confidence"] = (diagram, curves)
    return drawings


def _score_curves(points: tuple[FittedPoint, ...], field: str, best: float) -> list[Curve]:
    def line(score: str) -> tuple[tuple[float, float], ...]:
        values = ((getattr(point, field), getattr(point, score)) for point in points)
        return tuple((float(x), float("nan") if y is None else 100 * y) for x, y in values)

    titles = (("mIoU(S)", "miou_seen"), ("mIoU(U)", "miou_unseen"), ("hIoU", "hiou"))
    curves = [
        Curve(title, line(score), colour) for (title, score), colour in zip(titles, COLOURS, strict=False)
    ]
    highest = max((y for curve in curves for _, y in curve.points if y == y), default=1.0)
    return [*curves, Curve("fitted value", ((best, 0.0), (best, highest)), GREY, dashed=True)]
