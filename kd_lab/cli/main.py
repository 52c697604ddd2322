"""The `kd-lab` command. Heavy imports wait until they are needed: help, listings and mistakes answer at once."""

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress

from kd_lab import __version__
from kd_lab.cli import manual
from kd_lab.errors import TrainingFailedError, UserError, choices, masked
from kd_lab.outside.nodes import trust
from kd_lab.outside.text import visible
from kd_lab.outside.torchrun import place
from kd_lab.sweep.endings import end_in_peace, leave


def main() -> None:
    """Entry point of the console script."""
    of_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    code = _of_torchrun(sys.argv[1:]) if of_torchrun else _main(sys.argv[1:], end_in_peace)
    end_in_peace(code)
    if "torch" in sys.modules:
        leave(code)
    sys.exit(code)


def _of_torchrun(arguments: list[str]) -> int:
    """What one of the processes that torchrun started does: the first one all, the others train with it."""
    try:
        own = place()
    except UserError as error:
        return _complain(error, 2) if os.environ["RANK"] == "0" else 2
    if own is None:
        return _main(arguments, end_in_peace)
    from kd_lab.training.ranks import Ranks, serve

    if own.rank > 0:
        os.environ["PYTHONSAFEPATH"] = "1"
        return serve(own)
    try:
        return _main(arguments, end_in_peace)
    finally:
        with suppress(RuntimeError):  # torchrun, and with it its store, may be gone
            Ranks(own).end()


def _main(arguments: list[str], at_end: Callable[[int], None] | None = None) -> int:
    """The exit code. at_end: called with it where an interruption is about to be told and the process ends with it."""
    if (told := manual.asked(arguments)) is not None:
        print(told, end="")  # noqa: T201
        return 0
    if arguments and arguments[0] == "--version":
        print(f"kd-lab {__version__}")  # noqa: T201
        return 0
    # Python itself would put the folder that one stands in before its own modules, in every process started from here.
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        arguments = trusting(arguments)
        return _command(arguments)(arguments)
    except UserError as error:
        return _complain(error, 2)
    except TrainingFailedError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        if at_end is not None:
            try:
                at_end(130)
            except KeyboardInterrupt:  # Python hears of one that came meanwhile when the next function is called
                at_end(130)
        return _complain("interrupted; what was measured so far is kept", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def trusting(arguments: list[str]) -> list[str]:
    """The arguments without `trust=my_module`, which from now on counts in this process and those that it starts."""
    for argument in arguments:
        if argument.startswith("trust="):
            trust(argument.removeprefix("trust="))
    return [argument for argument in arguments if not argument.startswith("trust=")]


def _command(arguments: list[str]) -> Callable[[list[str]], int]:
    from kd_lab.cli import commands, compare, export, import_recipe, listing, notebook, sync

    named = {
        "list": listing.list_choices,
        "ui": commands.ui,
        "evaluate": commands.evaluate,
        "predict": commands.predict,
        "export": export.export,
        "doctor": commands.doctor,
        "compare": compare.compare,
        "import-recipe": import_recipe.import_recipe,
        "notebook": notebook.notebook,
        "sync": sync.sync,
    }
    first = arguments[0] if arguments else ""
    if re.fullmatch("[A-Za-z]+(-[A-Za-z]+)*", first) and first not in named:
        told = choices(first, list(named))
        raise UserError(f"{first}: no such command, and no override of the form key=value; {told}")
    return named.get(first, commands.run)


def _complain(error: object, code: int) -> int:
    print(visible(f"kd-lab: {masked(str(error))}"), file=sys.stderr)  # noqa: T201
    return code
