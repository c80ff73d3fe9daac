"""What accelerate's launcher was asked for, and when it left processes out."""

import pytest

from mmunlearn import processes

LAUNCH = ["python", "accelerate", "launch"]


@pytest.mark.parametrize(
    ("words", "expected"),
    (
        (["--num_processes", "2", "--cpu", "-m", "mmunlearn.vision.train"], 2),
        (["--num-processes=4", "-m", "mmunlearn.vision.train"], 4),
        (["--num_processes", "4", "--num_machines", "2", "-m", "x"], None),
        (["--cpu", "-m", "x", "--num_processes", "3"], None),
        (["-m", "x"], None),
        (["--num_processes"], None),
    ),
)
def test_the_number_is_read_from_the_launchers_words(words, expected):
    assert expected == processes.asked_for(LAUNCH + words)
    assert expected == processes.asked_for(["python", "-m", "accelerate.commands.launch", *words])


ALONE = {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "True"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    (
        (ALONE, [["-m", "a.train", "x=1"]]),
        (ALONE | {"LOCAL_RANK": "0"}, []),
        (ALONE | {"PMI_RANK": "0"}, []),
        ({"MASTER_ADDR": "127.0.0.1"}, []),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, []),
    ),
)
def test_only_a_process_left_alone_starts_the_others(environment, expected, monkeypatch):
    for name in ("LOCAL_RANK", "RANK", "PMI_RANK", *ALONE):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    started = []
    monkeypatch.setattr("os.execv", lambda _, words: started.append(words))
    monkeypatch.setattr(processes, "_parent", lambda: [*LAUNCH, "--num_processes", "2"])
    processes.start_missing("a.train", ["x=1"])
    assert expected == [words[-3:] for words in started]
    assert all("2" == words[words.index("--nproc_per_node") + 1] for words in started)


def test_a_number_that_is_not_found_is_told(monkeypatch, caplog):
    for name in ("LOCAL_RANK", "RANK", "PMI_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "_parent", lambda: LAUNCH)
    processes.start_missing("a.train", [])
    assert "torch.distributed.run --nproc_per_node N -m a.train" in caplog.text
