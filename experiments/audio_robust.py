"""What does training for rooms, telephones and codecs cost on clean recordings, and what does it gain on those?

python -m dfjax.run --config experiments/audio_robust.py
python -m dfjax.run --config experiments/audio_robust.py:folder_audio --source RECORDINGS

As audio_texture.py, with every augmentation on. A quarter of the clips passes through a lossy codec on the host, so
batches are read ahead (the streaming feed); --config.augment.codec_rate=0 leaves that out and keeps the data on the
device.
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
    config.augment = ml_collections.ConfigDict()
    config.augment.self_fakes = 0.0  # fakes made from real clips: none
    config.augment.codec_rate = 0.25  # MP3, AAC, Opus or AMR at a drawn bit rate
    config.augment.trim_rate = 0.5  # without the silence at both ends
    config.augment.speeds = (0.9, 1.1)
    config.augment.speed_rate = 0.25
    config.augment.silence_seconds = 0.3  # of near silence before the voice
    config.augment.silence_rate = 0.25
    config.augment.reverb_rate = 0.25
    config.augment.gain_db = 6.0
    config.augment.noise_db = (-5.0, 30.0)
    config.augment.noise_rate = 0.5
    config.augment.rawboost_algorithm = 5  # convolutive, then impulsive; as its authors for logical access
    config.augment.rawboost_rate = 0.25
    config.augment.telephone_rate = 0.25
    config.augment.mask_seconds = 0.1
    config.augment.mask_hertz = 400.0

    # model
    config.model = ml_collections.ConfigDict({"name": "texture"})
    config.model.kwargs = ml_collections.ConfigDict({"embedding": 64, "members": 8, "dropout": 0.5})

    # imbalance: one measure in the loss, one in the batch; only the second shifts the log-odds
    config.loss = ml_collections.ConfigDict({"name": "focal", "kwargs": {"gamma": 2.0}})
    config.balance = ml_collections.ConfigDict({"sampling": "balanced", "allow_stacking": False})

    # optimiser
    config.optim = ml_collections.ConfigDict()
    config.optim.learning_rate = 1e-3
    config.optim.warmup_steps = 40
    config.optim.weight_decay = 5.0  # a step takes learning_rate x weight_decay of a weight
    config.optim.clip_norm = 1.0
    config.optim.ema = 0.99
    config.train = ml_collections.ConfigDict()
    config.train.batch = 64
    config.train.steps = 400
    config.train.eval_every = 100
    config.train.log_every = 20

    # decision, after training
    config.decision = ml_collections.ConfigDict({"criterion": "f1"})
    return config
