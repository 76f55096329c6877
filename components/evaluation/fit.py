"""Fit the seen penalty and background's threshold: one pass over a validation split for seen, one for unseen classes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from cascade_core.configs.model import NO_PENALTY
from cascade_core.errors import UserError
from cascade_core.evaluation import scored_batches
from cascade_core.inference.label_maps import view_batch
from cascade_core.inference.labelling import best_classes
from cascade_core.labels.background import DROPPED
from cascade_core.labels.label_set import IGNORE
from cascade_core.scoring.thresholds import Best, Point, Reliability, ThresholdCounts, winners
from components.evaluation.job import EvaluationJob
from components.progress import progress
from components.results.evaluation import number_or_none
from components.results.thresholds_file import FittedPoint, Reliable, Thresholds

PENALTIES = tuple(round(0.02 * step, 2) for step in range(46))
"""0 to 0.9; a probability lies in 0..1."""
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(20))
EXCLUDE = 1.5
"""A penalty of more than any difference of two probabilities: one side of the classes wins wherever it has a class."""


@dataclass(frozen=True)
class Contest:
    """Who competes for the pixels of a fit.

    Attributes:
        candidates: ids of the classes that compete, in the order of the label set.
        unseen: places in `candidates` of the classes that pay no penalty.
        held_out: their names, if they are seen classes that were held out; empty if they are the unseen classes.
        held_out_in_training: whether the checkpoint's training had labels of the classes held out.
    """

    candidates: tuple[int, ...]
    unseen: tuple[int, ...]
    held_out: tuple[str, ...] = ()
    held_out_in_training: bool = False

    @property
    def seen(self) -> tuple[int, ...]:
        return tuple(place for place in range(len(self.candidates)) if place not in self.unseen)


def contest(job: EvaluationJob, held_out: Sequence[str]) -> Contest:
    """Return who competes: all classes, or all but the unseen classes that are not held out.

    Raises:
        UserError: a class held out is none of the data set's classes, comes twice, or no other seen class is left; or
            background has both names and a threshold.
    """
    policy = job.inference.background
    if policy.names and policy.threshold is not None:
        raise UserError(
            f"background {str(policy)!r} has names and a threshold, of which one can be fitted: give --background "
            f"threshold={policy.threshold:g} to fit it, or names without a threshold"
        )
    split = job.scored.foreground()
    if not held_out:
        return Contest(tuple(range(split.num_classes)), split.unseen)
    if stray := [name for name in held_out if name not in split.classes]:
        raise UserError(
            f"--held-out names {', '.join(stray)}, which protocol {split.name!r} does not have; "
            f"its classes are {', '.join(split.classes)}"
        )
    if len(set(held_out)) < len(held_out):
        raise UserError(f"--held-out names a class twice: {', '.join(held_out)}")
    names = tuple(held_out)
    candidates = tuple(
        i for i, name in enumerate(split.classes) if name not in split.unseen_names or name in names
    )
    places = tuple(place for place, i in enumerate(candidates) if split.classes[i] in names)
    if len(places) == len(candidates):
        raise UserError("--held-out leaves no seen class to compete with; hold out fewer classes")
    trained = set(job.manifest.classes) - set(job.manifest.unseen)
    return Contest(candidates, places, names, bool(trained & set(names)))


def nothing_to_fit(job: EvaluationJob, among: Contest) -> str | None:
    """Say why no penalty can be fitted; None if one can."""
    if not job.manifest.config.model.trains:
        return "the model has no trained weights, so no class was favoured by training"
    if job.vocabulary.segmentor.coupled_classes:
        return NO_PENALTY
    if not among.unseen:
        return "the protocol has no unseen class"
    if not among.seen:
        return "the protocol has no seen class"
    return None


def fit(job: EvaluationJob, held_out: Sequence[str], *, split: str, data: str) -> Thresholds:
    """Choose the penalty, and the threshold under the policy "threshold", with the highest hIoU on the job's pictures.

    Without a penalty to fit, the threshold with the highest mIoU over all classes is chosen. The configured values are
    among those that compete. Without anything to fit, `fitted` is None and `reason` says why.
    """
    among = contest(job, held_out)
    reason = nothing_to_fit(job, among)
    policy, configured = job.inference.background, job.vocabulary.penalty
    penalties = [configured] if reason else sorted({*PENALTIES, configured})
    thresholds = [] if policy.threshold is None else sorted({*THRESHOLDS, policy.threshold})
    by_prompts = policy.policy == "prompts"
    num_ids = len(among.candidates) + by_prompts
    counts = ThresholdCounts(
        num_ids, penalties=penalties, thresholds=thresholds, device=job.vocabulary.device
    )
    reliability = Reliability(device=job.vocabulary.device)
    for truth, seen, unseen in _contests(job, among):
        counts.update(truth, seen, unseen)
        ids, scores = winners(seen, unseen, configured)
        confidence = torch.where(ids == seen.ids, seen.scores, unseen.scores)
        above_threshold = scores >= (policy.threshold or -math.inf)
        reliability.update(confidence[above_threshold].clamp(0, 1), (ids == truth)[above_threshold])
    # Background counts as one more seen class; its id follows those of the classes.
    seen_ids = {*among.seen, *((len(among.candidates),) if thresholds or by_prompts else ())}
    points = counts.points(seen_ids, among.unseen)
    own = next(p for p in points if p.penalty == configured and p.threshold == policy.threshold)
    best = max(points, key=lambda point: _objective(point, over_all=reason is not None))
    nothing = reason is not None and not thresholds
    return Thresholds(
        method=job.manifest.config.method,
        setting=job.setting,
        protocol=job.scored.name,
        split=split,
        seed=job.manifest.config.seed,
        background=str(policy),
        num_pictures=len(job.rows),
        data_hash=data,
        held_out=among.held_out,
        held_out_in_training=among.held_out_in_training,
        unseen=tuple(job.scored.classes[among.candidates[place]] for place in among.unseen),
        reason=reason,
        configured=_recorded(own),
        fitted=None if nothing else _recorded(best),
        by_penalty=tuple(_recorded(p) for p in points if p.threshold == best.threshold),
        by_threshold=tuple(_recorded(p) for p in points if p.penalty == best.penalty) if thresholds else (),
        reliability=tuple(Reliable(**vars(one)) for one in reliability.bins()),
        calibration_error=number_or_none(reliability.error()),
    )


def _contests(job: EvaluationJob, among: Contest) -> Iterator[tuple[Int64[Tensor, " pixels"], Best, Best]]:
    """Yield the labelled pixels of each batch: truth as places in the candidates, best seen and best unseen class."""
    whole, config = job.vocabulary, job.manifest.config
    part = whole.among(among.candidates)
    sides = [replace(part, seen=among.seen, seen_penalty=sign * EXCLUDE) for sign in (-1, 1)]
    inference = job.inference
    if inference.background.policy == "threshold":
        inference = inference.model_copy(
            update={"background": DROPPED}
        )  # every threshold is tried afterwards
    table = _places(job, among).to(whole.device)
    with progress(f"fit {config.method} {job.setting}", len(job.rows)) as bar:
        done = 0
        for batch in scored_batches(job.rows, job.root, config=config, split=job.scored):
            here = batch.to(whole.device)
            truth = table[here.labels.long()].flatten()
            has_label = truth != IGNORE
            views, (height, width) = [view_batch(here.images)], here.labels.shape[-2:]
            best = []
            for side, ids_of_side in zip(sides, (among.seen, among.unseen), strict=True):
                ids, scores = best_classes(side, views, size=(height, width), evaluate=inference)
                if ids.min() < 0:
                    raise UserError(
                        "the model's scores are not numbers, because its weights or text vectors hold NaN; "
                        "train or convert it anew"
                    )
                ids, scores = ids.flatten()[has_label], scores.flatten()[has_label].float()
                allowed = torch.zeros(part.num_classes + 1, dtype=torch.bool, device=whole.device)
                allowed[[*ids_of_side, part.num_classes]] = True
                best.append(Best(ids, scores.masked_fill(~allowed[ids], -math.inf)))
            yield truth[has_label], best[0], best[1]
            done += len(batch.names)
            bar.advance(done)


def _places(job: EvaluationJob, among: Contest) -> Int64[Tensor, "256"]:
    """Return the place in the candidates for each true id; background follows them, and other ids are ignored."""
    table = np.full(IGNORE + 1, IGNORE)
    table[list(among.candidates)] = np.arange(len(among.candidates))
    if job.scored.label_set.has_background:
        table[job.scored.num_classes - 1] = len(among.candidates)
    return torch.from_numpy(table)


def _objective(point: Point, *, over_all: bool) -> float:
    value = point.miou_seen if over_all and math.isnan(point.miou_unseen) else point.hiou
    return -1.0 if math.isnan(value) else value


def _recorded(point: Point) -> FittedPoint:
    scores = {name: number_or_none(getattr(point, name)) for name in ("miou_seen", "miou_unseen", "hiou")}
    return FittedPoint(seen_penalty=point.penalty, threshold=point.threshold, **scores)
