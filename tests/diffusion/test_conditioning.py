import pytest
import torch
from mmunlearn.diffusion.conditioning import Condition
from mmunlearn.diffusion.tokenizers_offline import clip_tokenizer, letters_tokenizer
from mmunlearn.diffusion.toy import toy_handle

from mmunlearn.errors import UserError

PROMPT = "A Dogs image in Van Gogh style."


@pytest.fixture(scope="module")
def handle():
    return toy_handle()


def test_the_tokenizer_is_clips_own():
    import open_clip

    texts = [PROMPT, "It's a naïve 3D-rendering, isn't it?", "", "café  №5"]
    theirs = open_clip.tokenize(texts)
    made = clip_tokenizer()(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    assert (4, 77) == tuple(made.shape)
    # open_clip pads with 0, Stable Diffusion with the end token.
    for ours, other in zip(made.tolist(), theirs.tolist(), strict=True):
        end = ours.index(49407)
        assert other[: end + 1] == ours[: end + 1] and {49407} == set(ours[end:])


def test_the_letter_tokenizer_ends_and_pads_as_t5s_does():
    ids = letters_tokenizer(8)("ab", padding="max_length", truncation=True).input_ids
    assert [3, 4, 5, 1, 0, 0, 0, 0] == ids  # word start, a, b, end, padding


def test_positions_of_phrase_last_token_and_end(handle):
    tokens = handle.tokenise([PROMPT, ""])
    assert [slice(5, 7)] == handle.tokenise([PROMPT]).subject_span("Van Gogh")
    assert [9, 1] == tokens.first_eot.tolist() and [8, 0] == tokens.last_subject.tolist()
    assert [10, 2] == tokens.mask.sum(1).tolist()
    with pytest.raises(UserError, match="Monet"):
        handle.tokenise([PROMPT]).subject_span("Monet")
    with pytest.raises(UserError, match="does not stand"):
        handle.tokenise([PROMPT]).subject_span("")


def test_rows_are_chosen_joined_and_repeated():
    one = Condition(torch.arange(6.0).reshape(3, 2, 1), torch.arange(3.0)[:, None])
    assert [2, 0] == one.index([2, 0]).pooled[:, 0].tolist()
    assert [1, 2] == one.index(slice(1, 3)).pooled[:, 0].tolist()
    assert [0, 1, 2, 0] == one.cat(one.index([0])).pooled[:, 0].tolist()
    assert [0, 1, 2, 0, 1, 2] == one.repeat(2).pooled[:, 0].tolist()
    assert (6, 2, 1) == tuple(one.repeat(2).states.shape)
    assert torch.float64 == one.to(torch.float64).states.dtype and 3 == len(one)
    assert Condition(one.states).repeat(2).pooled is None


def test_encodings_follow_the_weights_and_are_made_once(handle, monkeypatch):
    handle = handle.copy()
    calls = []
    encode = handle.family.encode
    monkeypatch.setattr(type(handle.family), "encode", lambda self, *a: (calls.append(len(a[1][0])), encode(*a))[1])
    first = handle.encode([PROMPT, "x", PROMPT])
    assert [2] == calls and torch.equal(first.states[0], first.states[2])
    assert torch.equal(first.states[1], handle.encode(["x"]).states[0]) and [2] == calls
    with torch.inference_mode():
        kept = handle.encode(["y"])
    (kept.states * torch.ones((), requires_grad=True)).sum().backward()  # no inference tensor is handed out
    with torch.no_grad():
        handle.module["text_encoder"].final_layer_norm.weight.mul_(2)
    assert not torch.equal(first.states[1], handle.encode(["x"]).states[0])


def test_replaced_embeddings_take_the_place_of_the_lookup_and_carry_gradients(handle):
    tokens = handle.tokenise([PROMPT, "x"])
    table = handle.module["text_encoder"].get_input_embeddings().weight
    embeddings = table[tokens.ids[0]].detach().requires_grad_()
    made = handle.encode_tokens(tokens, embeddings)
    assert torch.allclose(handle.encode([PROMPT, "x"]).states, made.states, atol=1e-6)
    shifted = embeddings.detach().clone()
    shifted[0, 5] += torch.randn(shifted.shape[-1], generator=torch.Generator().manual_seed(0))
    other = handle.encode_tokens(tokens, shifted)
    # Attention looks backwards only: what stands before the changed token stays.
    assert torch.allclose(made.states[0, :5], other.states[0, :5], atol=1e-6)
    assert not torch.allclose(made.states[0, 5:], other.states[0, 5:], atol=1e-3)
    (gradient,) = torch.autograd.grad(made.states[0, 3].pow(3).sum(), embeddings)
    assert gradient[0, :4].abs().sum() > 0 and not gradient[0, 4:].any() and not gradient[1].any()
