"""The main job: `python -m dfjax.run`."""


def main() -> None:
    """The command; see `command`."""
    from dfjax.run import command

    command.main()
