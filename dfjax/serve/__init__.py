"""A service: a file is uploaded, its verdict answered."""


def main() -> None:
    """The command; what it needs is imported when it is called, so that decoders start without it."""
    from dfjax.serve import command

    command.main()
