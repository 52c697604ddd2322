"""The subcommands: run (single and sweep), doctor, ui, predict, evaluate."""

import gc
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from kd_lab.cli.server import HOST, free_port, serve
from kd_lab.errors import UserError, choices
from kd_lab.job.aliases import register
from kd_lab.job.arguments import expand, parse
from kd_lab.job.catalogue import choices_of, conf_dir
from kd_lab.job.compose import Config, check_complete, composing
from kd_lab.job.mistakes import COMPOSING
from kd_lab.job.offline import other_store
from kd_lab.outside.address import without_login
from kd_lab.outside.scratch import scratch
from kd_lab.store.location import LOCAL, Location
from kd_lab.sweep.endings import end_like_interrupt
from kd_lab.sweep.sweep import Sweep


def run(arguments: list[str]) -> int:
    """A job, or a sweep of jobs (-m); or what Hydra shows of them. Returns the exit code."""
    options = parse(arguments)
    if options.showing:
        return _show(options, arguments)
    end_like_interrupt()
    if not options.multirun:
        for override in options.overrides:
            if override.startswith("sweep="):
                raise UserError(f"{override}: is a grid of jobs; expected -m before it: kd-lab -m {override}")
        return _single(options, job)
    from kd_lab.sweep.multirun import multirun

    with composing(options) as compose, Sweep(arguments) as sweep:
        multirun(options.overrides, compose)
    return sweep.exit_code


def doctor(arguments: list[str]) -> int:
    """`kd-lab doctor [KEY=VALUE ...]`: what the job would compare and how strongly each term pulls; trains nothing."""
    options = parse(arguments[1:])
    if options.multirun:
        raise UserError("doctor: looks at one job; leave -m away")
    return _show(options, arguments[1:]) if options.showing else _single(options, examine)


def _single(options: Namespace, task: Callable[[Config], None]) -> int:
    with composing(options) as compose:
        config = compose.single(options.overrides, "-m before it, or a list: [...]")
    tell_other_store(str(config["tracking"]["uri"]))
    task(config)
    return 0


def _show(options: Namespace, arguments: list[str]) -> int:
    """--cfg, --info, completion: Hydra's own, which reads the command line of this process."""
    import hydra

    from kd_lab.cli import completion

    register()
    shell = options.shell_completion
    if shell and any(override.startswith("query=") for override in options.overrides):
        return completion.complete(options)
    expanded = options.overrides if shell else expand(options.overrides)
    own = [argument for argument in arguments if argument not in options.overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # what is wrong comes back as an exception
    sys.argv = [sys.argv[0], *own, *expanded]
    try:
        with completion.silenced() if shell else nullcontext():
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(lambda _: None)()
    except COMPOSING as error:
        with composing(options) as compose:
            compose(options.overrides)
        raise UserError(" ".join(str(error).split())) from error
    return 0


def job(config: Config) -> None:
    """A single job: a composed config to a result."""
    with starting():
        from kd_lab.job.api import run_alone
        from kd_lab.job.console import Reporter
    run_alone(config, Reporter())


def examine(config: Config) -> None:
    """One job, looked at instead of run."""
    with starting():
        from kd_lab.job.doctor import doctor as look
    check_complete(config)
    look(config)


@contextmanager
def starting() -> Iterator[None]:
    """A spinner for the seconds that importing torch, Lightning and MLflow takes.

    Without garbage collection meanwhile: it looks through millions of new objects again and again, all in use, and
    costs a quarter of the time (6.3 s against 4.9 s with torch 2.15, MLflow 3.17).
    """
    from kd_lab.outside.console import console

    collecting = gc.isenabled()
    gc.disable()
    try:
        with console(stderr=True).status("starting") if sys.stderr.isatty() else nullcontext():
            yield
    finally:
        if collecting:
            gc.enable()


def ui(arguments: list[str]) -> int:
    """`kd-lab ui [port=5000] [tracking.uri=URI]`: MLflow's own server on the store, until Ctrl-C."""
    options = options_of(arguments[1:], {"port": "5000", "tracking.uri": LOCAL})
    uri = options["tracking.uri"]
    tell_waiting(uri)
    store = with_runs(uri)
    if store.database is None:
        print("That store is a server already, open:")  # noqa: T201
        _pages(uri, uri)
        return 0
    port = free_port(options["port"])
    server = f"http://{HOST}:{port}"
    print(f"{server}  (Ctrl-C ends it)", flush=True)  # noqa: T201
    _pages(uri, server)
    # For one person: four servers and those for language-model jobs take three times as long to start.
    # The address in full: the server stands elsewhere.
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store.uri, "--port", str(port)]
    command += ["--artifacts-destination", str(Path.cwd() / "mlartifacts"), "--workers", "1"]
    command += ["--registry-store-uri", store.uri, "--uvicorn-opts", "--no-access-log --log-level warning"]
    own = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"} | os.environ
    # Its web server imports from the folder that it stands in before all else, whatever Python is told.
    with scratch() as folder:
        return serve(command, folder, own)


