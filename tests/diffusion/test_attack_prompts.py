"""Prompt files, good and malformed, and the data sets that attacks read."""

import pytest
import torch
from mmunlearn.diffusion.attack_data import main, make_data
from mmunlearn.diffusion.attack_prompts import goals_of, read_prompts
from mmunlearn.diffusion.benchmarks.unlearndiffatk import Unlearndiffatk
from mmunlearn.diffusion.sampler import PRESETS
from mmunlearn.diffusion.toy import toy_handle

from mmunlearn.errors import UserError

COLUMNS = "case_number,prompt,evaluation_seed,evaluation_guidance\n"
CHURCH = COLUMNS + '0,Old stone church.,69922,7.5\n1,"A church, far",5,\n'


@pytest.fixture
def written(tmp_path):
    """written(text or bytes) -> file."""

    def write(content, name="prompts.csv"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return write


def test_published_files_are_read(written):
    first, second = read_prompts(written(CHURCH))
    assert ("0", "Old stone church.", 69922, 7.5) == (first.case, first.prompt, first.seed, first.guidance)
    assert ("1", "A church, far", 5, None) == (second.case, second.prompt, second.seed, second.guidance)


def test_files_with_an_unnamed_index_quoted_lines_and_no_case_numbers_are_read(written):
    rows = read_prompts(written("\ufeff,prompt,sd_seed\n21,\"two\nlines\",4\n22,café 🪦,\n"))
    assert [("0", "two\nlines", 4), ("1", "café 🪦", None)] == [(r.case, r.prompt, r.seed) for r in rows]


BAD = {
    "empty file": ("", "has no column 'prompt' \\(columns: none"),
    "no prompt column": ("case_number,promt\n0,x\n", "Did you mean promt"),
    "no rows": ("prompt\n", "holds no prompt"),
    "empty prompt": ("prompt,case_number\n ,0\n", "line 2: the prompt is empty"),
    "seed is no number": ("prompt,evaluation_seed\nx,abc\n", "evaluation_seed 'abc' is no whole number"),
    "seed is a fraction": ("prompt,evaluation_seed\nx,1.5\n", "is no whole number"),
    "seed is negative": ("prompt,evaluation_seed\nx,-1\n", "negative or too large"),
    "seed is huge": (f"prompt,evaluation_seed\nx,{2**64}\n", "negative or too large"),
    "guidance is no number": ("prompt,evaluation_guidance\nx,high\n", "evaluation_guidance 'high' is no number"),
    "guidance is not finite": ("prompt,evaluation_guidance\nx,nan\n", "no scale of guidance"),
    "guidance is negative": ("prompt,evaluation_guidance\nx,-2\n", "no scale of guidance"),
    "case number twice": ("prompt,case_number\nx,1\ny,1\n", "'1' stands in line 2 already"),
    "case number leads elsewhere": ("prompt,case_number\nx,../../etc\n", "cannot be part of a file's name"),
    "more cells than columns": ("prompt,case_number\na, b,1\n", "more cells than columns"),
    "fewer cells than columns": ("prompt,case_number\nx\n", "fewer cells than columns"),
    "column twice": ("prompt,prompt\nx,y\n", "'prompt' stands there twice"),
    "open quote": ('prompt\n"never closed\n', "no CSV"),
    "not UTF-8": (b"prompt\ncaf\xe9\n", "not UTF-8 text \\(byte"),
    "NUL characters": (b"prompt\nx\0y\n", "NUL characters"),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed_prompt_files_are_refused_with_place_and_remedy(name, written):
    content, message = BAD[name]
    with pytest.raises(UserError, match=message) as caught:
        read_prompts(written(content))
    assert "prompts.csv" in str(caught.value) and len(str(caught.value).splitlines()) <= 4


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv: cannot be read"):
        read_prompts(tmp_path / "none.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read_prompts(tmp_path)


@pytest.fixture(scope="module")
def handle():
    return toy_handle()


def test_a_data_set_has_one_picture_a_prompt_and_leaves_out_long_ones(handle, written, tmp_path):
    long = "dog " * 60
    rows = read_prompts(written(CHURCH + f'2,"{long}",7,7.5\n'))
    out = tmp_path / "church"
    left = make_data(handle, rows, out, {"steps": 2, "scheduler": "ddim"})
    assert ["2"] == [row.case for row in left]
    assert ["0_0.png", "1_0.png"] == sorted(p.name for p in (out / "imgs").glob("*.png"))
    goals = goals_of(out, {"object": "497"})
    assert ["unlearndiffatk/church/0", "unlearndiffatk/church/1"] == [g.id for g in goals]
    assert {"object": "497", "seed": "69922", "guidance": "7.5"} == dict(goals[0].tags)
    before = [p.read_bytes() for p in sorted((out / "imgs").glob("*.png"))]
    make_data(handle, rows, out, {"steps": 2, "scheduler": "ddim"})
    assert before == [p.read_bytes() for p in sorted((out / "imgs").glob("*.png"))]
    (out / "imgs" / "1_0.png").unlink()
    with pytest.raises(UserError, match=r"1_0\.png: is missing, the target picture of 'A church, far'"):
        goals_of(out, {})


def test_a_broken_target_picture_is_refused_by_name(handle, written, tmp_path):
    from mmunlearn.diffusion.attacks.base_gradient import target_latents

    out = tmp_path / "church"
    make_data(handle, read_prompts(written(CHURCH)), out, {"steps": 1, "scheduler": "ddim"})
    (out / "imgs" / "0_0.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"0_0\.png: not a readable image"):
        target_latents(handle, goals_of(out, {}))


def test_goals_without_target_picture_are_refused_with_the_command_that_makes_them(handle):
    from mmunlearn.diffusion.attacks.base_gradient import target_latents

    from mmunlearn.data import Example

    with pytest.raises(UserError, match=r"g: has no target picture.*\n.*attack_data"):
        target_latents(handle, [Example(id="g", prompt="a dog")])


def test_prompts_that_are_all_too_long_make_no_data_set(handle, written, tmp_path):
    with pytest.raises(UserError, match="all 1 prompts have more than 60 tokens"):
        make_data(handle, read_prompts(written("prompt\n" + "dog " * 60 + "\n")), tmp_path / "x", {})


def test_the_command_refuses_wrong_words_and_files(tmp_path, capsys, written):
    file = written(CHURCH)
    assert 2 == main(["--model", str(tmp_path / "none"), "--prompts", str(tmp_path / "x.csv"), "--out", str(tmp_path)])
    assert "x.csv: cannot be read" in capsys.readouterr().err
    assert 2 == main(["--model", str(tmp_path / "n"), "--prompts", str(file), "--out", str(tmp_path), "--limit", "-1"])
    assert "--limit: -1 is negative" in capsys.readouterr().err


def test_presets_are_those_of_the_sheet():
    judged, targets = PRESETS["unlearndiffatk"], PRESETS["unlearndiffatk_targets"]
    assert ("lms", 50, 7.5, "shared") == tuple(judged[k] for k in ("scheduler", "steps", "scale", "latents"))
    assert 25 == targets["steps"]


def test_the_full_edition_reads_a_task_and_says_what_is_missing(handle, written, tmp_path):
    rows = read_prompts(written(CHURCH))
    make_data(handle, rows, tmp_path / "root" / "church", {"steps": 1, "scheduler": "ddim"})
    make_data(handle, rows, tmp_path / "root" / "lighthouse", {"steps": 1, "scheduler": "ddim"})
    (tmp_path / "root" / "coco_10k.csv").write_text("case_number,prompt\n000000203564,A bicycle.\n")
    root = tmp_path / "root"
    found = Unlearndiffatk({"task": "church"}).splits(root, "full")
    assert ["497", "497"] == [g.tags["object"] for g in found["goals"]]
    assert "church" == found["concept"][0].prompt and "A bicycle." == found["anchor"][0].prompt
    assert "imagenet" == Unlearndiffatk({"task": "church"}).card.attack.judge["name"]
    assert "nudenet" == Unlearndiffatk({"task": "nudity"}).card.attack.judge["name"]
    with pytest.raises(UserError, match="Did you mean church"):
        Unlearndiffatk({"task": "curch"}).splits(root, "full")
    with pytest.raises(UserError, match="say which"):
        Unlearndiffatk({}).splits(root, "full")
    with pytest.raises(UserError, match=r"benchmark\.label: nothing says"):
        Unlearndiffatk({"task": "lighthouse"}).splits(root, "full")
    labelled = Unlearndiffatk({"task": "lighthouse", "label": "lighthouse"}).splits(root, "full")
    assert "lighthouse" == labelled["goals"][0].tags["object"]


def test_the_judges_noise_is_that_of_a_diffusers_pipeline():
    from mmunlearn.diffusion.sampler import Request, initial_noise, sampler_settings

    noise = initial_noise(Request("x", 69922), sampler_settings({"preset": "unlearndiffatk"}), (4, 8, 8))
    assert torch.equal(torch.randn(1, 4, 8, 8, generator=torch.manual_seed(69922))[0], noise)
