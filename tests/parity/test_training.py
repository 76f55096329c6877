"""Training: the inputs and values of the losses, every gradient, and the weights after six optimizer steps."""

import functools

import pytest
import torch

from cascade_core.model.decoder import names_without_gradient
from cascade_core.released.weights import our_name
from cascade_core.train.optim import build_optimizer, set_learning_rates

from .golden import GoldenSet, covers, golden_set, largest_difference, relative_l2, thinned
from .runs import differentiated, training_view, trajectory_optim

# In double precision our losses must equal the reference's double-precision run; only summation order differs.
DOUBLE_RTOL = 1e-11


@covers(r"out/train_(?:inductive|transductive)/pred_masks(?:@s\d+)?")
def test_training_logits_equal_the_released_ones(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    ours = differentiated(golden.name, key.split("/")[1].removeprefix("train_")).view.mask_logits.detach()
    assert largest_difference(thinned(ours, key), golden.tensors[key]) <= golden.tolerances["logits_atol"]


@covers(r"out/train_inductive/label", given=(r"json/fp32_vs_fp64_maxabs/train_inductive/label",))
def test_inductive_labels_equal_the_released_ones(golden: GoldenSet, keys: list[str]) -> None:
    ours = differentiated(golden.name, "inductive").view.labels
    assert torch.equal(ours, golden.tensors["out/train_inductive/label"][:, 0])


@covers(r"out/train_transductive/label")
def test_pseudo_labels_equal_the_released_except_near_ties(golden: GoldenSet, keys: list[str]) -> None:
    ours = differentiated(golden.name, "transductive").view.labels
    different = (ours != golden.tensors[keys[0]][:, 0]).double().mean().item()
    assert different <= golden.tolerances["argmax_fraction_different"]


@covers(r"out/train_transductive/label")
def test_pseudo_labels_are_exactly_where_the_truth_is_unseen(golden: GoldenSet, keys: list[str]) -> None:
    unseen = torch.tensor(golden.unseen)
    stored = golden.tensors[keys[0]][:, 0]
    assert torch.equal(torch.isin(stored, unseen), torch.isin(golden.labels, unseen))


@covers(
    r"json/fp32_vs_fp64_maxabs/train_(?:inductive|transductive)/pred_masks",
    r"json/fp32_vs_fp64_maxabs/train_transductive/label",
)
def test_float64_training_differs_only_by_reference_rounding(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    folder, kind = key.split("/")[-2:]
    view = differentiated(golden.name, folder.removeprefix("train_"), torch.float64).view
    full = view.mask_logits.detach() if kind == "pred_masks" else view.labels[:, None]
    (stored,) = [k for k in golden.tensor_keys if k.startswith(f"out/{folder}/{kind}")]
    assert (
        largest_difference(thinned(full, stored), golden.tensors[stored])
        <= 1.001 * golden.numbers[key] + 1e-9
    )


@covers(r"json/losses/(\w+)/.*", given=(r"json/config/(?:mask|dice)_weight",))
def test_losses_equal_the_released_ones(golden: GoldenSet, keys: list[str]) -> None:
    for key in keys:
        setting, term = key.split("/")[2:]
        ours = differentiated(golden.name, setting).view.as_released()[term]
        assert ours == pytest.approx(
            golden.numbers[key], rel=golden.tolerances["losses_rtol"], abs=_accuracy_slack(golden, term)
        )


@covers(r"json/losses_fp64/(\w+)/.*")
def test_float64_losses_equal_the_released_ones_to_eleven_digits(golden: GoldenSet, keys: list[str]) -> None:
    for key in keys:
        setting, term = key.split("/")[2:]
        ours = differentiated(golden.name, setting, torch.float64).view.as_released()[term]
        # The accuracy was logged in single precision.
        relative = golden.tolerances["losses_rtol"] if term == "decode.acc_seg" else DOUBLE_RTOL
        assert ours == pytest.approx(golden.numbers[key], rel=relative, abs=1e-15)


@covers(r"grad_(?:inductive|transductive)/.*")
def test_gradients_equal_the_released_ones(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    folder, _, released = key.partition("/")
    ours = differentiated(golden.name, folder.removeprefix("grad_")).gradients[released]
    assert ours is not None
    assert relative_l2(ours, golden.tensors[key]) <= golden.tolerances["grad_rel_l2"]


@covers(r"json/fp32_vs_fp64_grad_rel/(?:inductive|transductive)")
def test_float64_gradients_differ_only_by_reference_rounding(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    setting = key.rpartition("/")[2]
    ours = differentiated(golden.name, setting, torch.float64).gradients
    prefix = f"grad_{setting}/"
    worst = max(
        relative_l2(ours[stored.removeprefix(prefix)], golden.tensors[stored])
        for stored in golden.tensor_keys
        if stored.startswith(prefix)
    )
    assert worst <= 1.001 * golden.numbers[key] + 1e-9


@covers(r"json/grad_norms/(\w+)/.*")
def test_the_norm_of_every_gradient_equals_the_released_one(golden: GoldenSet, keys: list[str]) -> None:
    setting = keys[0].split("/")[2]
    gradients = differentiated(golden.name, setting).gradients
    ours = {name: gradient.norm().item() for name, gradient in gradients.items() if gradient is not None}
    theirs = golden.record["grad_norms"][setting]
    assert ours.keys() == theirs.keys()
    wrong = {
        name: (ours[name], norm)
        for name, norm in theirs.items()
        if ours[name]
        != pytest.approx(
            norm, rel=golden.tolerances["grad_norm_rtol"], abs=golden.tolerances["grad_norm_atol"]
        )
    }
    assert not wrong


@covers(r"json/trainable_params_without_grad")
def test_exactly_the_recorded_trainable_weights_get_no_gradient(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    for setting in golden.record["grad_norms"]:
        gradients = differentiated(golden.name, setting).gradients
        assert {name for name, gradient in gradients.items() if gradient is None} == set(golden.numbers[key])
    assert names_without_gradient(golden.segmentor()) == {our_name(name) for name in golden.numbers[key]}


@functools.cache
def _trajectory(
    name: str, setting: str
) -> tuple[list[dict[str, float]], list[list[float]], dict[str, torch.Tensor]]:
    """Train for the recorded number of steps; return losses and learning rates per step, and the final weights."""
    golden = golden_set(name)
    record, optim = golden.record["trajectory"], trajectory_optim(golden)
    segmentor = golden.segmentor_without_dropout()
    optimizer = build_optimizer(segmentor, optim)
    losses, rates = [], []
    for step in range(record["steps"]):
        set_learning_rates(optimizer, step, record["max_iters"], optim)
        view = training_view(golden, segmentor, setting)
        optimizer.zero_grad()
        view.loss.total.backward()
        optimizer.step()
        losses.append(view.as_released())
        rates.append([group["lr"] for group in optimizer.param_groups])
    return losses, rates, segmentor.state_dict()


@covers(
    r"json/trajectory/(inductive|transductive)_losses",
    given=(r"json/trajectory/(?:base_lr|lr_mult|weight_decay|betas|eps|steps)",),
)
def test_losses_of_the_trajectory_equal_the_released_ones(golden: GoldenSet, keys: list[str]) -> None:
    for key in keys:
        ours, _, _ = _trajectory(golden.name, key.rpartition("/")[2].removesuffix("_losses"))
        theirs = golden.numbers[key]
        assert len(ours) == len(theirs) == golden.record["trajectory"]["steps"]
        for step, recorded in enumerate(theirs):
            for term, value in recorded.items():
                assert ours[step][term] == pytest.approx(
                    value, rel=golden.tolerances["trajectory_loss_rtol"], abs=_accuracy_slack(golden, term)
                ), f"step {step}, {term}"


@covers(
    r"json/trajectory/lr_per_step",
    given=(r"json/trajectory/(?:power|min_lr|warmup_iters|warmup_ratio|max_iters)",),
)
def test_learning_rates_of_the_trajectory_equal_the_released(golden: GoldenSet, keys: list[str]) -> None:
    _, rates, _ = _trajectory(golden.name, "inductive")
    recorded = golden.record["trajectory"]["lr_per_step"]
    assert len(rates) == len(recorded)
    for ours, theirs in zip(rates, recorded, strict=True):
        (theirs,) = theirs
        assert ours == pytest.approx(
            [theirs] * len(ours),
            rel=golden.tolerances["trajectory_lr_rtol"],
            abs=golden.tolerances["trajectory_lr_atol"],
        )


@covers(r"traj_inductive/.*")
def test_weights_after_the_trajectory_equal_the_released_ones(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    _, _, weights = _trajectory(golden.name, "inductive")
    ours = weights[our_name(key.removeprefix("traj_inductive/"))]
    assert largest_difference(ours, golden.tensors[key]) <= golden.tolerances["trajectory_param_atol"]


def test_the_trajectory_does_not_change_frozen_and_dead_weights() -> None:
    for golden in (golden_set("zeg"), golden_set("cascade")):
        before = golden.segmentor()
        trains = {name for name, parameter in before.named_parameters() if parameter.requires_grad}
        still = set(before.state_dict()) - (trains - names_without_gradient(before))
        _, _, after = _trajectory(golden.name, "inductive")
        assert still
        assert all(torch.equal(before.state_dict()[name], after[name]) for name in still)


def _accuracy_slack(golden: GoldenSet, term: str) -> float:
    """Return the tolerance of a term: near ties may change an accuracy (in percent); losses get none."""
    return 100 * golden.tolerances["argmax_fraction_different"] if term == "decode.acc_seg" else 1e-12
