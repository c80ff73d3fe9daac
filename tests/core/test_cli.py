"""The command line: start-up without heavy imports, exit codes, near misses, help whose examples parse."""

import importlib
import logging
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import typer

from mmunlearn import __version__, cli
from mmunlearn.errors import UserError

HEAVY = ("torch", "numpy", "pydantic", "rich", "yaml")


def module(command, name: str = "made_up", **more) -> ModuleType:
    made = ModuleType(name)
    made.command = command
    for key, value in more.items():
        setattr(made, key, value)
    return made


@pytest.mark.parametrize("words", [["--help"], [], ["--version"], ["list"], ["list", "methods", "--json"]])
def test_help_and_list_import_nothing_heavy(command, words: list[str]) -> None:
    code = (
        "import sys; from mmunlearn.cli import main; code = main(sys.argv[1:]); "
        f"print([m for m in {HEAVY!r} if m in sys.modules], code, file=sys.stderr)"
    )
    done = command(["-c", code, *words])
    assert "[] 0" == done.stderr.strip()
    assert done.stdout.strip()


def test_overview_lists_exactly_the_verbs_whose_file_exists(capsys) -> None:
    assert 0 == cli.main(["--help"])
    listed = re.findall(r"^  ([a-z]+) {2,}\S", capsys.readouterr().out, re.MULTILINE)
    assert list(cli.verbs()) == listed
    files = {path.stem for path in cli.FOLDER.glob("*.py")} - {"__init__", "options"}
    assert {name for name in files if not name.startswith("_")} == set(listed)


def test_version(capsys) -> None:
    assert 0 == cli.main(["--version"])
    assert __version__ == capsys.readouterr().out.strip()


@pytest.mark.parametrize("verb", list(cli.verbs()))
def test_every_verb_has_help_that_ends_with_commands(verb: str, capsys) -> None:
    assert 0 == cli.main([verb, "--help"])
    out = capsys.readouterr().out
    examples = out.partition("Examples:")[2].strip().splitlines()
    assert 2 <= len(examples)
    assert all(line.strip().startswith(f"mmunlearn {verb}") for line in examples)


@pytest.mark.parametrize("verb", list(cli.verbs()))
def test_examples_parse(verb: str) -> None:
    made = importlib.import_module(f"mmunlearn.verbs.{verb}")
    for example in made.EXAMPLES:
        parser = cli._parser(made.command, ())
        parser.make_context(verb, shlex.split(example)[2:])  # raises a usage error where it does not parse


def test_unknown_verb_gets_a_near_miss(capsys) -> None:
    assert 2 == cli.main(["lits"])
    assert "mmunlearn: no such verb 'lits'. Did you mean list?\n" == capsys.readouterr().err


def test_unknown_option_before_the_verb_gets_a_near_miss(capsys) -> None:
    assert 2 == cli.main(["--hlep"])
    assert "Did you mean --help?" in capsys.readouterr().err


def test_unknown_option_of_a_verb_gets_a_near_miss_and_the_help(capsys) -> None:
    assert 2 == cli.main(["report", "x", "--fromat", "md"])
    err = capsys.readouterr().err
    assert err.startswith("mmunlearn report: no such option --fromat. Did you mean --format")
    assert err.endswith("?\nSee: mmunlearn report --help\n")


def test_missing_argument_is_the_users_mistake(capsys) -> None:
    assert 2 == cli.main(["report"])
    assert "missing argument" in capsys.readouterr().err


def test_unknown_kind_of_component_gets_a_near_miss(capsys) -> None:
    assert 2 == cli.main(["list", "metod"])
    assert "'metod' is not a kind of component. Did you mean method" in capsys.readouterr().err


def test_word_that_is_no_setting_is_refused(capsys) -> None:
    assert 2 == cli.main(["check", "benchmark.name=mufac", "lr"])
    assert "'lr' is not a setting. Write section.field=value" in capsys.readouterr().err


def test_settings_file_that_is_missing_is_named(capsys, tmp_path: Path) -> None:
    assert 2 == cli.main(["check", str(tmp_path / "none.yaml")])
    assert f"{tmp_path / 'none.yaml'}: no such file." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (UserError("a\nb"), 2, ["a", "b"]),
        (UserError("\n".join("abcdef")), 2, ["a", "b", "c", "… (3 more lines)"]),
        (
            RuntimeError("lost\nmore"),
            1,
            ["A fault of mmunlearn: RuntimeError: lost (--debug shows where)"],
        ),
        (KeyboardInterrupt(), 130, [cli.RESUMES]),
    ],
)
def test_errors_become_lines_and_exit_codes(error, code: int, lines: list[str], capsys) -> None:
    def command() -> None:
        raise error

    assert code == cli.call_guarded(module(command), "made_up", [])
    assert lines == capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(("error", "code"), [(UserError("wrong"), 2), (RuntimeError("lost"), 1)])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(error, code: int, capsys) -> None:
    def command() -> None:
        raise error

    assert code == cli.call_guarded(module(command), "made_up", ["--debug"])
    assert "Traceback" in capsys.readouterr().err


def test_a_verbs_number_is_the_exit_code() -> None:
    def command() -> int:
        return 1

    assert 1 == cli.call(module(command), "made_up", [])


def test_options_and_words_may_be_mixed() -> None:
    seen = {}

    def command(words: list[str] = typer.Argument(None), out: str = typer.Option("")) -> None:
        seen.update(words=words, out=out)

    assert 0 == cli.call(module(command), "made_up", ["a.b=1", "--out", "x", "c.d=[1, 2]"])
    assert {"words": ["a.b=1", "c.d=[1, 2]"], "out": "x"} == seen


def test_warnings_of_the_library_reach_stderr(capsys) -> None:
    def command() -> None:
        logging.getLogger("mmunlearn.made_up").warning("look out")
        logging.getLogger("mmunlearn.made_up").info("not this")

    assert 0 == cli.call_guarded(module(command), "made_up", [])
    captured = capsys.readouterr()
    assert "warning: look out\n" == captured.err
    assert "" == captured.out


def test_reader_that_has_seen_enough_is_no_error(command) -> None:
    code = (
        "import os, sys; read, write = os.pipe(); os.close(read); os.dup2(write, 1); "
        "from mmunlearn.cli import main; sys.exit(main(['list']))"
    )
    done = command(["-c", code])
    assert (0, "") == (done.returncode, done.stderr)
