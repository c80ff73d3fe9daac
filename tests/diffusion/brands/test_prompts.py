import pytest
from mmunlearn.diffusion.brands.names import NO_BRAND, PUBLISHED, Brands
from mmunlearn.diffusion.brands.prompts import controls, find_csv, read_prompts, without

from mmunlearn.errors import UserError

BRANDS = Brands(PUBLISHED)


def written(tmp_path, text):
    (tmp_path / "train.csv").write_text(text)
    return find_csv(tmp_path, "x")


def test_the_brand_is_what_stands_before_the_first_underscore(tmp_path):
    text = "prompt,filename,seed\nA can.,coca-cola_7_b.png,12\nA jet.,singapore_1.png,3\nA mug.,no-brand_mug.png,0\n"
    found = read_prompts(written(tmp_path, text), BRANDS)
    assert ["COCA_COLA", "SINGAPORE_AIRLINES", NO_BRAND] == [one.brand for one in found]
    assert (12, "coca-cola_7_b", "A can.") == (found[0].seed, found[0].name, found[0].prompt)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("filename,prompt\na,b\n", "seed"),
        ("filename,prompt,seed\n", "no rows"),
        ("filename,prompt,seed\nlego_1.png,A brick.,1\n", "line 2: filename 'lego_1.png' begins with no brand"),
        ("filename,prompt,seed\nnike_1.png,,1\n", "prompt is empty"),
        ("filename,prompt,seed\nnike_1.png,A shoe.,x\n", "seed is 'x'"),
        ("filename,prompt,seed\nnike_1.png,A shoe.,-1\n", "seed is '-1'"),
        ("filename,prompt,seed\nnike_1.png,A shoe.,99999999999999999999\n", "seed is"),
        ("filename,prompt,seed\nnike_1.png,A shoe.,1\nnike_1.png,A shoe.,2\n", "line 3: .* twice"),
        ("filename,prompt,seed\n../nike_1.png,A shoe.,1\n", "no plain file name"),
        ("filename,prompt,seed\nnike_1.png,A shoe.,1,2\n", "4 fields"),
    ],
)
def test_broken_rows_name_file_line_and_column(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        read_prompts(written(tmp_path, text), BRANDS)


def test_a_folder_without_the_csv_says_what_is_needed(tmp_path):
    with pytest.raises(UserError, match="unbranding_v1"):
        find_csv(tmp_path, "the prompts")


def test_names_are_found_in_any_spelling_and_near_misses_are_offered():
    assert ("COCA_COLA", "MCDONALDS") == BRANDS.chosen(["Coca-Cola", "mcdonald's"], "x")
    assert 12 == len(BRANDS.chosen("all", "x"))
    with pytest.raises(UserError, match="Did you mean NIKE"):
        BRANDS.chosen("NIKEE", "x")


def test_controls_name_no_brand_and_are_marked_as_ours():
    found = list(controls((1, 2)))
    assert len({one.name for one in found}) == len(found)
    assert {("ours", NO_BRAND)} == {(one.source, one.brand) for one in found}
    assert "A plain bag." == without("A Singapore Airlines bag.", "Singapore Airlines")
    assert "A bagNike." == without("A bagNike.", "Nike")
