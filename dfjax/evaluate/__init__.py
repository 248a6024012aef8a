"""One detector on other datasets, or on corrupted media: `python -m dfjax.evaluate`."""


def main() -> None:
    """The command; see `command`."""
    from dfjax.evaluate import command

    command.main()
