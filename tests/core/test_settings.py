"""Settings: layers of YAML and words, near misses, identity."""

import pytest
from pydantic import Field

from mmunlearn.errors import UserError
from mmunlearn.run import TrainSettings
from mmunlearn.settings import Settings, build, differences, digest, merge, plain, read_yaml, with_words


class Inner(Settings):
    beta: float = Field(0.1, gt=0)
    steps: tuple[int, ...] = ()


class Outer(Settings):
    method: Inner = Inner()
    maybe: Inner | None = None
    seed: int = 0
    title: str = ""


def test_words_lie_over_a_file_that_lies_over_its_base(tmp_path):
    (tmp_path / "base.yaml").write_text("method: {beta: 0.5, steps: [1, 2]}\nseed: 3\n")
    (tmp_path / "mine.yaml").write_text("base: base.yaml\nmethod:\n  beta: 1e-3\n")
    content = with_words(read_yaml(tmp_path / "mine.yaml"), ["seed=4", "title=a=b", "method.steps=[7]"])
    assert Outer(method=Inner(beta=0.001, steps=(7,)), seed=4, title="a=b") == build(Outer, content, "")


@pytest.mark.parametrize(
    ("words", "message"),
    (
        (["method.bta=1"], "method.bta: no such setting. Did you mean beta?"),
        (["maybe.bta=1"], "maybe.bta: no such setting. Did you mean beta?"),
        (["sed=1"], "sed: no such setting. Did you mean seed?"),
        (["method.beta=-1"], "method.beta: input should be greater than 0 (got -1)."),
        (["seed=x"], "seed: input should be a valid integer"),
        (["method=3"], "method: input should be a valid dictionary"),
        (["seed"], "'seed' is not a setting"),
        (["=1"], "'=1' is not a setting"),
        (["a..b=1"], "is not a setting"),
    ),
)
def test_mistakes_are_named(words, message):
    with pytest.raises(UserError) as caught:
        build(Outer, with_words({}, words), "")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4


@pytest.mark.parametrize(
    ("content", "message"),
    (
        (b"- 1\n- 2\n", "holds a list"),
        (b"a: [1\n", "cannot be read as YAML"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"base: mine.yaml\n", "names the file itself"),
        (b"base: other.yaml\n", "no such file"),
        (b"!!python/object/apply:os.system ['true']\n", "cannot be read as YAML"),
    ),
)
def test_broken_files_are_named(content, message, tmp_path):
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_yaml(tmp_path / "mine.yaml")


def test_a_circle_of_bases_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\n")
    with pytest.raises(UserError, match="base"):
        read_yaml(tmp_path / "a.yaml")


def test_yamls_no_and_off_are_words():
    content = with_words({}, ["precision=no", "determinism=off"])
    assert TrainSettings(precision="no", determinism="off") == build(TrainSettings, content, "train")


@pytest.mark.parametrize(
    "word",
    (
        "precision=fp8", "precision=doubel", "determinism=maybe", "micro_batch=0", "checkpoint_every=0", "log_every=0",
        "threads=-1", "device=tpu", "precision=true",
    ),
)  # fmt: skip
def test_engine_settings_are_checked(word):
    with pytest.raises(UserError, match=f"train.{word.partition('=')[0]}"):
        build(TrainSettings, with_words({}, [word]), "train")


def test_identity_and_differences():
    one, two = {"a": 1, "b": {"c": 2.0, "d": [1]}}, {"b": {"d": [1], "c": 2.0}, "a": 1}
    assert digest(one) == digest(two) and 16 == len(digest(one))
    assert digest(Outer()) == digest(plain(Outer())) != digest(Outer(seed=1))
    assert [] == differences(one, two)
    changed = {"a": 1, "b": {"c": 3.0}, "e": None}
    assert ["b.c 2.0 -> 3.0", "b.d [1] -> '(absent)'", "e '(absent)' -> None"] == differences(one, changed)
    assert {"a": 1, "b": {"c": 9, "d": [1]}} == merge(one, {"b": {"c": 9}})
