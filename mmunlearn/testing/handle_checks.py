"""Contract checks of handles (house rule B6): the same for every modality, also for those of plugins.

`checks(component)` takes a `Specimen`: a handle and a few examples that it answers.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding, Handle, Response, Scored, View, weights_digest
from mmunlearn.seeds import generator
from mmunlearn.testing.check import Check

CLOSE = 1e-5  # what other kernels for other batch sizes may change
# Of 255, for a sampled picture: rounding moves a pixel by one, and in a JPEG that may move a coefficient of its block
# by a quantisation step, so single pixels move further than the mean.
PIXELS, MEAN_PIXELS = 8, 0.5


@dataclass(frozen=True)
class Specimen:
    """A handle under test: its name in the list of checks, how it is made, and examples for it (at least five)."""

    name: str
    make: Callable[[], Handle]
    examples: Sequence[Example]


def checks(component: Specimen) -> list[Check]:
    """All contract checks of a handle."""
    tests: dict[str, Callable[[Specimen], None]] = {
        "save and load give equal scores": _save_load,
        "a folder of another kind is refused": _refused,
        "batch of N equals N singles": _batch,
        "order of a batch follows the examples": _ordered,
        "nll is the reference cross-entropy": _cross_entropy,
        "count is known before the forward": _count,
        "scores are differentiable": _differentiable,
        "respond is equal whatever the batch size": _respond,
        "respond leaves weights and mode of the answers alone": _respond_pure,
        "training views belong to example and epoch": _views,
        "a copy is independent": _copy,
        "fresh weights are a function of the seed": _fresh,
        "random targets are of the right type": _random_target,
        "trainable names are parameters": _trainable,
        "global generators stay untouched": _generators,
    }
    if hasattr(component.make().module, "disable_adapter"):
        tests["adapters off is the base model"] = _adapters
    return [Check(component.name, name, partial(test, component)) for name, test in tests.items()]


def _score(handle: Handle, examples: Sequence[Example]) -> Scored:
    handle.module.eval()
    with torch.no_grad():
        return handle.score(handle.collate(examples).to(handle.device))


def _save_load(s: Specimen) -> None:
    handle = s.make()
    with tempfile.TemporaryDirectory() as folder:
        handle.save(Path(folder) / "model")
        names = {f.suffix for f in (Path(folder) / "model").rglob("*") if f.is_file()}
        assert names <= {".safetensors", ".json", ".jinja"}, f"saved as {names}"
        twin = type(handle).load(Path(folder) / "model")
    assert weights_digest(handle.module) == weights_digest(twin.module)
    assert torch.equal(_score(handle, s.examples).nll, _score(twin, s.examples).nll)


def _refused(s: Specimen) -> None:
    handle = s.make()
    with tempfile.TemporaryDirectory() as folder:
        handle.save(Path(folder))
        description = Path(folder) / "handle.json"
        damaged = {
            "another modality": description.read_text().replace(f'"{handle.modality}"', '"elsewhere"'),
            "a broken description": "{",
        }
        for what, text in damaged.items():
            description.write_text(text)
            _expect_user_error(lambda: type(handle).load(Path(folder)), what)
    with tempfile.TemporaryDirectory() as folder:
        _expect_user_error(lambda: type(handle).load(Path(folder)), "an empty folder")


def _expect_user_error(act: Callable[[], object], what: str) -> None:
    try:
        act()
    except UserError as error:
        assert 1 <= len(str(error).splitlines()) <= 4
    else:
        raise AssertionError(f"{what} was taken")


def _batch(s: Specimen) -> None:
    handle = s.make()
    whole = _score(handle, s.examples)
    for i, example in enumerate(s.examples):
        alone = _score(handle, [example])
        assert abs(float(alone.nll[0] - whole.nll[i])) <= CLOSE * (1 + abs(float(alone.nll[0])))
        assert int(alone.count[0]) == int(whole.count[i])


def _ordered(s: Specimen) -> None:
    handle = s.make()
    forwards, backwards = _score(handle, s.examples), _score(handle, list(s.examples)[::-1])
    assert torch.allclose(forwards.nll, backwards.nll.flip(0), atol=CLOSE, rtol=CLOSE)
    assert tuple(e.id for e in s.examples) == handle.collate(s.examples).ids
    assert [e.key for e in s.examples] == handle.collate(s.examples).keys.tolist()


def _cross_entropy(s: Specimen) -> None:
    scored = _score(s.make(), s.examples)
    if scored.logits is None or scored.targets is None:
        return
    for row in range(len(s.examples)):
        total, items = 0.0, 0
        for item in range(scored.logits.shape[1]):
            if scored.mask is not None and not bool(scored.mask[row, item]):
                continue
            logits, target = scored.logits[row, item].double(), scored.targets[row, item]
            if scored.family == "bernoulli":
                total += float(functional.softplus(logits[0] * (1 - 2 * target)))
            else:
                total += float(torch.logsumexp(logits, 0) - logits[target])
            items += 1
        assert abs(total - float(scored.nll[row])) <= 1e-4 * (1 + total)
        assert items == int(scored.count[row])


def _count(s: Specimen) -> None:
    handle = s.make()
    batch = handle.collate(s.examples)
    assert torch.equal(batch.count, _score(handle, s.examples).count.cpu())
    assert (batch.count >= 1).all() and batch.view is None
    assert all(tensor.device.type == "cpu" for tensor in batch.tensors.values())


def _differentiable(s: Specimen) -> None:
    handle = s.make()
    handle.score(handle.collate(s.examples).to(handle.device)).nll.sum().backward()
    gradients = [p.grad for _, p in handle.trainable()]
    assert gradients and any(g is not None and g.abs().sum() > 0 for g in gradients)
    assert all(g is None or torch.isfinite(g).all() for g in gradients)


def _respond(s: Specimen) -> None:
    handle = s.make()
    with tempfile.TemporaryDirectory() as root:
        places = [Path(root) / name for name in ("whole", "reversed", "1", "2")]
        one = handle.respond(s.examples, Decoding(batch_size=len(s.examples), folder=places[0]), 3)
        assert [e.id for e in s.examples] == [answer.id for answer in one]
        other = handle.respond(list(s.examples)[::-1], Decoding(folder=places[1]), 3)[::-1]
        _all_same(one, other, places[:2])
        for place in places[2:]:
            other = handle.respond(s.examples, Decoding(batch_size=int(place.name), folder=place), 3)
            _all_same(one, other, (places[0], place))


def _all_same(one: Sequence[Response], other: Sequence[Response], folders: Sequence[Path]) -> None:
    for a, b in zip(one, other, strict=True):
        _same(a, b)
        if "image" in a.fields:
            _same_picture(*(folder / row.fields["image"] for folder, row in zip(folders, (a, b), strict=True)))


def _same(one: Response, other: Response) -> None:
    assert one.id == other.id and set(one.fields) == set(other.fields)
    for name, value in one.fields.items():
        if name == "image_hash":
            continue  # rounding may move a pixel by one: the files themselves are compared
        if isinstance(value, (float, list)):
            assert np.allclose(value, other.fields[name], atol=CLOSE, rtol=CLOSE), f"{one.id}: {name}"
        else:
            assert value == other.fields[name], f"{one.id}: {name}"


def _same_picture(one: Path, other: Path) -> None:
    from PIL import Image

    a, b = (np.asarray(Image.open(file).convert("RGB"), dtype=np.int64) for file in (one, other))
    assert a.shape == b.shape, f"{one.name}: sizes differ"
    off = abs(a - b)
    assert off.max() <= PIXELS and off.mean() <= MEAN_PIXELS, f"{one.name} differs by {off.max()} ({off.mean():.2f})"


def _respond_pure(s: Specimen) -> None:
    handle = s.make()
    before = weights_digest(handle.module)
    with tempfile.TemporaryDirectory() as root:
        places = [Path(root) / name for name in ("trained", "evaluated")]
        handle.module.train()
        trained = handle.respond(s.examples, Decoding(folder=places[0]), 0)
        handle.module.eval()
        _all_same(trained, handle.respond(s.examples, Decoding(folder=places[1]), 0), places)
    assert weights_digest(handle.module) == before


def _views(s: Specimen) -> None:
    handle = s.make()
    epochs = np.arange(len(s.examples))
    whole = handle.collate(s.examples, View(5, epochs)).tensors
    for i in (0, len(s.examples) - 1):
        alone = handle.collate([s.examples[i]], View(5, epochs[i : i + 1])).tensors
        for name, tensor in alone.items():
            if len(whole[name]) != len(s.examples):
                continue  # pictures of those examples that have one
            width = [slice(0, n) for n in tensor.shape[1:]]
            assert torch.equal(tensor[0], whole[name][i][tuple(width)]), name


def _copy(s: Specimen) -> None:
    handle = s.make()
    twin = handle.copy()
    before = weights_digest(handle.module)
    with torch.no_grad():
        for _, parameter in twin.trainable():
            parameter.add_(1.0)
    assert weights_digest(handle.module) == before != weights_digest(twin.module)


def _fresh(s: Specimen) -> None:
    handle = s.make()
    before = weights_digest(handle.module)
    one, two, other = handle.fresh(11), handle.fresh(11), handle.fresh(12)
    digests = [weights_digest(h.module) for h in (one, two, other)]
    assert digests[0] == digests[1] != digests[2] and before == weights_digest(handle.module)
    shapes = [{n: tuple(t.shape) for n, t in h.module.state_dict().items()} for h in (handle, one)]
    assert shapes[0] == shapes[1]
    for name, parameter in one.trainable():
        kept = dict(handle.trainable())[name]
        assert parameter is not kept


def _random_target(s: Specimen) -> None:
    handle = s.make()
    for number, example in enumerate(s.examples):
        for draw in range(8):
            target = handle.random_target(example, generator(0, number, draw), wrong_only=True)
            assert target != example.target and type(target) is type(example.target)
            assert target == handle.random_target(example, generator(0, number, draw), wrong_only=True)
            _score(handle, [example.with_target(handle.random_target(example, generator(1, number, draw)))])


def _trainable(s: Specimen) -> None:
    handle = s.make()
    named = dict(handle.module.named_parameters())
    chosen = dict(handle.trainable())
    assert chosen and all(named[name] is parameter and parameter.requires_grad for name, parameter in chosen.items())
    try:
        list(handle.trainable("no such role"))
    except KeyError:
        return
    raise AssertionError("an unknown role was taken")


def _numpy_state() -> list[int]:
    return np.random.get_state(legacy=False)["state"]["key"].tolist()


def _generators(s: Specimen) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state(), _numpy_state()
    handle = s.make()
    handle.collate(s.examples, View(0, np.zeros(len(s.examples), dtype=np.int64)))
    with tempfile.TemporaryDirectory() as folder:
        handle.respond(s.examples, Decoding(folder=Path(folder)), 0)
    handle.fresh(1)
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == _numpy_state()


def _adapters(s: Specimen) -> None:
    handle = s.make()
    adapters = [parameter for _, parameter in handle.trainable()]  # some libraries freeze them while they are off
    with handle.module.disable_adapter():  # type: ignore[operator]
        before = _score(handle, s.examples).nll
        with torch.no_grad():
            for parameter in adapters:
                parameter.add_(0.5)
        assert torch.equal(before, _score(handle, s.examples).nll)
    assert not torch.equal(before, _score(handle, s.examples).nll)
