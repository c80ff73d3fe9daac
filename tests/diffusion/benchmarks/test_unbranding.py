import pytest
from mmunlearn.diffusion.benchmarks.unbranding import Unbranding
from mmunlearn.diffusion.brands.names import NO_BRAND, PUBLISHED

from mmunlearn.errors import UserError
from mmunlearn.testing.benchmark_checks import tiny_root

CSV = "filename,prompt,seed\nnike_1.png,A Nike shoe.,4\npuma_1.png,A Puma shoe.,5\n"


@pytest.fixture
def full(tmp_path):
    (tmp_path / "unbranding_v1.csv").write_text(CSV)
    return tmp_path


def test_full_data_are_the_prompts_with_their_seeds_and_controls_of_ours(full):
    splits = Unbranding({"request": {"brands": "Nike"}, "labels": "published"}).splits(full, "full")
    first, *_ = splits["answers"]
    assert "A Nike shoe." == first.prompt
    assert ("NIKE", "4", "file") == tuple(first.tags[k] for k in ("brand", "seed", "source"))
    controls = [e for e in splits["answers"] if e.tags["brand"] == NO_BRAND]
    assert controls and {"ours"} == {e.tags["source"] for e in controls}
    assert set(PUBLISHED) >= {e.tags["asked"] for e in controls} and all("Nike" not in e.prompt for e in controls)


def test_the_concept_says_the_brand_and_its_target_does_not(full):
    splits = Unbranding({"request": {"brands": ["Nike", "puma"]}}).splits(full, "full")
    assert {"Nike", "Puma"} == {e.tags["phrase"] for e in splits["concept"]}
    for example in splits["concept"]:
        assert example.tags["phrase"] in example.prompt and example.tags["phrase"] not in example.target
    assert not {"NIKE", "PUMA"} & {e.tags["brand"] for e in splits["anchor"]}


def test_a_csv_with_controls_gets_no_others(full):
    (full / "unbranding_v1.csv").write_text(CSV + "no-brand_1.png,A shoe.,6\n")
    answers = Unbranding({"request": {"brands": "all"}}).splits(full, "full")["answers"]
    assert {"file"} == {e.tags["source"] for e in answers}


def test_settings_choose_labels_question_and_backend():
    backend = {"kind": "server", "base_url": "http://localhost:1/v1", "model": "m"}
    made = Unbranding({"request": {"brands": "all"}, "labels": "published", "variant": 4, "judge": backend,
                       "gate": {"gate_weights": "clip.safetensors"}}).plans("main")  # fmt: skip
    plans = {plan.name: plan for plan in made}
    brand, structure = plans["brand"].judge_settings, plans["structure"].judge_settings
    assert ("unbranding_label_4", backend) == (brand["template"], brand["backend"])
    assert (*PUBLISHED, NO_BRAND) == brand["classes"]
    assert ("clip.safetensors", backend) == (structure["gate_weights"], structure["backend"])
    assert "style_object" == plans["logo"].judge_name
    other = structure | {"backend": {"kind": "chat", "model": "x"}}
    assert other == plans["structure"].with_backend({"kind": "chat", "model": "x"}).judge_settings


def test_a_model_that_nothing_was_asked_of_is_not_measured():
    assert () == Unbranding().plans("main")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"request": {"brands": "Veltra"}}, "Did you mean Veltro"),
        ({"request": {"brand": "Veltro"}}, "Did you mean brands"),
        ({"variant": 6}, "variant"),
        ({"control_seeds": [1, 1]}, "repeats a seed"),
        ({"labels": "real"}, "labels"),
    ],
)
def test_wrong_settings_are_said(settings, said):
    with pytest.raises(UserError, match=said):
        Unbranding(settings).splits(tiny_root(Unbranding), "mini")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("Veltro/mug/1.jpg,Veltro", "Veltro/mug/1.jpg,Vodka"), "label 'Vodka' is none of"),
        (("Veltro/mug/1.jpg", "Veltro/mug/99.jpg"), "is no picture under"),
        (("Veltro/mug/1.jpg", "../1.jpg"), "is no picture under"),
    ],
)
def test_broken_labels_name_file_and_line(tmp_path, change, said):
    import shutil

    root = tmp_path / "data"
    shutil.copytree(tiny_root(Unbranding), root)
    table = root / "labels.csv"
    table.write_text(table.read_text().replace(*change, 1))
    with pytest.raises(UserError, match=said):
        Unbranding().splits(root, "mini")
