"""Benchmarks' rows: printed, read back, compared with the last run kept."""

import json
import sys

import numpy as np
import pytest

from tests.benchmarks import rows, train_epoch


def printed(capsys, *all_of):
    for each in all_of:
        rows.show(*each)
    return capsys.readouterr().out.splitlines()


def test_what_is_shown_is_read_back_among_other_lines(capsys):
    lines = ["a heading", *printed(capsys, ("ours", 1234.5678, "clips/s", 2.0), ("theirs", 617, "clips/s")), '{"x": 1}']
    assert rows.read(lines, "loader") == [
        {"benchmark": "loader", "row": "ours", "value": 1235, "unit": "clips/s", "times": 2},
        {"benchmark": "loader", "row": "theirs", "value": 617, "unit": "clips/s"},
    ]


def test_a_row_is_compared_with_its_last_value_in_the_folder(capsys, tmp_path):
    def measured(value):
        return rows.read(printed(capsys, ("ours", value, "s"), ("new" if value == 3.0 else "old", 1.0, "s")), "losses")

    assert rows.kept(tmp_path) == []
    assert rows.compare(measured(3.0), []) == measured(3.0)
    for name, value in (("2026-11-26T01", 2.0), ("2026-11-25T23", 5.0)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"rows": measured(value)}))
    ours, new = rows.compare(measured(3.0), rows.kept(tmp_path))
    assert (ours["before"], ours["now_by_before"]) == (2, 1.5) and "before" not in new
    *_, ours, new = rows.markdown([ours, new]).splitlines()
    assert ours == "| losses | ours | 3 | s |  | 2 | 1.5 |" and new == "| losses | new | 1 | s |  |  |  |"


def test_a_row_of_the_same_name_in_another_unit_or_benchmark_is_another_row():
    row = {"benchmark": "losses", "row": "ours", "value": 3.0, "unit": "s"}
    assert rows.compare([row], [row | {"unit": "ms"}, row | {"benchmark": "loader"}]) == [row]


@pytest.mark.parametrize(("value", "text"), [(0.0012344, "0.001234"), (98765.4, "98770"), (0.0, "0.0"), (7, "7")])
def test_values_are_given_to_four_digits(capsys, value, text):
    (line,) = printed(capsys, ("x", value, "s"))
    assert f'"value": {text},' in line


def test_a_benchmark_without_its_peer_measures_ours_alone(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert train_epoch.torch_rows(tmp_path, np.zeros(2, np.float32)) == {}