def with_runs(uri: str) -> Location:
    """The store; one that is a file has to be there.

    Raises:
        UserError: it is not.
    """
    store = Location.parse(uri)
    if store.database is not None and not store.database.exists():
        raise UserError(
            f"tracking.uri={uri}: no runs here yet; expected the file {store.database}, which a first `kd-lab` makes"
        )
    return store


def tell_waiting(uri: str) -> None:
    """Say beside what is shown that runs wait for a store, and how they are seen."""
    from kd_lab.outside.text import visible
    from kd_lab.store.sync import waiting_here

    tell_other_store(uri)

    for sentence in waiting_here(uri):
        print(visible(sentence), file=sys.stderr)  # noqa: T201


def tell_other_store(uri: str) -> None:
    """Say that the environment names another store, which is not used."""
    from kd_lab.outside.text import visible

    if (sentence := other_store(uri)) is not None:
        print(visible(sentence), file=sys.stderr)  # noqa: T201


def _pages(uri: str, server: str) -> None:
    """The address of each study's page."""
    from kd_lab.outside.text import line
    from kd_lab.store.reading import reading
    from kd_lab.store.view import address

    with reading(uri) as reader:
        studies = reader.studies()
    for key, name in studies.items():
        if name != "Default":
            print(line(f"  {name}: {address(server, key)}"), flush=True)  # noqa: T201


def options_of(arguments: list[str], defaults: dict[str, str]) -> dict[str, str]:
    """The `key=value` arguments of a subcommand over its defaults.

    Raises:
        UserError: a key that it does not have.
    """
    options = dict(defaults)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key not in defaults or not equals:
            raise UserError(f"{argument}: {choices(key, [f'{k}=...' for k in defaults])}")
        options[key] = without_login(value) if key == "tracking.uri" else value
    return options


def predict(arguments: list[str]) -> int:
    """`kd-lab predict run=ID FILE [out=FILE.csv] [tracking.uri=URI]`: what a run's network says of samples, as CSV."""
    defaults = {"run": "", "tracking.uri": LOCAL, "out": ""}
    files = [argument for argument in arguments[1:] if argument.partition("=")[0] not in defaults]
    options = options_of([one for one in arguments[1:] if one not in files], defaults)
    if not options["run"] or len(files) != 1:
        raise UserError(f"{' '.join(arguments)}: expected a run and one file: kd-lab predict run=ID FILE.npz")
    from kd_lab.job.predict import predict as answer

    tell_other_store(options["tracking.uri"])
    answer(options["run"], options["tracking.uri"], files[0], options["out"] or None)
    return 0


def evaluate(arguments: list[str]) -> int:
    """`kd-lab evaluate run=ID [weights=last] [dataset=NAME] ...`: measure a run's network here, or on other data."""
    defaults = {"run": "", "tracking.uri": LOCAL, "trainer": "cpu", "weights": "last"}
    other = [argument for argument in arguments[1:] if argument.startswith(("dataset=", "dataset.", "dataset/"))]
    options = options_of([one for one in arguments[1:] if one not in other], defaults)
    if not options["run"]:
        raise UserError(
            "evaluate: expected run=ID, the id of a finished run or how it begins (see the console or the MLflow page)"
        )
    import yaml

    file = conf_dir() / "trainer" / f"{options['trainer']}.yaml"
    if options["trainer"] not in choices_of("trainer"):
        known = choices(options["trainer"], choices_of("trainer"))
        raise UserError(f"trainer={options['trainer']}: no such trainer; {known}")
    if options["weights"] not in ("last", "best"):
        raise UserError(f"weights={options['weights']}: expected last, or best (runs with checkpoint.keep=both)")
    from kd_lab.job.elsewhere import evaluate_on
    from kd_lab.job.evaluate import evaluate as measure_again

    tell_other_store(options["tracking.uri"])
    node, best = yaml.safe_load(file.read_text()), options["weights"] == "best"
    if other:
        evaluate_on(options["run"], options["tracking.uri"], node, other, best=best)
    else:
        measure_again(options["run"], options["tracking.uri"], node, best=best)
    return 0
