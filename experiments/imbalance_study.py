r"""What is each remedy for imbalance worth, once the threshold is tuned and seeds are counted?

    python -m dfjax.compare --configs experiments/imbalance_study.py --seeds 3 --workdir runs/study
    python -m dfjax.compare --configs experiments/imbalance_study.py:folder_audio --seeds 3 \
        --workdir runs/study --source RECORDINGS
    python -m dfjax.run --config experiments/imbalance_study.py:folder_audio+focal --source RECORDINGS

The argument is DATASET, ARM or DATASET+ARM; without an arm, `dfjax.compare` runs all of ARMS. Every arm has the same
network, data, steps and optimiser, those of audio_texture.py. The two heads are fitted on the embeddings that the
plain arm has learnt (decoupled training); `dfjax.compare` makes them, or `dfjax.rebalance` from any finished run. A
study of 3 seeds trains 24 networks and may be stopped and continued.
"""

import ml_collections

PLAIN = {"loss": "binary_cross_entropy", "kwargs": {}, "sampling": "natural", "allow_stacking": False, "head": ""}
ARMS = {
    "plain": {},
    "class_weights": {"loss": "weighted", "kwargs": {"weights": "balanced"}},
    "focal": {"loss": "focal", "kwargs": {"gamma": 2.0}},
    "weighted_focal": {"loss": "focal", "kwargs": {"gamma": 2.0, "alpha": "balanced"}},
    "balanced_sampling": {"sampling": "balanced"},
    "both": {
        "loss": "focal",
        "kwargs": {"gamma": 2.0, "alpha": "balanced"},
        "sampling": "balanced",
        "allow_stacking": True,
    },
    "effective_number": {"loss": "class_balanced", "kwargs": {"beta": 0.999}},
    "logit_adjusted": {"loss": "logit_adjusted", "kwargs": {"tau": 1.0}},
    "smote_head": {"head": "smote"},
    "hybrid_head": {"head": "smote_tomek"},
}


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    dataset, _, arm = argument.partition("+")
    if dataset in ARMS:
        dataset, arm = "", dataset
    if arm not in ("", *ARMS):
        raise ValueError(f"Unknown arm {arm!r}; expected one of {list(ARMS)}")
    arm = PLAIN | ARMS[arm or "plain"]
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

    # imbalance
    config.loss = ml_collections.ConfigDict({"name": arm["loss"], "kwargs": arm["kwargs"]})
    config.balance = ml_collections.ConfigDict({name: arm[name] for name in ("sampling", "allow_stacking", "head")})

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
