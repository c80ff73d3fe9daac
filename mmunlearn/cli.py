"""Command line: one `mmunlearn`, few verbs. A verb's code is imported when the verb is called, so help costs nothing.

Exit codes: 0 done; 2 the user's input is wrong; 1 a fault of ours; 130 interrupted, resumable.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from mmunlearn import __version__
from mmunlearn.errors import Interrupted, UserError, near_miss

# verb -> one line for the overview; a verb exists when `verbs/<verb>.py` does
VERBS = {
    "demo": "Unlearn on generated data in minutes and show the table (start here).",
    "list": "Names of methods, benchmarks, attacks, judges and metrics.",
    "show": "A benchmark's card or a component's documentation, in words.",
    "fetch": "Say what a benchmark's data is and verify a folder of it.",
    "check": "Resolve and validate the settings of a run; loads no weights.",
    "train": "Fit the model that is to be unlearned, or the retrained reference.",
    "unlearn": "Apply one method to a trained model.",
    "attack": "Attack a finished run.",
    "evaluate": "Score a finished run: respond, judge, reduce.",
    "reproduce": "Run a benchmark's table and print ours beside the paper's.",
    "report": "Table and HTML report from finished runs.",
    "judge": "Audit a judge on a labelled folder.",
    "grid": "Many runs from one file of settings and axes.",
}
DIRECT = {"list": "mmunlearn.verbs._listing"}  # modules that do a verb's plain forms without the parser
RESUMES = "Interrupted. The same command continues where it stopped."
FOLDER = Path(__file__).parent / "verbs"


def verbs() -> dict[str, str]:
    """The verbs that exist, with their one-line help."""
    return {verb: line for verb, line in VERBS.items() if (FOLDER / f"{verb}.py").is_file()}


def overview() -> str:
    """Help of the command as a whole."""
    table = verbs()
    lines = "\n".join(f"  {verb:<10} {line}" for verb, line in table.items())
    examples = [f"  mmunlearn {verb}" for verb in ("demo", "list") if verb in table]
    return (
        "Usage: mmunlearn VERB [OPTIONS] [section.field=value ...]\n\n"
        "  Make image classifiers, vision-language models and text-to-image models\n"
        "  forget, and find out whether they did.\n\n"
        f"Verbs:\n{lines}\n\n"
        "Options:\n"
        "  --debug    Show the traceback of an error.\n"
        "  --version  Show the version.\n"
        "  --help     Show this text; after a verb, that verb's help.\n\n"
        "Settings are given everywhere as --config file.yaml, then words such as\n"
        "method.beta=0.1, which are laid over the file.\n\n"
        "Examples:\n" + "\n".join(examples)
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's) and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    return guarded(lambda: _dispatch(words), debug=debug)


def call_guarded(module: ModuleType, verb: str, argv: Sequence[str]) -> int:
    """Run one verb's command for a script of its own (`python -m mmunlearn.vision.train`) and return its exit code."""
    words = [word for word in argv if word != "--debug"]
    return guarded(lambda: call(module, verb, words), debug="--debug" in argv)


def guarded(work: Callable[[], int], *, debug: bool) -> int:
    """Run `work`, turning errors into lines on stderr and exit codes."""
    _log_to_stderr(logging.DEBUG if debug else logging.WARNING)
    try:
        code = work()
        sys.stdout.flush()
        return code
    except (KeyboardInterrupt, Interrupted) as error:
        print(str(error) or RESUMES, file=sys.stderr)
        return Interrupted.exit_code
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UserError as error:
        if debug:
            _traceback()
        print(_at_most_four_lines(str(error)), file=sys.stderr)
        return UserError.exit_code
    except Exception as error:
        if debug:
            _traceback()
            return 1
        first = (str(error).strip().splitlines() or [""])[0]
        text = f"{type(error).__name__}: {first}" if first else type(error).__name__
        print(f"A fault of mmunlearn: {text} (--debug shows where)", file=sys.stderr)
        return 1


def _traceback() -> None:
    import traceback

    traceback.print_exc()


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    verb, *rest = words
    if verb.startswith("-"):
        raise UserError(f"mmunlearn: no such option {verb}. {near_miss(verb, ('--help', '--version', '--debug'))}")
    if verb not in verbs():
        raise UserError(f"mmunlearn: no such verb {verb!r}. {near_miss(verb, verbs())}")
    import importlib

    if verb in DIRECT and importlib.import_module(DIRECT[verb]).direct(rest):
        return 0
    return call(importlib.import_module(f"mmunlearn.verbs.{verb}"), verb, rest)


def call(module: ModuleType, verb: str, words: Sequence[str]) -> int:
    """Parse `words` for the verb's `command` function and run it; returns its exit code (None counts as 0)."""
    import typer

    parser = _parser(module.command, getattr(module, "EXAMPLES", ()))
    try:
        code = parser.main(args=list(words), prog_name=f"mmunlearn {verb}", standalone_mode=False)
    except typer.Abort as error:  # how some versions of the parser pass on Ctrl-C
        raise KeyboardInterrupt from error
    except typer.Exit as error:
        code = error.exit_code
    except Exception as error:
        # Usage errors are recognised by shape: their class moved between the parser's versions.
        if getattr(error, "exit_code", None) == 2 and hasattr(error, "format_message"):
            hint = f"See: mmunlearn {verb} --help"
            raise UserError(f"mmunlearn {verb}: {_usage(error, parser)}\n{hint}") from None
        raise
    if code == Interrupted.exit_code:  # how other versions of it do
        raise KeyboardInterrupt
    return int(code or 0)


def _parser(command: Callable, examples: Sequence[str]):
    import typer

    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples) if examples else None
    app.command(epilog=epilog)(command)
    return typer.main.get_command(app)


def _usage(error: Any, parser) -> str:
    option = getattr(error, "option_name", "")
    if option and "such option" in str(error).lower() + error.format_message().lower():
        known = [name for parameter in parser.params for name in parameter.opts if name.startswith("-")]
        return f"no such option {option}. {near_miss(option, [*known, '--help', '--debug'])}"
    text = error.format_message()
    return text[:1].lower() + text[1:]


def _at_most_four_lines(text: str) -> str:
    lines = text.strip().splitlines()
    return "\n".join(lines if len(lines) <= 4 else [*lines[:3], f"… ({len(lines) - 3} more lines)"])


class _Warnings(logging.Handler):
    """Log records on stderr through rich, which is imported when there is something to say."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            from rich.console import Console
            from rich.text import Text

            style = "red" if record.levelno >= logging.ERROR else "yellow" if record.levelno >= logging.WARNING else ""
            text = Text(f"{record.levelname.lower()}: ", style=style) + Text(self.format(record))
            Console(stderr=True, soft_wrap=True).print(text)
        except Exception:
            self.handleError(record)


def _log_to_stderr(level: int) -> None:
    logger = logging.getLogger("mmunlearn")
    if not any(isinstance(handler, _Warnings) for handler in logger.handlers):
        logger.addHandler(_Warnings())
    logger.setLevel(level)
