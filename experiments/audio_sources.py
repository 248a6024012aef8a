"""Does a detector of speech hold on sources that it has never heard, if sources are left out to choose it?

    python -m dfjax.crossval --config experiments/audio_sources.py:voices-whole,speech=2 --source VOICES,SPEECH

The argument names your folders: FOLDER, or FOLDER-whole for one whose every file is to be trained on, and after an
equals sign its weight; each has a column `source` or `domain` in its metadata.csv. Every source is drawn alike,
whatever its size, but for the weight of its folder. The detector that comes with dfjax is made by this experiment.
"""

import ml_collections


def get_config(folders: str = "") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0

    # input
    weights = {
        name: float(weight or 1) for name, _, weight in (part.partition("=") for part in folders.split(",")) if name
    }
    config.data = ml_collections.ConfigDict()
    config.data.dataset = "sources" if weights else "demo_speech"
    config.data.config_name = ""
    if weights:
        config.data.datasets = {f"folder_audio/{name}": weight for name, weight in weights.items()}
    config.data.feed = "auto"
    config.data.seconds = 3.0
    config.data.copies = 3  # two altered cuts, one as it is, and as many fakes of each real clip, made by the run
    config.augment = ml_collections.ConfigDict({"self_fakes": 0.175, "codec_rate": 0.2, "reverb_rate": 0.08})
    config.augment.noise_rate, config.augment.noise_db = 0.12, (15.0, 45.0)
    config.augment.rawboost_rate, config.augment.rawboost_algorithm = 0.12, 1
    config.augment.speed_rate, config.augment.speeds = 0.1, (0.88, 0.94, 1.06, 1.12)

    # model: trained by Newton steps, which need neither a rate nor a schedule
    config.model = ml_collections.ConfigDict({"name": "band_kernel"})
    config.model.kwargs = ml_collections.ConfigDict({"landmarks": 540, "width": 1.0, "ridge": 2e-5, "kinds": 2})
    config.model.kwargs.speeds = (0.95, 1.0, 1.05)  # at which a clip is heard
    config.model.kwargs.compared = True  # with itself, built again from its magnitudes
    config.model.kwargs.floored = True  # bins without power count for nothing
    config.model.kwargs.lines = True  # that upsampling leaves
    config.model.kwargs.levels = True  # few of samples, as of a model that draws them from classes

    # imbalance: the classes are drawn alike, and within a class its sources
    config.loss = ml_collections.ConfigDict({"name": "binary_cross_entropy", "kwargs": {}})
    config.balance = ml_collections.ConfigDict({"sampling": "balanced_domains", "allow_stacking": False})

    # optimiser
    config.optim = ml_collections.ConfigDict({"learning_rate": 1.0, "ema": 0.0})
    config.train = ml_collections.ConfigDict()
    config.train.batch = 64  # of scoring: a step sees all clips
    config.train.steps = 10
    config.train.eval_every = 10
    config.train.log_every = 10

    # decision, after training
    config.decision = ml_collections.ConfigDict({"criterion": "balanced_accuracy"})
    return config
