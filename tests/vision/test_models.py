"""Networks by name and weights from files: seeded, strict, nothing executed."""

import pickle

import pytest
import torch
from mmunlearn.vision.models import load_weights, make_network

from mmunlearn.errors import UserError
from mmunlearn.weights_file import read_weights

SMALL = "timm/test_resnet"


def state(seed=0, outputs=4):
    return make_network(SMALL, outputs, seed=seed).state_dict()


def test_weights_are_a_function_of_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, two, other = state(0), state(0), state(1)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["fc.weight"], other["fc.weight"])


@pytest.mark.parametrize(
    ("name", "message"),
    (
        ("resnet18", "Write timm/<model>"), ("keras/x", "Write timm/<model>"), ("timm/resnet10s", "Did you mean"),
        ("torchvision/resnet19", "Did you mean"),
    ),
)  # fmt: skip
def test_unknown_names_are_named(name, message):
    with pytest.raises(UserError, match=message):
        make_network(name, 4, seed=0)


@pytest.mark.parametrize("name", (SMALL, "torchvision/resnet18"))
def test_unknown_options_are_named(name):
    with pytest.raises(UserError, match=r"model\.options"):
        make_network(name, 4, seed=0, options={"no_such": 1})


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_no_code_of_a_weights_file_runs(tmp_path, capsys):
    torch.save({"w": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pth", "evil.pkl"):
        with pytest.raises(UserError, match="refused"):
            read_weights(tmp_path / name)
    assert "executed" not in capsys.readouterr().out


def test_plain_files_of_tensors_are_read_and_unwrapped(tmp_path):
    wanted = state()
    for content in (wanted, {"state_dict": wanted}, {"model": {f"module.{k}": v for k, v in wanted.items()}}):
        torch.save(content, tmp_path / "w.pth")
        read = read_weights(tmp_path / "w.pth")
        assert wanted.keys() == read.keys() and all(torch.equal(wanted[k], read[k]) for k in wanted)
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "x.safetensors").write_bytes(b"no")
    for name in ("list.pth", "x.safetensors", "absent.pth"):
        with pytest.raises(UserError, match=name):
            read_weights(tmp_path / name)


def test_weights_of_another_model_are_refused_with_the_difference():
    network = make_network(SMALL, 4, seed=0)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(UserError, match="has \\(4"):
        load_weights(network, state(outputs=5), "other.safetensors")
    short = state()
    gone = short.popitem()[0]
    with pytest.raises(UserError, match=f"1 tensors are missing .first: {gone}"):
        load_weights(network, short, "short.safetensors")
    with pytest.raises(UserError, match=r"1 are left over .first: extra"):
        load_weights(network, state() | {"extra": torch.ones(1)}, "long.safetensors")
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_published_multi_label_heads_are_read():
    network = make_network("torchvision/resnet18", 3, seed=0)
    other = make_network("torchvision/resnet18", 3, seed=1).state_dict()
    load_weights(network, {k.replace("fc.", "fc.fc."): v for k, v in other.items()}, "mucac.pth")
    assert torch.equal(other["fc.weight"], network.fc.weight)
