"""Nested state as safetensors and JSON: round trip, and damage named."""

import pytest
import torch

from mmunlearn.checkpoint import read_state, write_state
from mmunlearn.errors import UserError


def test_state_comes_back_bit_equal(tmp_path):
    shared = torch.arange(6.0).reshape(2, 3)
    state = {
        "a": {0: shared, 1: shared.t(), "scalar": torch.tensor(3), "bf16": torch.tensor([1.5], dtype=torch.bfloat16)},
        "list": [1, None, "x", {"deep": shared[0]}], "nan": float("nan"), "empty": {}, "none": torch.empty(0, 3),
        "last": torch.randn(1, 3, 4, 4).to(memory_format=torch.channels_last),
    }  # fmt: skip
    write_state(tmp_path, state)
    back = read_state(tmp_path)
    assert list(state) == list(back) and [0, 1, "scalar", "bf16"] == list(back["a"])
    for key, tensor in state["a"].items():
        assert torch.equal(tensor, back["a"][key]) and tensor.dtype == back["a"][key].dtype
    assert torch.equal(state["last"], back["last"]) and (0, 3) == back["none"].shape
    assert [1, None, "x"] == back["list"][:3] and torch.equal(shared[0], back["list"][3]["deep"])
    assert back["nan"] != back["nan"] and {} == back["empty"]
    assert ["state.json", "state.safetensors"] == sorted(f.name for f in tmp_path.iterdir())


def test_an_optimisers_state_comes_back(tmp_path):
    layer = torch.nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    write_state(tmp_path, optimiser.state_dict())
    twin = torch.optim.AdamW(layer.parameters(), lr=0.5)
    twin.load_state_dict(read_state(tmp_path))
    assert 0.1 == twin.param_groups[0]["lr"]
    for parameter in layer.parameters():
        for name, value in optimiser.state[parameter].items():
            assert torch.equal(value, twin.state[parameter][name])


@pytest.mark.parametrize("file", ("state.json", "state.safetensors"))
@pytest.mark.parametrize("damage", (lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"{}", lambda b: b"\x80\x04."))
def test_damage_is_named(file, damage, tmp_path):
    write_state(tmp_path, {"a": torch.ones(3)})
    (tmp_path / file).write_bytes(damage((tmp_path / file).read_bytes()))
    with pytest.raises(UserError, match="damaged checkpoint"):
        read_state(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="damaged checkpoint"):
        read_state(tmp_path)
