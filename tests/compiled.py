"""What a compiled program does where."""

import re


def sums_of_devices(text: str) -> set[str]:
    """Where devices wait for each other's sums in a program: "at the top" or "below", as in the body of a loop."""
    found = set()
    for computation in re.split(r"\n(?=\S)", text):
        if re.search(r" = .* all-reduce(-start)?\(", computation):
            found.add("at the top" if computation.startswith("ENTRY") else "below")
    return found
