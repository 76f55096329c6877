"""The released weights and inputs in the golden sets."""

import torch

from cascade_core.released.weights import CLASS_WEIGHT_BUFFER, our_name

from .golden import GoldenSet, covers, golden_set
from .runs import PICTURES


@covers(r"sd/(backbone|decode_head\.(?!loss_decode)).*")
def test_every_released_weight_is_unchanged_under_our_name(golden: GoldenSet, keys: list[str]) -> None:
    ours = golden.segmentor().state_dict()
    changed = [
        key
        for key in keys
        if not torch.equal(ours[our_name(key.removeprefix("sd/"))], golden.tensors[key].float())
    ]
    assert not changed


@covers(r"sd/decode_head\.loss_decode\..*")
def test_the_class_weight_buffer_has_one_value_per_seen_class(golden: GoldenSet, keys: list[str]) -> None:
    assert keys == [f"sd/{CLASS_WEIGHT_BUFFER}"]
    assert golden.tensors[keys[0]].shape == (len(golden.seen) + 1,)


def test_our_model_has_no_weight_beyond_the_released_ones() -> None:
    for golden in (golden_set("zeg"), golden_set("cascade")):
        released = {our_name(key) for key in golden.released_state if key != CLASS_WEIGHT_BUFFER}
        assert set(golden.segmentor().state_dict()) == released


@covers(
    r"json/config/()(?:width|heads|img|dim|tokens|dheads|layers|patch|total_d_layer|decoder_layers|mlp_ratio)",
    r"json/config/()(?:num_decoders|decoder_memory|out_indices|layer_norm_eps/.*)",
)
def test_the_loaded_model_has_the_recorded_shape(golden: GoldenSet, keys: list[str]) -> None:
    config, segmentor = golden.config, golden.segmentor()
    clip, (first, *_) = segmentor.config.clip, segmentor.decoder.stages
    blocks = [index for group in segmentor.config.groups for index in group]
    ours = {
        "width": clip.width,
        "heads": clip.heads,
        "img": segmentor.config.image_size,
        "dim": clip.embed_dim,
        "tokens": segmentor.config.num_prompts,
        "dheads": segmentor.config.decoder_heads,
        "layers": clip.layers,
        "patch": clip.patch_size,
        "total_d_layer": len(segmentor.trunk.prompts.deep_prompt_embeddings),
        "decoder_layers": len(first.decoder.layers),
        "mlp_ratio": segmentor.config.feedforward_ratio,
        "num_decoders": len(segmentor.decoder.stages),
        "decoder_memory": [*(list(group) for group in segmentor.config.groups), ["last"]],
        "out_indices": blocks or [clip.layers - 1],
        "layer_norm_eps/clip": segmentor.trunk.visual.ln_post.eps,
        "layer_norm_eps/prompt_norm": segmentor.trunk.prompts.prompt_norm.eps,
        "layer_norm_eps/decoder": first.decoder.layers[0].norm2.eps,
    }
    assert [ours[key.removeprefix("json/config/")] for key in keys] == [golden.numbers[key] for key in keys]
    assert config["heads"] == segmentor.trunk.visual.blocks[0].attn.heads


@covers(r"json/config/()(?:novel|novel_class|base_class|both_class|ncls|ignore_index)")
def test_the_recorded_classes_are_a_split_in_order_of_ids(golden: GoldenSet, keys: list[str]) -> None:
    config = golden.config
    assert config["novel"] == config["novel_class"]
    assert config["both_class"] == list(range(config["ncls"]))
    assert sorted(config["base_class"] + config["novel_class"]) == config["both_class"]
    assert config["base_class"] == sorted(config["base_class"])
    assert config["ignore_index"] == 255


@covers("img", "rect_img", "nonmult_img", "sq2_img", "big_img", "text", "gt", "gt_one_empty")
def test_inputs_are_of_the_recorded_sizes(golden: GoldenSet, keys: list[str]) -> None:
    config = golden.config
    batch, side = config["B"], config["img"]
    expected = {
        "img": (batch, 3, side, side),
        "big_img": (1, 3, *config["big"]),
        "text": (config["ncls"], config["dim"]),
        "gt": (batch, 1, side, side),
        "gt_one_empty": (batch, 1, side, side),
    }
    (key,) = keys
    shape = tuple(golden.tensors[key].shape)
    assert shape == expected.get(key, shape)
    assert {"nonmult_img", "sq2_img"} & {key} == set() or shape[2] == shape[3] != side
    assert key != "rect_img" or shape[2] != shape[3]


@covers(r"json/tensor_stats/(.*)/(?:shape|dtype|mean|std|min|max)")
def test_stored_tensors_have_their_recorded_statistics(golden: GoldenSet, keys: list[str]) -> None:
    name = keys[0].removeprefix("json/tensor_stats/").rpartition("/")[0]
    tensor = golden.tensors[name].double()
    recorded = golden.record["tensor_stats"][name]
    statistics = [tensor.mean(), tensor.std(), tensor.min(), tensor.max()]
    assert list(tensor.shape) == recorded["shape"]
    torch.testing.assert_close(
        torch.stack(statistics),
        torch.tensor([recorded[key] for key in ("mean", "std", "min", "max")]).double(),
        rtol=1e-4,
        atol=1e-6,
        equal_nan=True,
    )


def test_pictures_of_every_kind_of_shape_are_used() -> None:
    for golden in (golden_set("zeg"), golden_set("cascade")):
        assert set(PICTURES.values()) <= set(golden.tensor_keys)
