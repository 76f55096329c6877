"""Teachers: a moving average of the weights, and CLIP alone; of pseudo-labels, and of a map that the loss compares."""

import pytest
import torch

from cascade_core.batches.samples import Batch
from cascade_core.checkpoints.manifest import CheckpointManifest
from cascade_core.checkpoints.without_training import training_free_model
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.changes import with_overrides
from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipes import recipe
from cascade_core.configs.settings import TrainedSetting
from cascade_core.configs.training_free import model_changes
from cascade_core.datasets.catalogue import protocol
from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.train.loop import train
from cascade_core.train.optim import build_optimizer
from cascade_core.train.supervision import Supervision
from cascade_core.train.teachers import Teacher, distillation_teacher, teacher_of
from tests.tiny import tiny_config

SPLIT = protocol("mini-18-6")
STRICT = "transductive_strict"


def config_of(**changes: object) -> RunConfig:
    own = {f"self_train.{name}": value for name, value in changes.items()}
    return with_overrides(tiny_config(), {"optim.warmup_iterations": 0, "model.dropout": 0.2, **own})


def student_of(config: RunConfig) -> Segmentor:
    torch.manual_seed(0)
    return build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0)


def batch_of(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, SPLIT.num_classes, (2, 32, 32), generator=generator)
    images = torch.randn(2, 3, 32, 32, generator=generator)
    return Batch(("a", "b"), images, labels, torch.zeros(2, 32, 32, dtype=torch.bool))


def steps(
    config: RunConfig,
    student: Segmentor,
    batches: list[Batch],
    teacher: Teacher | None,
    vectors: torch.Tensor,
    setting: TrainedSetting = STRICT,
):
    return train(
        student,
        build_optimizer(student, config.optim),
        batches,
        config=config,
        supervision=Supervision.of(config, setting, SPLIT),
        class_vectors=vectors,
        start=0,
        total=len(batches),
        device=torch.device("cpu"),
        teacher=teacher,
    )


def test_the_average_equals_that_of_a_slow_loop() -> None:
    config = config_of(teacher="ema", ema_decay=0.75)
    student = student_of(config)
    teacher = teacher_of(config, STRICT, student)
    assert teacher is not None
    expected = {name: weights.detach().double().clone() for name, weights in student.named_parameters()}
    start = {name: weights.clone() for name, weights in expected.items()}
    vectors = torch.randn(SPLIT.num_classes, 16)
    for _ in steps(config, student, [batch_of(seed) for seed in range(4)], teacher, vectors):
        for name, weights in student.named_parameters():
            expected[name] = 0.75 * expected[name] + 0.25 * weights.detach().double()
    averages = dict(teacher.model.named_parameters())
    for name, weights in student.named_parameters():
        torch.testing.assert_close(averages[name].double(), expected[name], rtol=1e-5, atol=1e-7)
        # CLIP's frozen weights are those of the model itself: a copy would cost their memory.
        assert (averages[name] is weights) == (not weights.requires_grad)
    assert any(not torch.equal(expected[name], start[name]) for name in teacher.names)
    assert not teacher.model.training and student.training


def test_the_loss_sees_the_labels_of_the_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(teacher="ema")
    student = student_of(config)
    teacher = teacher_of(config, STRICT, student)
    assert teacher is not None
    with torch.no_grad():  # a teacher that differs from its model from the start
        for average in teacher.averages.values():
            average.add_(torch.randn_like(average))
    batch, vectors = batch_of(0), torch.randn(SPLIT.num_classes, 16)
    logits, size = teacher.grid_logits(batch.images, vectors)
    supervision = Supervision.of(config, STRICT, SPLIT)
    expected = supervision.targets(batch, logits, mask_size=size)
    labels = []
    targets = Supervision.targets

    def kept(self: Supervision, *arguments: object, **options: object) -> torch.Tensor:
        labels.append(targets(self, *arguments, **options))
        return labels[-1]

    monkeypatch.setattr(Supervision, "targets", kept)
    next(steps(config, student, [batch], teacher, vectors))
    next(steps(config, student_of(config), [batch], None, vectors))
    assert torch.equal(labels[0], expected) and not torch.equal(labels[1], expected)


def naclip(config: RunConfig, student: Segmentor) -> tuple[Segmentor, CheckpointManifest]:
    """Return NACLIP on the student's tower, as `predict` runs it without a training."""
    free = with_overrides(
        config,
        {
            **{f"model.{name}": value for name, value in model_changes("naclip").items()},
            "model.fusion": "none",
            "model.groups": [],
            "loss.kind": "cross_entropy",
            "loss.distil_weight": 0.0,
        },
    )
    return training_free_model(student.trunk.visual, free)


def test_a_training_free_teacher_labels_as_its_model_predicts() -> None:
    config = config_of(teacher="training_free")
    student = student_of(config)
    teacher = teacher_of(config, STRICT, student)
    assert teacher is not None and teacher.averages == {}
    model, manifest = naclip(config, student)
    assert manifest.seen_penalty(manifest.config.evaluate) == 0.0
    batch, vectors = batch_of(1), torch.randn(SPLIT.num_classes, 16)
    with torch.no_grad():
        predicted = model(batch.images, vectors).softmax(dim=1)
    best, ids = predicted.max(dim=1)
    logits, size = teacher.grid_logits(batch.images, vectors)
    unlabelled = batch._replace(labels=torch.full_like(batch.labels, IGNORE), unlabelled=(True, True))
    rule = Supervision.of(config, STRICT, SPLIT)
    assert torch.equal(rule.targets(unlabelled, logits, mask_size=size), ids)
    unsure = Supervision.of(config_of(teacher="training_free", confidence=0.3), STRICT, SPLIT)
    expected = ids.masked_fill(best < 0.3, IGNORE)
    assert torch.equal(unsure.targets(unlabelled, logits, mask_size=size), expected)
    assert 0 < (expected == IGNORE).sum() < expected.numel()


