"""The `kd-lab` command. Heavy imports wait until they are needed: help, listings and mistakes answer at once."""

import os
import sys
from collections.abc import Callable

from kd_lab import __version__
from kd_lab.errors import TrainingFailedError, UserError, masked
from kd_lab.outside.nodes import trust
from kd_lab.outside.text import visible
from kd_lab.sweep.endings import leave

HELP = """\
kd-lab: train a teacher, distil it into a small student, and measure what the student gained.

  kd-lab [KEY=VALUE ...]             teacher -> student alone -> distilled student -> table
  kd-lab -m seed=0,1,2 [...]         a sweep: every combination of the comma-separated values; what is done already
                                     is not done again; sweep.jobs=4: four at once; sweep=NAME: a grid with a name
  kd-lab -m sweep=optuna [...]       a search: chosen on validation (dataset.validation=100), then run with five seeds
  kd-lab compare [STUDY ...] [...]   which arm is best, and is the difference real? --out DIR writes tables
  kd-lab doctor [KEY=VALUE ...]      what would be compared, and how strongly each term pulls; trains nothing
  kd-lab evaluate run=ID [...]       measure a finished run's network again, here
  kd-lab sync [tracking.uri=URI]     bring runs that were kept while a server was away to that server
  kd-lab list [GROUP]                what can be chosen, one line each
  kd-lab ui [port=5000]              MLflow's own pages on the same runs

Choose parts:   dataset=digits teacher=ensemble student=mlp loss=kd trainer=cpu tracking=local experiment=article
Change values:  student.recipe.epochs=50 student.recipe.optimizer.lr=1e-3 loss.temperature=4 loss.hard_weight=0.1
                dataset.path=my.npz dataset.labels=100 teacher.weights=run:ID baseline=false study=NAME seed=1
Your own class: student._target_=my_module.Net +student.width=64
Runs of others: trust=my_module lets a run of a store name a class of yours; no other code is taken from a store
Compare:        metric=test/nll_nats against=dkd where=loss=kd mix=teacher,budget format=markdown tracking.uri=URI

  kd-lab --cfg job [...]             the whole config that these choices make, without running it
  eval "$(kd-lab -sc install=bash)"  completion of all this in the shell (also zsh, fish)
  kd-lab --version

Exit codes: 0 done, 1 training failed, 2 wrong input, 130 interrupted.
"""


def main() -> None:
    """Entry point of the console script."""
    code = _main(sys.argv[1:])
    if "torch" in sys.modules:
        leave(code)
    sys.exit(code)


def _main(arguments: list[str]) -> int:
    if arguments[:1] == ["help"] or {"-h", "--help"} & set(arguments):
        print(HELP, end="")  # noqa: T201
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
    from kd_lab.cli import commands, compare, sync

    named = {
        "list": commands.list_choices,
        "ui": commands.ui,
        "evaluate": commands.evaluate,
        "doctor": commands.doctor,
        "compare": compare.compare,
        "sync": sync.sync,
    }
    return named.get(arguments[0], commands.run) if arguments else commands.run


def _complain(error: object, code: int) -> int:
    print(visible(f"kd-lab: {masked(str(error))}"), file=sys.stderr)  # noqa: T201
    return code
