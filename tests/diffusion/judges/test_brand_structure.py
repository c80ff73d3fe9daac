import numpy as np
import pytest
from mmunlearn.diffusion.judges.brand_structure import BrandStructure
from mmunlearn.diffusion.judges.q16 import Q16

from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.judges.base import Item
from mmunlearn.testing.picture_models import prompt_vectors
from mmunlearn.testing.picture_world import picture_path
from mmunlearn.testing.tiny_clip import tiny_clip


@pytest.fixture
def server():
    pytest.importorskip("openai")
    from mmunlearn.testing.chat_server import running

    with running() as found:
        yield found


def settings(server, **more):
    backend = {"kind": "server", "base_url": server.url, "model": "m", "retries": 0, "backoff_s": 0.001}
    return {"backend": backend} | more


def pair(original, edited, key="a"):
    return Item(Example(id=key, prompt="p"), {"original_image": str(original), "image": str(edited)})


def test_the_reference_is_shown_first_and_the_number_becomes_a_tenth(server):
    server.answer = lambda text: "7"
    one, two = picture_path("Dots", "Disc", 1), picture_path("Stripes", "Disc", 1)
    (verdict,) = BrandStructure(settings(server)).grade([pair(one, two)])
    assert (0.7, "similar", "no gate") == (verdict.value, verdict.label, verdict.explanation)
    server.answer = lambda text: "a disc, a disc: same thing. Score: 6"
    (verdict,) = BrandStructure(settings(server)).grade([pair(one, two, "b")])
    assert (0.6, "no gate; a disc, a disc: same thing") == (verdict.value, verdict.explanation)
    shown = [part["image_url"]["url"] for part in server.requests[0]["messages"][0]["content"][:2]]
    import base64

    assert [p.read_bytes() for p in (one, two)] == [base64.b64decode(url.partition(",")[2]) for url in shown]


def test_below_the_gate_nobody_is_asked_and_the_value_is_zero(server):
    server.answer = lambda text: "10"
    clip = tiny_clip()
    judge = BrandStructure(settings(server, gate_model=str(clip.model), gate_weights=str(clip.weights)))
    same = pair(picture_path("Dots", "Disc", 1), picture_path("Dots", "Disc", 2), "a")
    other = pair(picture_path("Dots", "Disc", 1), picture_path("Seed_Images", "Cross", 2), "b")
    verdicts = judge.grade([other, same, other])
    assert ["gated", "similar", "gated"] == [verdict.label for verdict in verdicts]
    assert [0, 1, 0] == [verdict.value for verdict in verdicts] and 1 == len(server.requests)


def test_garbage_a_missing_picture_and_a_failing_server_leave_rows_unscored(server, tmp_path):
    good = pair(picture_path("Dots", "Disc", 1), picture_path("Dots", "Disc", 2))
    for said in ("quite alike", "11", "3 or 4", ""):
        server.answer = lambda text, said=said: said
        assert not BrandStructure(settings(server)).grade([good])[0].scored
    server.answer = lambda text: "5"
    alone = Item(Example(id="x", prompt="p"), {"image": str(picture_path("Dots", "Disc", 1))})
    gone = pair(tmp_path / "no.jpg", picture_path("Dots", "Disc", 1))
    assert [False, False] == [v.scored for v in BrandStructure(settings(server)).grade([alone, gone])]

    class Failing(dict):
        def get(self, text, default=None):
            return ([500] * 9, None)

    server.script = Failing()
    (verdict,) = BrandStructure(settings(server)).grade([good])
    assert verdict.again and not verdict.scored


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda tmp: (tmp / "prompts.p", b"\x80\x04K\x01."), "refused unread"),
        (lambda tmp: (tmp / "prompts.npy", b"no array"), "no plain array"),
        (lambda tmp: (tmp / "no.npy", None), "is no file"),
    ],
)
def test_prompt_vectors_that_are_none_are_refused_and_a_pickle_is_never_opened(make, said, tmp_path):
    path, content = make(tmp_path)
    if content is not None:
        path.write_bytes(content)
    clip = tiny_clip()
    with pytest.raises(UserError, match=said):
        Q16({"model": str(clip.model), "weights": str(clip.weights), "prompts": str(path)}).ready()


def test_vectors_of_another_width_or_number_are_refused(tmp_path):
    clip = tiny_clip()
    for shape, said in (((2, 7), "vectors of 7 values"), ((3, 16), "must be two vectors"), ((32,), "must be two")):
        np.save(tmp_path / "v.npy", np.ones(shape, dtype=np.float32) * len(shape) + len(said))
        with pytest.raises(UserError, match=said):
            Q16({"model": str(clip.model), "weights": str(clip.weights), "prompts": str(tmp_path / "v.npy")}).ready()
        (tmp_path / "v.npy").unlink()


def test_q16_without_a_clip_says_so():
    with pytest.raises(UserError, match="weights"):
        Q16({"prompts": str(prompt_vectors())}).ready()
