"""What the machine lets a process use."""

import sys

import pytest

from dfjax.runtime import workers

GIB = 2**30


@pytest.mark.parametrize(
    ("limit", "stat", "free"),
    [
        (8 * GIB, f"anon {GIB}\nactive_file {2 * GIB}\ninactive_file {3 * GIB}\nshmem 5", 7 * GIB),
        (2 * GIB, "active_file 0\ninactive_file 0", 0),
        ("max", "active_file 0\ninactive_file 0", sys.maxsize),
    ],
)
def test_what_a_container_keeps_of_files_is_free(limit, stat, free, tmp_path):
    """After a large dataset was read there seemed to be no memory left for a batch."""
    for name, text in (("memory.max", limit), ("memory.current", 6 * GIB), ("memory.stat", stat)):
        (tmp_path / name).write_text(f"{text}\n")
    assert workers._group_limit(tmp_path) == free


def test_without_a_container_nothing_is_known_of_its_limit(tmp_path):
    assert workers._group_limit(tmp_path) == sys.maxsize
