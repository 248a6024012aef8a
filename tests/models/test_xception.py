import pytest

from dfjax.models import xception
from dfjax.models.streams import Rngs
from tests.models import parity


def test_parameters_as_published():
    assert parity.parameters(lambda: xception.Xception(rngs=Rngs(0))) == 22_855_952 - 1000 * 2049


def test_parity_with_timm(tmp_path):
    parity.check("xception", tmp_path)


def test_errors(tmp_path):
    parity.check_errors("xception", tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_golden_live():
    parity.check_live("xception")
