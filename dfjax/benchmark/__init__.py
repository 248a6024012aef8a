"""All datasets in one go: `python -m dfjax.benchmark`."""


def main() -> None:
    """The command; see `command`."""
    from dfjax.benchmark import command  # with all that it needs, when it is asked for

    command.main()