def test_an_averaged_teacher_adds_the_cosines_of_training() -> None:
    cosines = {"model.picture_cosine": 3.0, "model.patch_cosine": -2.0, "model.cosines_in_training": 0.0}
    config = with_overrides(config_of(teacher="ema"), {"model.dropout": 0.0, **cosines})
    student = student_of(config)
    teacher = teacher_of(config, STRICT, student)
    assert teacher is not None
    images, vectors = batch_of(1).images, torch.randn(SPLIT.num_classes, 16)
    with torch.no_grad():
        logits, _ = teacher.grid_logits(images, vectors)
        torch.testing.assert_close(logits, student.train().grid_logits(images, vectors))
        assert not torch.allclose(logits, student.eval().grid_logits(images, vectors))


def test_only_self_training_with_another_teacher_has_one() -> None:
    student = student_of(config_of())
    assert teacher_of(config_of(), STRICT, student) is None
    assert teacher_of(config_of(teacher="ema"), "inductive", student) is None


def distilling(weight: float, **changes: object) -> RunConfig:
    return with_overrides(config_of(), {"loss.distil_weight": weight, "model.dropout": 0.0, **changes})


@pytest.mark.parametrize("fusion", ["cascade", "none"])
@pytest.mark.parametrize("setting", ["inductive", STRICT])
def test_the_loss_adds_the_distance_from_the_map_of_clip(fusion: str, setting: TrainedSetting) -> None:
    groups = {"model.fusion": fusion} if fusion == "cascade" else {"model.fusion": fusion, "model.groups": []}
    plain, config = distilling(0.0, **groups), distilling(0.5, **groups)
    batch, vectors = batch_of(3), torch.randn(SPLIT.num_classes, 16)
    batch.padding[1, 8:] = True
    before = next(steps(plain, student_of(plain), [batch], None, vectors, setting)).terms
    student = student_of(config)
    model, _ = naclip(config, student)
    fed = vectors[list(SPLIT.seen)] if setting == "inductive" else vectors
    with torch.no_grad():
        taught = model.grid_logits(batch.images, fed).softmax(dim=1)
        own = student.train().grid_logits(batch.images, fed).softmax(dim=1)
    divergence = (taught * (taught / own).log()).sum(dim=1)
    divergence[1, 1:] = 0  # the picture ends after the first row of its 4 x 4 patches
    terms = next(steps(config, student, [batch], None, vectors, setting)).terms
    assert terms.pop("distillation") == pytest.approx(0.5 * float(divergence.sum()) / 20, rel=1e-4)
    assert terms == before and "distillation" not in before
    trainable = {name for name, weights in student.named_parameters() if weights.requires_grad}
    assert trainable == {name for name, own in student_of(config).named_parameters() if own.requires_grad}


def test_without_a_weight_there_is_no_teacher_of_a_map() -> None:
    config = distilling(0.0)
    assert distillation_teacher(config, student_of(config)) is None
    written = distilling(1.0).model_dump_json()
    assert config.model_dump_json() == written.replace('"distil_weight":1.0,', "") != written


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_distillation_goes_on_from_weights_and_moments_alone(precision: str) -> None:
    config = distilling(1.0, **{"train.precision": precision})
    batches, vectors = [batch_of(seed) for seed in range(2)], torch.randn(SPLIT.num_classes, 16)
    students = [student_of(config) for _ in range(2)]
    losses = [report.loss for report in steps(config, students[0], batches, None, vectors, "inductive")]
    optimizer = build_optimizer(students[1], config.optim)
    options = {"supervision": Supervision.of(config, "inductive", SPLIT), "class_vectors": vectors}
    for start in range(2):
        reports = train(
            students[1],
            optimizer,
            batches[start:],
            config=config,
            start=start,
            total=2,
            device=torch.device("cpu"),
            **options,
        )
        assert next(reports).loss == losses[start]
        reports.close()
    for name, weights in students[1].named_parameters():
        assert torch.equal(weights, dict(students[0].named_parameters())[name]), name


def test_noise_follows_the_seed_and_spares_the_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    fed, map_of = [], Teacher.grid_logits

    def kept(self: Teacher, images: torch.Tensor, vectors: torch.Tensor, **options: bool) -> object:
        fed.append(vectors)
        return map_of(self, images, vectors, **options)

    monkeypatch.setattr(Teacher, "grid_logits", kept)
    config = distilling(1.0, **{"train.vector_noise": 0.5})
    batch, vectors = batch_of(4), torch.randn(SPLIT.num_classes, 16)
    reports = [
        next(steps(one, student_of(one), [batch], None, vectors, "inductive"))
        for one in (config, config, distilling(1.0))
    ]
    assert reports[0].loss == reports[1].loss != reports[2].loss
    assert len(fed) == 3 and all(torch.equal(own, vectors[list(SPLIT.seen)]) for own in fed)


@pytest.mark.parametrize("name", ["mini_cat_seg", "mini_cat_seg_frozen", "mini_otseg", "mini_naclip"])
def test_recipes_without_a_comparable_map_refuse_a_distillation(name: str) -> None:
    with pytest.raises(UserError, match=r"loss.distil_weight=0.3 .* take a recipe of ZegCLIP, Cascade-CLIP"):
        recipe(name, {"loss.distil_weight": 0.3})
    for name in ("mini_zegclip", "mini_cascade_clip", "mini_spt_seg", "mini_linear"):
        assert recipe(name, {"loss.distil_weight": 0.3}).loss.distil_weight == 0.3
