import pytest

from dfjax.models import efficientnet
from dfjax.models.streams import Rngs
from tests.models import parity


@pytest.mark.parametrize(
    ("build", "published", "width"),
    [(efficientnet.EfficientNetB0, 5_288_548, 1280), (efficientnet.EfficientNetB4, 19_341_616, 1792)],
)
def test_parameters_as_published(build, published, width):
    assert parity.parameters(lambda: build(rngs=Rngs(0))) == published - 1000 * (width + 1)


def test_parity_with_timm_b0(tmp_path):
    parity.check("efficientnet_b0", tmp_path)


@pytest.mark.slow
def test_parity_with_timm_b4(tmp_path):
    parity.check("efficientnet_b4", tmp_path)


def test_errors(tmp_path):
    parity.check_errors("efficientnet_b0", tmp_path)


@pytest.mark.parametrize(("width", "expected"), [(32, 48), (16, 24), (24, 32), (40, 56), (1280, 1792)])
def test_scaled_widths_are_those_of_b4(width, expected):
    assert efficientnet.scaled(width, 1.4) == expected


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("variant", ["b0", "b4"])
def test_golden_live(variant):
    parity.check_live(f"efficientnet_{variant}")
