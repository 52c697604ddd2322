"""What a user types: overrides in Hydra's grammar, in a short form, and Hydra's options."""

import re
from argparse import ArgumentError, ArgumentParser, Namespace
from collections.abc import Iterator

from kd_lab.errors import UserError
from kd_lab.job import published
from kd_lab.job.quoting import quoted

OF_HYDRA = ("hydra.searchpath", "hydra.sweeper.params")
INFO = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]
CUSTOM = ("dataset", "teacher", "student", "loss")
"""What a class of the user's own can be: student._target_=my.Net chooses student=custom."""
OF_OTHERS = ("sweep.resources.", "callbacks.", "teacher.estimator.", "dataset.train.", "dataset.test.")
"""Where the arguments stand of what is not ours."""


def parse(arguments: list[str]) -> Namespace:
    """The options, as Hydra calls them, and `overrides`, which may stand anywhere between them.

    Raises:
        UserError: an option that does not exist, or a value that it does not take.
    """
    parser = ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-r", "--run", action="store_true")
    parser.add_argument("-c", "--cfg", choices=["job", "hydra", "all"])
    parser.add_argument("-i", "--info", nargs="?", const="all", choices=INFO)
    parser.add_argument("-p", "--package")
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("-cp", "--config-path")
    parser.add_argument("-cn", "--config-name", default="config")
    parser.add_argument("-cd", "--config-dir")
    parser.add_argument("-sc", "--shell-completion", action="store_true")
    parser.add_argument("--hydra-help", action="store_true")
    try:
        options, unknown = parser.parse_known_intermixed_args(arguments)
    except ArgumentError as error:
        raise UserError(f"{error.argument_name}: {error.message}") from error
    if unknown:
        raise UserError(f"{unknown[0]}: no such option; see `kd-lab --help`")
    if options.multirun and (options.cfg or options.info):
        raise UserError(f"{'--cfg' if options.cfg else '--info'}: shows the config of one job; leave -m away")
    options.showing = bool(options.cfg or options.info or options.shell_completion or options.hydra_help)
    if not options.showing:
        _check_hydra(options.overrides)
    return options


def _check_hydra(overrides: list[str]) -> None:
    """Raise a UserError for a setting of Hydra's that would have no effect."""
    for override in overrides:
        if key_of(override).startswith(("hydra.", "hydra/")) and not key_of(override).startswith(OF_HYDRA):
            raise UserError(
                f"{override}: kd-lab runs the jobs itself; expected sweep.jobs=N or sweep.cluster=slurm, and of Hydra's"
                " own settings hydra.searchpath=[file:///FOLDER] alone"
            )


def key_of(override: str) -> str:
    """`student.width` of `+student.width=64`."""
    return override.split("=", 1)[0].lstrip("+~")


def expand(overrides: list[str]) -> list[str]:
    """Complete the overrides with what they imply, so that the short form a user expects to work does.

    - `dataset.path=~/x.npz`: what Hydra's grammar would refuse is quoted.
    - `study=null`: the default, the dataset's name.
    - `loss.temperature=2`: the key of a single loss, whichever is chosen.
    - `loss.terms.kd.standardize=true`, `loss.terms.kd.schedules.temperature=cosine`: what any loss can be given.
    - `student._target_=my.Net student.width=64`: student=custom, whose arguments are those of the class; likewise of
      dataset, teacher and loss.
    - `student.recipe.epochs=3`: steps is null, and the other way round.
    - `loss=[kd,soft_label]`: no settings tuned for a single loss; those published for each, in an experiment.
    - `loss.standardize=true`: those published for the loss with standardized logits.
    """
    given = [quoted(override) for override in overrides if override.lower() != "study=null"]
    keys = {key_of(override) for override in given if "=" in override}
    own = {one for one in CUSTOM if f"{one}=custom" in given or (f"{one}._target_" in keys and one not in keys)}
    return [_short(override, own) for override in given] + list(_implied(given, keys, own))


def _short(override: str, own: set[str]) -> str:
    """What Hydra must be told to add, where no YAML has the key: a setting of any loss, a callback's, or submitit's.

    own: what is a class of the user's own, whose arguments no YAML names.
    """
    key, _, value = override.partition("=")
    if re.fullmatch(r"loss\.(terms\.\w+\.)?schedules\.\w+", key):
        by_name = re.fullmatch(r"[a-z_]+(,[a-z_]+)*", value) and value != "null"
        return f"+schedule@{override}" if by_name else f"++{override}"
    of_the_only_one = re.fullmatch(r"loss\.(?!terms\b|hard_weight\b|schedules\b|class_weights\b)\w+", key)
    if of_the_only_one and "loss" in own:
        return f"++loss.terms.custom.{override.removeprefix('loss.')}"
    of_any = re.fullmatch(r"loss\.terms\.\w+\.(standardize|student_layers|teacher_layers)", key)
    of_own = re.fullmatch(r"(\w+)\.(?!_target_$)\w+", key)
    of_others = key.startswith(OF_OTHERS)
    return f"++{override}" if of_the_only_one or of_any or of_others or (of_own and of_own[1] in own) else override


def _implied(overrides: list[str], keys: set[str], own: set[str]) -> Iterator[str]:
    yield from (f"{one}=custom" for one in CUSTOM if one in own and one not in keys)
    said = published.chosen(overrides, {key_of(one): one.partition("=")[2] for one in overrides if "=" in one})
    if said is not None:
        yield said
    for override in overrides:
        key, _, value = override.partition("=")
        if key == "loss" and "[" in value and "tuned/loss" not in keys:
            yield "tuned/loss=none"
        length = re.match(r"(.+\.recipe)\.(epochs|steps)$", key)
        if length and value != "null":
            other = f"{length[1]}.{'steps' if length[2] == 'epochs' else 'epochs'}"
            if other not in keys:
                yield f"{other}=null"
