"""The main job on a small folder of pictures and videos: media to report and verdict, clips counted, not frames."""

import json

import cv2
import numpy as np
import pytest

from data_builders.demo_faces import synthesis
from dfjax import inference
from dfjax.decide import score_file
from dfjax.reporting import file_figures
from dfjax.run import main_job
from experiments import image_focal, image_self_blended
from tests.data_builders import fixtures

COUNTS = {"train": (8, 4), "val": (5, 2), "test": (5, 2)}  # (real, fake)


def experiment(module=image_focal, config_name="folder", steps=4):
    config = module.get_config("folder_image")
    config.data.config_name = config_name
    config.train.update({"batch": 8, "steps": steps, "eval_every": 2, "log_every": 2})
    config.optim.warmup_steps = 1
    config.augment.size = 56
    config.model.kwargs.update({"size": 64, "window": 56, "width": 4})
    return config


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Smooth patterns; the fakes have grain on top."""
    root = tmp_path_factory.mktemp("media") / "pictures"
    rng = np.random.default_rng(0)
    for split, counts in COUNTS.items():
        for label, name in enumerate(("real", "fake")):
            for i in range(counts[label]):
                pixels = fixtures.picture((64, 64), seed=rng.integers(1 << 30)).astype(float)
                pixels += 20 * label * rng.standard_normal(pixels.shape)
                fixtures.image(root / split / name / f"{i}.png", pixels=pixels.clip(0, 255).astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "pictures"
    data = tmp_path_factory.mktemp("data")
    report = main_job.run(experiment(), folder, name="small", data_dir=data, source=pictures, progress=False)
    return folder, report


def test_a_folder_of_pictures_becomes_a_report(finished):
    folder, report = finished
    assert (report["counts"]["test"]["real"], report["counts"]["test"]["fake"]) == COUNTS["test"]
    facts = json.loads((folder / "environment.json").read_text())["dataset"]
    assert facts["modality"] == "image" and facts["crops"]["size"] == 256


def test_predict_agrees_with_the_score_file_and_draws_a_heat_map(finished, pictures):
    folder, _ = finished
    judge = inference.load(folder)
    scores = score_file.read(folder / "scores" / "folder_image.test.csv")
    for name in ("test/fake/0.png", "test/real/3.png"):
        result = judge(pictures / name)
        expected = scores.score[scores.clip == name][0]
        np.testing.assert_allclose(result["score"], expected, rtol=1e-4, atol=1e-4)
        assert result["verdict"] == ("fake" if expected >= np.float32(judge.threshold) else "real")
    drawn = file_figures.heat_png(judge, pictures / name, result)
    assert cv2.imdecode(np.frombuffer(drawn, np.uint8), cv2.IMREAD_COLOR).shape == (64, 128, 3)


@pytest.mark.slow
def test_training_on_made_fakes_runs_end_to_end(pictures, tmp_path):
    words = {"data_dir": tmp_path / "d", "source": pictures, "progress": False}
    report = main_job.run(experiment(image_self_blended), tmp_path / "w", name="made", **words)
    assert report["counts"]["test"]["fake"] == COUNTS["test"][1]


@pytest.mark.slow
def test_videos_are_counted_and_judged_as_clips(tmp_path):
    root, identity = tmp_path / "videos", 0
    for split, counts in COUNTS.items():
        for label, name in enumerate(("real", "fake")):
            for i in range(min(counts[label], 4)):
                identity += 1
                fixtures.video(root / split / name / f"clip{i}.mp4", pictures=_talking(identity))
    words = {"data_dir": tmp_path / "d", "source": root, "progress": False}
    report = main_job.run(experiment(config_name="folder-crops"), tmp_path / "w", name="videos", **words)
    scores = score_file.read(next((tmp_path / "w" / "scores").glob("*.test.csv")))
    clips = score_file.by_clip(scores)
    assert len(scores) > len(clips) == report["counts"]["test"]["real"] + report["counts"]["test"]["fake"]

    judge = inference.load(tmp_path / "w")
    path = root / clips.clip[0]
    result = judge(path)
    assert len(result["frames"]) == int((scores.clip == clips.clip[0]).sum())
    np.testing.assert_allclose(result["score"], clips.score[0], rtol=1e-4, atol=1e-4)


def _talking(identity: int) -> list[np.ndarray]:
    """Six pictures of one drawn face on a wide background, large enough for the face detector."""
    images = [
        cv2.imdecode(np.frombuffer(picture.image, np.uint8), cv2.IMREAD_COLOR_RGB)
        for picture in synthesis.identity_pictures("train", identity)[:6]
    ]
    return [cv2.copyMakeBorder(cv2.resize(image, (256, 256)), 32, 32, 64, 64, cv2.BORDER_REPLICATE) for image in images]
