import pytest
import torch
from mmunlearn.diffusion.learnt_words import learn_words
from mmunlearn.diffusion.methods.forget_me_not import ForgetMeNot, attention_squares
from mmunlearn.diffusion.prompt_tokens import encoded

from mmunlearn.errors import UserError
from mmunlearn.phases import Step


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("loss", ["norm", "squares"])
def test_loss_is_the_attention_of_every_layer_by_hand(handle, splits, run, loss, end):
    method = ForgetMeNot({"loss": loss, "end": end})
    method.prepare(handle, splits, run)
    examples = splits["forget"].examples
    batch = handle.collate(examples)
    term = method._terms(handle, {"forget": batch}, Step("x", 0, 0, 1, 1, 0))["attention"]
    total = 0.0
    for i, example in enumerate(examples):
        words = handle.tokenizer(example.prompt).input_ids
        phrase = handle.tokenizer("Van Gogh", add_special_tokens=False).input_ids
        start = next(k for k in range(len(words)) if words[k : k + len(phrase)] == phrase)
        at = [*range(start, start + len(phrase)), *([len(words) - 1] if end else [])]
        inputs = {}
        hooks = [
            layer.module.register_forward_hook(
                lambda _, args, kwargs, out, name=layer.name, at=inputs: at.__setitem__(name, args[0]), with_kwargs=True
            )
            for layer in handle.cross_attention()
        ]
        one = slice(i, i + 1)
        condition = handle.encode([example.prompt])
        x = handle.noised(batch.tensors["mean"][one], batch.tensors["noise"][one], batch.tensors["t"][one])
        handle.predict(x, batch.tensors["t"][one], condition)
        for hook in hooks:
            hook.remove()
        square = 0.0
        for layer in handle.cross_attention():
            heads = layer.module.heads
            query = layer.to_q(inputs[layer.name])[0]
            key = layer.to_k(condition.states)[0]
            width = query.shape[1] // heads
            for head in range(heads):
                part = slice(head * width, (head + 1) * width)
                probabilities = (query[:, part] @ key[:, part].T / width**0.5).softmax(-1)
                for token in at:
                    square += float(probabilities[:, token].detach().square().sum())
        total += square**0.5 if loss == "norm" else square
    assert total == pytest.approx(float(term.sum.detach()), rel=1e-4)


def test_positions_belong_to_their_own_picture():
    maps = [torch.arange(1.0, 13.0).view(2, 1, 2, 3)]
    at = torch.tensor([[True, False, False], [False, False, True]])
    assert [1 + 16.0, 81 + 144.0] == attention_squares(maps, at).tolist()


def test_attention_to_the_concept_falls(handle, splits, run):
    ForgetMeNot({"steps": 4, "batch_size": 2, "optimiser": {"name": "sgd", "lr": 0.5}}).apply(handle, splits, run)
    values = [event["terms"]["attention"] for event in run.events("step")]
    assert values[-1] < values[0]


def test_caption_without_the_phrase_is_refused(handle, splits, run):
    with pytest.raises(UserError, match="does not stand in"):
        ForgetMeNot().prepare(handle, {**splits, "forget": splits["retain"]}, run)


def test_with_inversion_attention_is_that_of_the_learnt_words(handle, splits, run):
    method = ForgetMeNot({"inversion": {"steps": 2, "words": 3}, "end": True})
    method.prepare(handle, splits, run)
    learnt = learn_words(handle, splits["forget"].examples, "Van Gogh", method.config.inversion, run.seed)
    batch = handle.collate(splits["forget"].examples)
    found = method._terms(handle, {"forget": batch}, Step("x", 0, 0, 1, 1, 0))["attention"]
    total = 0.0
    for i, (name, coded) in enumerate(learnt.items()):
        assert [1 + place for place in coded.at] == method._positions[name][:3] and 4 == len(method._positions[name])
        one = slice(i, i + 1)
        x = handle.noised(batch.tensors["mean"][one], batch.tensors["noise"][one], batch.tensors["t"][one])
        with handle.recorded_attention() as maps:
            handle.predict(x, batch.tensors["t"][one], encoded(handle, [coded]))
        total += sum(float(m[:, :, :, method._positions[name]].detach().square().sum()) for m in maps.values()) ** 0.5
    assert total == pytest.approx(float(found.sum.detach()), rel=1e-4)


def test_with_inversion_attention_to_the_learnt_words_falls(handle, splits, run):
    settings = {"steps": 4, "batch_size": 2, "optimiser": {"name": "sgd", "lr": 0.5}, "inversion": {"steps": 2}}
    ForgetMeNot(settings).apply(handle, splits, run)
    values = [event["terms"]["attention"] for event in run.events("step")]
    assert values[-1] < values[0]
