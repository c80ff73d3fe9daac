"""One pass of answers for all membership signals and metrics against one forward pass a signal, in one process.

    python tests/bench/membership.py [--examples 512] [--size 64]

Both sides compute the same figures on the same classifier (random pictures, ResNet-18, evaluation mode) and the figures
are compared before the times. The slow side is what reference suites do: a forward pass for each signal of each split.
"""

import argparse
import io
import time

import numpy as np
from mmunlearn.vision.handle import ClassifierSettings, VisionHandle

from mmunlearn.attacks.membership import Membership
from mmunlearn.data import Example, ImageRef
from mmunlearn.handle import Decoding
from mmunlearn.metrics.base import Sight, Value
from mmunlearn.metrics.forgetting_score import ForgettingScore
from mmunlearn.metrics.mean_nll import MeanNll
from mmunlearn.metrics.mia import Mia
from mmunlearn.metrics.top1 import Top1
from mmunlearn.metrics.top2 import Top2
from mmunlearn.records import Rows
from mmunlearn.signals import SIGNALS

METRICS = (Top1, Top2, MeanNll, Mia, ForgettingScore)


def pictures(name: str, n: int, size: int) -> list[Example]:
    """Random PNGs with random classes."""
    from PIL import Image

    draw, examples = np.random.default_rng(len(name)), []
    for i in range(n):
        stream = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(stream, "PNG")
        image = ImageRef(content=stream.getvalue())
        examples.append(Example(id=f"{name}/{i:05d}", image=image, target=int(draw.integers(8))))
    return examples


def answer(handle: VisionHandle, examples: list[Example]) -> Rows:
    """One forward pass over `examples`."""
    return Rows.of([{"id": a.id, **a.fields} for a in handle.respond(examples, Decoding(), 0)])


OTHERS = ("gradient_norm", "min_k", "min_k_pp", "zlib_ratio")  # need a backward pass, or a text


def one_pass(handle: VisionHandle, forget: list[Example], unseen: list[Example]) -> dict[str, Value]:
    sight = Sight(answer(handle, forget), answer(handle, unseen))
    cells = dict(Membership().measure(sight, 0))
    return cells | {metric.name(): metric().reduce(sight) for metric in METRICS}


def pass_each(handle: VisionHandle, forget: list[Example], unseen: list[Example]) -> dict[str, Value]:
    cells: dict[str, Value] = {}
    for name in SIGNALS:
        if name not in OTHERS:
            sight = Sight(answer(handle, forget), answer(handle, unseen))
            found = Membership({"signals": [name]}).measure(sight, 0)
            cells |= {key: value for key, value in found.items() if key.startswith(name)}
    for metric in METRICS:
        cells[metric.name()] = metric().reduce(Sight(answer(handle, forget), answer(handle, unseen)))
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=512, help="pictures a split")
    parser.add_argument("--size", type=int, default=64, help="side in pixels")
    options = parser.parse_args()
    handle = VisionHandle(ClassifierSettings(size_px=options.size))
    forget, unseen = (pictures(name, options.examples, options.size) for name in ("forget", "unseen"))
    answer(handle, forget[:64])  # warm: lazy imports, thread pools
    handle.images.rows([*forget, *unseen])  # decoding counts on neither side
    times, cells = {}, {}
    for name, side in (("one pass", one_pass), ("a pass each", pass_each)):
        started = time.perf_counter()
        cells[name] = side(handle, forget, unseen)
        times[name] = time.perf_counter() - started
    for key, value in cells["a pass each"].items():
        np.testing.assert_allclose(value.value, cells["one pass"][key].value, atol=1e-6, err_msg=key)
    print(
        f"{2 * options.examples} pictures of {options.size} px, {len(cells['a pass each'])} cells, equal on both sides"
    )
    print(", ".join(f"{name} {seconds:.2f} s" for name, seconds in times.items()))
    print(f"ratio {times['a pass each'] / times['one pass']:.1f}")


if __name__ == "__main__":
    main()
