"""`kd-lab sync [tracking.uri=URI]`: runs that were kept while a server was away are brought to it."""

from kd_lab.cli.commands import options_of


def sync(arguments: list[str]) -> int:
    """One line per run; a server that is still away is the user's to know, with exit code 2."""
    options = options_of(arguments[1:], {"tracking.uri": ""})
    from kd_lab.outside.text import visible
    from kd_lab.store.sync import sync as bring_in

    for line in bring_in(options["tracking.uri"] or None):
        print(visible(line), flush=True)  # noqa: T201
    return 0
