"""The card of a bundle tells what left-out sources and files known to be real say of its decision."""

import numpy as np
import pytest

from dfjax.decide import known_real, operating_points
from dfjax.import_weights import untuned
from dfjax.reporting import model_card
from tests.decide.test_places import decided

ABOUT = {"model": "lcnn", "input": {"modality": "audio"}, "dfjax": "0", "parameters": 3, "dataset": "demo"}


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch):
    monkeypatch.setattr(operating_points, "replicates", lambda clips: 200)


def test_a_card_tells_what_left_out_sources_and_known_files_say():
    decision = decided()
    text = model_card.card(ABOUT, decision, None)
    assert f"On a source that it has never met: {decision['domains']['words']}." in text
    assert f"--known_real change: {'; '.join(known_real.summary(decision))}." in text
    assert "| accuracy |" in text and "Nothing else here says" in text and "For one place" not in text
    plain = model_card.card(ABOUT, untuned(), None)
    assert "Nothing here says" in plain and "never met" not in plain and "--known_real" not in plain


def test_the_card_of_an_adapted_decision_has_no_figures_of_another_threshold():
    """It named the moved threshold above the accuracy at the one before."""
    adapted = known_real.adapt(decided(), np.zeros(5))
    text = model_card.card(ABOUT, adapted, None)
    assert f"For one place: {known_real.told(adapted)}; {known_real.worth(adapted)}." in text
    assert "accuracy" not in text and "--known_real" not in text


def test_a_card_tells_of_the_band_without_a_verdict():
    """It said fake from the threshold on, and half of the band above it is called uncertain."""
    band = {"real_below": -1.25, "fake_from": 2.5, "rate": 0.01, "undecided": 0.4}
    text = model_card.card(ABOUT, untuned() | {"band": band}, None)
    assert "From -1.25 to 2.5 there is no verdict: such a file is called `uncertain`." in text
    for none in (None, band | {"real_below": 2.5}):  # one threshold that needs no band
        assert "no verdict" not in model_card.card(ABOUT, untuned() | {"band": none}, None)
