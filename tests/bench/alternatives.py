"""Alternatives of one question behind one kept prefix against a pass over the whole text for each.

Usage, from the root: python -m tests.bench.alternatives [--pixels 64,168,336] [--questions 8] [--answers 5]
Both sides are the handle's, batched, with kept tower features, on the small LLaVA (patches of 16 px or 14 px). Seconds
are of the processor, on all cores. Prints one line a picture size: seconds of both, ratio, largest difference in nats.
"""

import argparse
import io
import time

import numpy as np
import torch
from mmunlearn.vlm.alternatives import alternatives
from mmunlearn.vlm.handle import VlmHandle

from mmunlearn.data import Example, ImageRef


def asked(pixels: int, questions: int, answers: int) -> list[list[Example]]:
    """Questions on pictures of noise, each with several answers of about a dozen tokens."""
    from PIL import Image

    draw, groups = np.random.default_rng(0), []
    words = ["city", "born", "river", "doctor", "painter", "seven", "north", "green"]
    for q in range(questions):
        stream = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (pixels, pixels, 3), dtype=np.uint8)).save(stream, "PNG")
        image, prompt = ImageRef(content=stream.getvalue()), " ".join(draw.choice(words, 10 + q % 4)) + "?"
        texts = [" ".join(draw.choice(words, 8 + (q + k) % 5)) for k in range(answers)]
        groups.append([Example(id=f"bench/{q}", image=image, prompt=prompt, target=text) for text in texts])
    return groups


def least(work, repeats: int):
    """Least processor seconds of several runs, and a result."""
    runs = []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        runs.append(time.process_time() - start)
    return min(runs), result


@torch.inference_mode()
def whole(handle: VlmHandle, groups: list[list[Example]]) -> torch.Tensor:
    """One batch of complete texts."""
    return handle.token_stats(handle.collate([example for group in groups for example in group]))[0].logprob


def shared(handle: VlmHandle, groups: list[list[Example]]) -> torch.Tensor:
    """One batch of prefixes, one of answers."""
    return torch.cat([row.logprob for rows in alternatives(handle, groups) for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pixels", default="64,168,336")
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--answers", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for pixels in map(int, given.pixels.split(",")):
        patch = 16 if pixels % 16 == 0 and pixels < 100 else 14
        vision = {"image_size": pixels, "patch_size": patch}
        settings = {"template": "mini", "architecture": {"vision": vision, "text": {"max_position_embeddings": 1024}}}
        handle = VlmHandle(settings)
        groups = asked(pixels, given.questions, given.answers)
        whole(handle, groups), shared(handle, groups)  # decoded, encoded, warm
        slow_s, expected = least(lambda h=handle, g=groups: whole(h, g), given.repeats)
        fast_s, got = least(lambda h=handle, g=groups: shared(h, g), given.repeats)
        print(
            f"{pixels} px, {(pixels // patch) ** 2} picture tokens, {given.questions} x {given.answers} answers: whole "
            f"{slow_s:.3f} s, shared {fast_s:.3f} s, ratio {slow_s / fast_s:.2f}, "
            f"difference {(got - expected).abs().max().item():.1e}"
        )


if __name__ == "__main__":
    main()
