r"""Which loss, at 10:1 and with batches drawn as the data are?

    python -m dfjax.compare --configs experiments/loss_study.py --seeds 3 --workdir runs/losses
    python -m dfjax.compare --configs experiments/loss_study.py:folder_audio --seeds 3 \
        --workdir runs/losses --source RECORDINGS
    python -m dfjax.run --config experiments/loss_study.py:folder_audio+oc_softmax --source RECORDINGS

The argument is DATASET, ARM or DATASET+ARM; without an arm, `dfjax.compare` runs all of ARMS. Same network, steps and
optimiser in all; the two softmax losses put a cosine head in place of the linear one, on which they are defined.
Class weights, focal loss and logit adjustment are arms of imbalance_study.py.
"""

import ml_collections

ARMS = {
    "cross_entropy": ("binary_cross_entropy", {}),
    "label_smoothing": ("binary_cross_entropy", {"label_smoothing": 0.1}),
    "balanced_softmax": ("balanced_softmax", {}),
    "ldam": ("ldam", {"max_margin": 0.5}),
    # deferred re-weighting: class weights for the last fifth of the run
    "ldam_deferred": ("ldam", {"max_margin": 0.5, "weights": "balanced", "reweight_from": 0.8}),
    "am_softmax": ("am_softmax", {"scale": 20.0, "margin": 0.9}),
    "oc_softmax": ("oc_softmax", {"scale": 20.0, "margin_real": 0.9, "margin_fake": 0.2}),
}


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    dataset, _, arm = argument.partition("+")
    if dataset in ARMS:
        dataset, arm = "", dataset
    if arm not in ("", *ARMS):
        raise ValueError(f"Unknown arm {arm!r}; expected one of {list(ARMS)}")
    name, kwargs = ARMS[arm or "cross_entropy"]
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
    # one member: a cosine is of a whole embedding
    config.model.kwargs = ml_collections.ConfigDict({"embedding": 64, "members": 1, "dropout": 0.3})

    # imbalance: in the loss alone
    config.loss = ml_collections.ConfigDict({"name": name, "kwargs": kwargs})
    config.balance = ml_collections.ConfigDict({"sampling": "natural", "allow_stacking": False})

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
