r"""AASIST on ASVspoof 2019 LA as published: 100 epochs of the whole training split, nothing augmented.

python -m dfjax.run --config experiments/asvspoof2019_la_aasist.py --source ASVSPOOF2019_LA
python -m dfjax.run --config experiments/asvspoof2019_la_aasist.py:folder_audio --source RECORDINGS \
    --config.train.steps=3000 --config.train.eval_every=30

Adam with the weight decay in the gradient, a cosine per step from 1e-4 to 5e-6, classes weighted, and the mean of the
snapshots that were best on validation (Jung et al., ICASSP 2022). Two things differ: validation is judged by average
precision, not by the EER, and the mean is one more candidate for it, never chosen by the test split.
"""

import ml_collections

EPOCH = 25_380 // 24  # batches; a rest is left out, as published


def get_config(dataset: str = "asvspoof2019_la") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 1234

    # input
    config.data = ml_collections.ConfigDict()
    config.data.dataset = dataset or "asvspoof2019_la"
    config.data.config_name = ""  # "" takes the dataset's default protocol
    config.data.feed = "auto"
    config.data.seconds = 4.0375  # 64,600 samples, cut at random, repeated where a clip is shorter
    config.augment = ml_collections.ConfigDict({"noise_rate": 0.0, "self_fakes": 0.0})

    # model
    config.model = ml_collections.ConfigDict({"name": "aasist"})
    config.model.dtype = "float32"  # as published; "bfloat16" is what training may compute in on a GPU or TPU
    config.model.kwargs = ml_collections.ConfigDict({"variant": "full"})  # "light" is AASIST-L

    # imbalance: published are 0.9 for real and 0.1 for fake, over their mean in the training split
    weights = (0.9 / 0.1813, 0.1 / 0.1813) if config.data.dataset == "asvspoof2019_la" else "balanced"
    config.loss = ml_collections.ConfigDict({"name": "weighted", "kwargs": {"weights": weights}})
    config.balance = ml_collections.ConfigDict({"sampling": "natural", "allow_stacking": False})

    # optimiser
    config.optim = ml_collections.ConfigDict()
    config.optim.optimizer = "adam"
    config.optim.learning_rate = 1e-4
    config.optim.final_learning_rate = 5e-6
    config.optim.weight_decay = 1e-4
    config.optim.ema = 0.0
    config.optim.swa = True
    config.train = ml_collections.ConfigDict()
    config.train.batch = 24
    config.train.steps = 100 * EPOCH
    config.train.eval_every = EPOCH
    config.train.log_every = 20

    # decision, after training
    config.decision = ml_collections.ConfigDict({"criterion": "f1"})
    return config
