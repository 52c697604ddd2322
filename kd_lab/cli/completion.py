"""Completion in the shell: what Hydra knows of the config, and commands, studies, run ids, settings of the loss.

`kd-lab -sc install=bash` prints Hydra's own function for the shell, which asks `kd-lab -sc query=bash` at every TAB.
"""

import io
import os
import re
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress

from hydra.core.global_hydra import GlobalHydra
from hydra.plugins.completion_plugin import DefaultCompletionPlugin

from kd_lab.cli.manual import OF_COMMAND
from kd_lab.job.aliases import ALIASES
from kd_lab.job.arguments import expand
from kd_lab.job.catalogue import NETWORKS, choices_of, groups
from kd_lab.job.compose import Composer, composing
from kd_lab.outside.address import is_server
from kd_lab.store.location import LOCAL

HARMLESS = re.compile(r"[\w./:=,+@%\[\]-]+")
"""The shell expands the words that it is given: names from a store may hold nothing that it would run."""
INSIDE = {*ALIASES.values(), "hydra", "tuned", "published"}
"""What nobody chooses by itself: there is student/recipe=, and no recipe=."""
MOST_RUNS = 50
OF_COMPARE = ("metric=", "against=", "where=", "mix=", "format=", "--out", "tracking.uri=")
WORDS = {
    "evaluate": ("run=", "trainer=", "weights=", "dataset=", "dataset.path=", "tracking.uri="),
    "predict": ("run=", "out=", "tracking.uri="),
    "export": (
        "run=",
        *(f"format={name}" for name in ("onnx", "int8", "torch_export", "safetensors")),
        *("out=", "weights=", "tolerance=", "licence=", "overwrite=true", "tracking.uri="),
    ),
    "notebook": ("tracking.uri=",),
    "import-recipe": ("out=",),
    "ui": ("port=", "tracking.uri="),
    "sync": ("tracking.uri=",),
}


@contextmanager
def silenced() -> Iterator[None]:
    """Hydra's function for the shell, with what goes to standard error left out: it would come into the prompt."""
    told = io.StringIO()
    with redirect_stdout(told):
        yield
    print(re.sub(r"-sc query=\w+", r"\g<0> 2>/dev/null", told.getvalue()), end="")  # noqa: T201


def complete(options: Namespace) -> int:
    """Print what the last word of the line may become. Whatever is wrong, nothing is said of it."""
    separator = "\n" if "query=fish" in options.overrides else " "
    found: list[str] = []
    # What is wrong in a line that is not finished is nobody's mistake.
    with suppress(Exception, SystemExit), redirect_stderr(io.StringIO()), warnings.catch_warnings(action="ignore"):
        line = DefaultCompletionPlugin.strip_python_or_app_name(os.environ["COMP_LINE"])
        with composing(options) as compose:
            found = candidates(line, compose, options.config_name)
    print(separator.join(found))  # noqa: T201
    return 0


def candidates(line: str, compose: Composer, config: str = "config") -> list[str]:
    """What the last word of a line may become.

    Args:
        line: what stands before the cursor, without the name of the program.
        compose: of the config.
        config: its name.
    """
    before = line.split()
    word = before.pop() if before and not line[-1].isspace() else ""
    command = before[0] if before and before[0] in OF_COMMAND else None
    if command in (None, "doctor"):
        words = before[1:] if command else before
        found = [*_of_job(words, word, compose, config), *([] if before else OF_COMMAND)]
    elif command == "list":
        named = word.partition("=")[0]
        group = "model" if named in NETWORKS else named
        found = [*groups(), *NETWORKS]
        if "=" in word and group in groups():
            found = [f"{named}={name}" for name in choices_of(group)]
    else:
        found = list(_of_store(command, before, word))
    return sorted({one for one in found if one.startswith(word) and HARMLESS.fullmatch(one)})


def _of_job(before: Sequence[str], word: str, compose: Composer, config: str) -> Iterator[str]:
    """Overrides: Hydra's, the short form of the only loss, and runs to take a teacher from."""
    if word.startswith("teacher.weights="):
        yield from ("teacher.weights=pretrained", *(f"teacher.weights=run:{run}" for run in _runs(before)))
        return
    with suppress(Exception, SystemExit):
        of_hydra = DefaultCompletionPlugin(GlobalHydra.instance().config_loader())
        found = of_hydra._query(config, " ".join([*expand(list(before)), word]))
        yield from (one for one in found if one.rstrip("=/.") not in INSIDE)
    with suppress(Exception):
        whole = compose.whole([one for one in before if not one.startswith("-")])
        yield from (f"{group}=" for group in whole.hydra.runtime.choices if group.partition("/")[0] not in INSIDE)
        terms = whole.loss.terms
        for key, value in next(iter(terms.values())).items() if len(terms) == 1 else ():
            typed = f"loss.{key}="
            if not key.startswith("_"):
                yield f"{typed}{value}" if word.startswith(typed) else typed


def _of_store(command: str, before: Sequence[str], word: str) -> Iterator[str]:
    """The words of a command that looks into a store."""
    if command in {"evaluate", "predict", "export"} and word.startswith("run="):
        yield from (f"run={run}" for run in _runs(before))
    elif command == "evaluate" and word.startswith("trainer="):
        yield from (f"trainer={name}" for name in choices_of("trainer"))
    elif command == "evaluate" and word.startswith("dataset="):
        yield from (f"dataset={name}" for name in choices_of("dataset"))
    elif command == "compare":
        yield from OF_COMPARE
        yield from _studies(before)
    else:
        yield from WORDS.get(command, ())


def _studies(before: Sequence[str]) -> list[str]:
    from kd_lab.names import STUDENT
    from kd_lab.store.reading import reading

    with suppress(Exception), reading(_uri(before)) as reader:
        return [name for key, name in reader.studies().items() if reader.has_role(key, STUDENT)]
    return []


def _runs(before: Sequence[str]) -> list[str]:
    from kd_lab.store.reading import reading
    from kd_lab.store.records import SqliteReader

    with suppress(Exception), reading(_uri(before)) as reader:
        return reader.newest_networks(MOST_RUNS) if isinstance(reader, SqliteReader) else []
    return []


def _uri(before: Sequence[str]) -> str:
    """The store of this line, if it is a file: nobody waits for a server at a TAB."""
    named = [word.partition("=")[2] for word in before if word.startswith("tracking.uri=")]
    uri = named[-1] if named else LOCAL
    if is_server(uri):
        raise ValueError(uri)
    return uri
