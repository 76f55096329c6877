"""Class vectors: names x templates to unit vectors."""

import pytest
import torch
import torch.nn.functional as F

from cascade_core.clip import text as module
from cascade_core.clip.text import TextTransformer, class_vectors, num_texts
from cascade_core.clip.tokenizers import WordTokenizer
from cascade_core.configs.model import ClipConfig

TOKENIZER = WordTokenizer(["a", "photo", "of", "some", "cat", "dog", "grass"], context_length=8)
CONFIG = ClipConfig(
    name="small",
    image_size=16,
    patch_size=8,
    width=8,
    layers=1,
    heads=1,
    embed_dim=12,
    text_width=16,
    text_layers=2,
    text_heads=2,
    context_length=8,
    vocab_size=TOKENIZER.vocab_size,
)
NAMES, TEMPLATES = ["cat", "dog", "grass"], ["a photo of a {}", "some {}"]


@pytest.fixture
def text() -> TextTransformer:
    torch.manual_seed(1)
    return TextTransformer(CONFIG).eval()


def test_class_vectors_have_unit_length(text: TextTransformer) -> None:
    vectors = class_vectors(text, TOKENIZER, NAMES, TEMPLATES)
    assert vectors.shape == (3, 12)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))


def test_vectors_are_normalised_before_and_after_the_average(text: TextTransformer) -> None:
    rows = []
    for name in NAMES:
        total = torch.zeros(12)
        for template in TEMPLATES:
            vector = text.encode_text(TOKENIZER([template.format(name)]))[0].detach()
            total += vector / vector.norm()
        mean = total / len(TEMPLATES)
        rows.append(mean / mean.norm())
    torch.testing.assert_close(class_vectors(text, TOKENIZER, NAMES, TEMPLATES), torch.stack(rows))


def test_class_vectors_do_not_depend_on_the_batch_size(text: TextTransformer) -> None:
    whole = class_vectors(text, TOKENIZER, NAMES, TEMPLATES)
    torch.testing.assert_close(class_vectors(text, TOKENIZER, NAMES, TEMPLATES, batch_size=2), whole)


@pytest.mark.parametrize("at_once", [1, 1024])
def test_cut_and_sorted_texts_have_the_vectors_of_whole_ones(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(2)
    text, lengths = TextTransformer(CONFIG.model_copy(update={"context_length": 77})).eval(), []
    tokenizer = WordTokenizer(TOKENIZER.words, context_length=77)
    names = ["some " * 20 + "dog", "cat", "dog " * 9]
    rows = [tokenizer([template.replace("{}", name) for template in TEMPLATES]) for name in names]
    unit = [F.normalize(text.encode_text(row).detach(), dim=-1).mean(dim=0) for row in rows]
    text.blocks[0].register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    monkeypatch.setattr(module, "LABELS_AT_ONCE", at_once)
    vectors = class_vectors(text, tokenizer, names, TEMPLATES, batch_size=2)
    torch.testing.assert_close(vectors, F.normalize(torch.stack(unit), dim=-1), atol=1e-6, rtol=0)
    assert lengths == ([27, 7, 15] if at_once == 1 else [7, 15, 27])


def test_class_vectors_are_in_the_order_of_the_names(text: TextTransformer) -> None:
    forward = class_vectors(text, TOKENIZER, NAMES, TEMPLATES)
    torch.testing.assert_close(class_vectors(text, TOKENIZER, NAMES[::-1], TEMPLATES), forward.flip(0))


def test_class_vectors_carry_no_gradient(text: TextTransformer) -> None:
    assert not class_vectors(text, TOKENIZER, NAMES, TEMPLATES).requires_grad


def test_tokens_after_the_end_have_no_effect(text: TextTransformer) -> None:
    tokens = TOKENIZER(["a cat"])
    changed = tokens.clone()
    changed[0, 5:] = 3
    torch.testing.assert_close(text.encode_text(tokens), text.encode_text(changed))


@pytest.mark.parametrize(("names", "templates"), [([], TEMPLATES), (NAMES, [])])
def test_no_names_or_no_templates_are_refused(
    text: TextTransformer, names: list[str], templates: list[str]
) -> None:
    with pytest.raises(ValueError, match="need names and templates"):
        class_vectors(text, TOKENIZER, names, templates)


def test_a_template_without_a_place_for_the_name_is_refused(text: TextTransformer) -> None:
    with pytest.raises(ValueError, match="'a photo' has no '{}'"):
        class_vectors(text, TOKENIZER, NAMES, ["a photo"])


def test_synonyms_are_averaged_each_name_counting_alike(text: TextTransformer) -> None:
    vectors = class_vectors(text, TOKENIZER, ["cat", "grass"], TEMPLATES, synonyms=[["dog", "photo"], []])
    cat, dog, photo, grass = class_vectors(text, TOKENIZER, ["cat", "dog", "photo", "grass"], TEMPLATES)
    mean = (cat + dog + photo) / 3
    torch.testing.assert_close(vectors, torch.stack([mean / mean.norm(), grass]))


def test_no_synonyms_change_nothing(text: TextTransformer) -> None:
    assert torch.equal(
        class_vectors(text, TOKENIZER, NAMES, TEMPLATES, synonyms=[[], [], []]),
        class_vectors(text, TOKENIZER, NAMES, TEMPLATES),
    )


def test_synonyms_stay_with_their_class_whatever_the_batch_size(text: TextTransformer) -> None:
    synonyms = [["dog"], [], ["photo", "some"]]
    done: list[int] = []
    one_by_one = class_vectors(
        text, TOKENIZER, NAMES, TEMPLATES, synonyms=synonyms, batch_size=1, on_batch=done.append
    )
    torch.testing.assert_close(
        one_by_one, class_vectors(text, TOKENIZER, NAMES, TEMPLATES, synonyms=synonyms)
    )
    assert done == list(range(1, 13))
    assert done[-1] == num_texts(NAMES, TEMPLATES, synonyms)


def test_synonyms_of_other_classes_are_refused(text: TextTransformer) -> None:
    with pytest.raises(ValueError, match="2 lists of synonyms for 3 names"):
        class_vectors(text, TOKENIZER, NAMES, TEMPLATES, synonyms=[[], []])


def test_a_label_with_unknown_words_is_refused_before_encoding(text: TextTransformer) -> None:
    done: list[int] = []
    for names, synonyms in ((["cat", "unicorn"], []), (["cat", "dog"], [[], ["unicorn"]])):
        with pytest.raises(ValueError, match=r"^label 'unicorn': .*outside the vocabulary"):
            class_vectors(
                text, TOKENIZER, names, TEMPLATES, synonyms=synonyms, batch_size=1, on_batch=done.append
            )
    with pytest.raises(ValueError, match=r"^label 'cat cat cat cat': .*needs 10 tokens"):
        class_vectors(text, TOKENIZER, ["cat cat cat cat"], TEMPLATES)
    assert done == []


def test_braces_in_a_name_or_a_template_stand_for_themselves(text: TextTransformer) -> None:
    plain = class_vectors(text, TOKENIZER, ["cat"], ["a photo of a {}"])
    assert torch.equal(class_vectors(text, TOKENIZER, ["{cat}"], ["a {photo of a {}"]), plain)
