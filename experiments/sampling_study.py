r"""How should a batch be drawn at 10:1: as the data are, evenly, by square root, from a part, by index, by generator?

    python -m dfjax.compare --configs experiments/sampling_study.py --seeds 3 --workdir runs/sampling
    python -m dfjax.compare --configs experiments/sampling_study.py:folder_audio --seeds 3 \
        --workdir runs/sampling --source RECORDINGS
    python -m dfjax.run --config experiments/sampling_study.py:folder_audio+undersample --source RECORDINGS

The argument is DATASET, ARM or DATASET+ARM; without an arm, `dfjax.compare` runs all of ARMS. Same network, loss,
steps and optimiser in all. Balanced sampling itself is an arm of imbalance_study.py.
"""

import ml_collections

# how rows are drawn; `rates` are relative rates of the classes, where 'fake/METHOD' could single out one generator
ARMS = {
    "natural": "natural",
    "sqrt": "sqrt",
    "undersample": "undersample",
    "oversample": "oversample",
    "balanced_methods": "balanced_methods",
    "rates": {"real": 3.0, "fake": 1.0},
    "auto": "auto",
}


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
        {"gain_db": 6.0, "noise_db": (-5.0, 30.0), "self_fakes": 0.0}  # fakes made from real clips: none
    )

    # model
    config.model = ml_collections.ConfigDict({"name": "texture"})
    config.model.kwargs = ml_collections.ConfigDict({"embedding": 64, "members": 8, "dropout": 0.5})

    # imbalance: in the draw alone
    config.loss = ml_collections.ConfigDict({"name": "binary_cross_entropy", "kwargs": {}})
    config.balance = ml_collections.ConfigDict({"sampling": ARMS[arm or "natural"], "allow_stacking": False})

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
