"""What does a network reach that learns from one corpus, steps by gradients and is judged within it?

python -m dfjax.run --config experiments/audio_texture.py:folder_audio --source RECORDINGS

Loss and sampling are those of audio_focal.py. Compare with it, and with audio_sources.py for recordings from elsewhere.
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
    config.augment = ml_collections.ConfigDict(
        {"gain_db": 6.0, "noise_db": (-5.0, 30.0), "self_fakes": 0.0}  # fakes made from real clips: none
    )

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
