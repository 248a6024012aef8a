import cv2
import numpy as np
import pytest

from data_builders.demo_faces import blending, demo_faces_dataset_builder, drawing, synthesis
from tests.data_builders import demo_contract


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    builder = demo_faces_dataset_builder.Builder(data_dir=tmp_path_factory.mktemp("data"), progress=False)
    builder.download_and_prepare(file_format="array_record")
    return builder, demo_contract.load(builder)


def trivial(record) -> dict[str, float]:
    """What can be measured without looking at a face: file, light, colour, sharpness, noise."""
    image = synthesis._decode(record["image"]).astype(np.float32)
    grey = image.mean(axis=2)
    detail = cv2.Laplacian(grey, cv2.CV_32F)
    return {
        "bytes": len(record["image"]),
        "brightness": grey.mean(),
        "contrast": grey.std(),
        "saturation": (image.max(axis=2) - image.min(axis=2)).mean(),
        "red": image[..., 0].mean() / image.mean(),
        "blue": image[..., 2].mean() / image.mean(),
        "sharpness": detail.std(),
        "noise": np.median(np.abs(detail)),
        "noise of the corner": detail[:16, :16].std(),
        "brightness of the corner": grey[:16, :16].mean(),
    }


def test_counts_and_side_files(prepared):
    builder, data = prepared
    demo_contract.check_counts(data, builder.data_dir)


def test_identities_are_disjoint(prepared):
    demo_contract.check_disjoint(prepared[1])


def test_donors_are_of_the_same_split(monkeypatch):
    drawn = set()
    look = synthesis._look
    monkeypatch.setattr(synthesis, "_look", lambda i: drawn.add(i) or look(i))
    last = synthesis.identity_ids("train")[-1]
    synthesis.identity_pictures("train", last)
    assert len(drawn) > 1 and drawn <= set(synthesis.identity_ids("train"))


def test_one_method_is_kept_for_the_test(prepared):
    demo_contract.check_methods(prepared[1], synthesis.UNSEEN_METHOD)


def test_no_shortcut(prepared):
    demo_contract.check_no_shortcut(prepared[1], trivial)


def test_says_that_it_is_synthetic(prepared):
    assert "demo" in prepared[0].name
    assert "proves nothing about real deepfakes" in " ".join(prepared[0].info.description.split())


def test_pictures_decode(prepared):
    for record in prepared[1]["test"]:
        assert synthesis._decode(record["image"]).shape == (drawing.SIZE, drawing.SIZE, 3)
        assert record["clip"] == record["id"] and record["dataset"] == b"demo_faces"


@pytest.mark.slow
def test_two_builds_are_byte_identical(prepared, tmp_path):
    again = demo_faces_dataset_builder.Builder(data_dir=tmp_path, progress=False)
    again.download_and_prepare()
    assert demo_contract.digest(again.data_dir) == demo_contract.digest(prepared[0].data_dir)


def test_an_identity_made_twice_is_the_same():
    first, second = (synthesis.identity_pictures("test", 60) for _ in range(2))
    assert [picture.image for picture in first] == [picture.image for picture in second]


def test_made_in_time():
    units = [("train", identity) for identity in range(3)]
    seconds = demo_contract.seconds_of_processor(synthesis.identity_pictures, units)
    assert seconds * sum(synthesis.IDENTITIES.values()) / 2 < 30  # on two cores


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    shape = (drawing.SIZE, drawing.SIZE, 3)
    source, target = (cv2.GaussianBlur(rng.random(shape, np.float32), (0, 0), 3) for _ in range(2))
    mask = np.zeros(shape[:2], np.float32)
    mask[40:90, 40:90] = 1
    return source, target, cv2.GaussianBlur(mask, (0, 0), 2)


@pytest.mark.parametrize("method", ["alpha", "multiband"])
def test_an_empty_mask_changes_nothing(pair, method):
    source, target, mask = pair
    blended = blending.BLENDS[method](source, target, 0 * mask)
    np.testing.assert_allclose(blended, target, atol=1e-6)


@pytest.mark.parametrize("method", ["alpha", "multiband"])
def test_a_full_mask_puts_in_the_source(pair, method):
    source, target, mask = pair
    blended = blending.BLENDS[method](source, target, np.ones_like(mask))
    np.testing.assert_allclose(blended, source, atol=1e-6)


@pytest.mark.parametrize("method", ["alpha", "poisson", "multiband"])
def test_far_from_the_mask_the_target_stays(pair, method):
    source, target, mask = pair
    blended = blending.BLENDS[method](source, target, mask)
    np.testing.assert_allclose(blended[:8], target[:8], atol=1 / 255)


def test_poisson_takes_gradients_not_levels(pair):
    _, target, mask = pair
    brighter = np.clip(target + 0.1, 0, 1)  # the same gradients as the target's
    blended = blending.BLENDS["poisson"](brighter, target, mask)
    np.testing.assert_allclose(blended, target, atol=0.03)


def test_matched_colours_have_the_targets_mean(pair):
    source, target, mask = pair
    matched = blending.match_colours(source, target, mask, 1.0)
    weight = mask[..., None] / mask.sum()
    np.testing.assert_allclose((matched * weight).sum((0, 1)), (target * weight).sum((0, 1)), rtol=1e-4)
    np.testing.assert_array_equal(blending.match_colours(source, target, mask, 0.0), source)
