import pytest
from flax import nnx

from dfjax.models import convnext
from dfjax.models.streams import Rngs
from tests.models import parity


def test_parameters_as_published():
    assert parity.parameters(lambda: convnext.ConvNeXt(rngs=Rngs(0))) == 28_589_128 - 1000 * 769


def test_parity_with_timm(tmp_path):
    parity.check("convnext_tiny", tmp_path)


def test_errors(tmp_path):
    parity.check_errors("convnext_tiny", tmp_path)


def test_no_running_statistics():
    model = nnx.eval_shape(lambda: convnext.ConvNeXt(rngs=Rngs(0)))
    assert not nnx.to_flat_state(nnx.state(model, nnx.BatchStat))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_golden_live():
    parity.check_live("convnext_tiny")
