r"""Do fakes made from the real training clips help against generators that training has not seen?

python -m dfjax.run --config experiments/audio_self_vocoded.py
python -m dfjax.run --config experiments/audio_self_vocoded.py:folder_audio+reals_alone --source RECORDINGS
python -m dfjax.compare --configs experiments/audio_self_vocoded.py:folder_audio --seeds 3 \
    --workdir runs/vocoded --source RECORDINGS

As audio_texture.py, but some fakes of a batch are real clips of the training split, vocoded anew each time they are
drawn: none of them (stored), every second one (half, the default arm), or all (reals_alone, where stored fakes choose
the threshold and the step and are never trained on). The argument is DATASET, ARM or DATASET+ARM; `dfjax.compare`
runs all ARMS.
"""

import ml_collections

ARMS = {"stored": 0.0, "half": 0.25, "reals_alone": 0.5}  # made fakes, of the batch; half of it is fakes


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    dataset, _, arm = argument.partition("+")
    if dataset in ARMS:
        dataset, arm = "", dataset
    if arm not in ("", *ARMS):
        raise ValueError(f"Unknown arm {arm!r}; expected one of {list(ARMS)}")
    config = ml_collections.ConfigDict()
    config.seed = 0

    # input
    config.data = ml_collections.ConfigDict()
    config.data.dataset = dataset or "demo_speech"
    config.data.config_name = ""  # "" takes the dataset's default protocol
    config.data.feed = "auto"
    config.data.seconds = 2.0  # random cut of each clip
    config.augment = ml_collections.ConfigDict(
        {"gain_db": 6.0, "noise_db": (-5.0, 30.0), "self_fakes": ARMS[arm or "half"]}
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
