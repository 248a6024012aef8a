"""Does focal loss with class-weighted resampling find the fakes that plain training misses at 10:1?

    python -m dfjax.run --config experiments/audio_focal.py                                   # the demo corpus
    python -m dfjax.run --config experiments/audio_focal.py:folder_audio --source RECORDINGS  # your own

Compare with audio_baseline.py: the same network on the natural prior with plain cross-entropy.
"""

import ml_collections


def get_config(dataset: str = "demo_speech") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0

    # input
    config.data = ml_collections.ConfigDict()
    config.data.dataset = dataset or "demo_speech"
    config.data.config_name = ""  # "" takes the dataset's default protocol
    config.data.feed = "auto"
    config.data.seconds = 2.0  # random cut of each clip
    config.data.copies = 1  # cuts of a clip that are trained on
    config.augment = ml_collections.ConfigDict(
        {"noise_rate": 0.1, "noise_db": (15.0, 45.0), "self_fakes": 0.0}  # fakes made from real clips: none
    )

    # model: trained by Newton steps, which need neither a rate nor a schedule
    config.model = ml_collections.ConfigDict({"name": "band_kernel"})
    config.model.kwargs = ml_collections.ConfigDict({"landmarks": 768, "width": 1.0, "ridge": 5e-5})

    # imbalance: one measure in the loss, one in the batch; only the second shifts the log-odds
    config.loss = ml_collections.ConfigDict({"name": "focal", "kwargs": {"gamma": 2.0}})
    config.balance = ml_collections.ConfigDict({"sampling": "balanced", "allow_stacking": False})

    # optimiser
    config.optim = ml_collections.ConfigDict({"learning_rate": 1.0, "ema": 0.0})
    config.train = ml_collections.ConfigDict()
    config.train.batch = 64  # of scoring: a step sees all clips
    config.train.steps = 10
    config.train.eval_every = 10
    config.train.log_every = 10

    # decision, after training
    config.decision = ml_collections.ConfigDict({"criterion": "f1"})
    return config
