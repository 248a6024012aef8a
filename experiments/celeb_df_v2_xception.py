"""What is training on Celeb-DF v2 itself worth, against coming from FaceForensics++?

python -m dfjax.run --config experiments/celeb_df_v2_xception.py --source CELEB_DF
python -m dfjax.evaluate --workdir runs/celeb_df_v2_xception --datasets faceforensics/official-c23-four,dfd
python -m dfjax.evaluate --workdir runs/faceforensics_xception --datasets celeb_df_v2/disjoint,celeb_df_v2

The network and its recipe are those of faceforensics_xception.py; only the data differ. The last command has the
detector trained there judge the same test clips as this one, and those of the published list. Nobody, neither target
nor source of a face, is in two splits ('disjoint'). The published test list ('official') shares 56 of 59 people with
training, and 234 of its 340 fakes are made from a clip that is left to training: within-dataset figures on it say
little.

To stand beside, all of them trained on FaceForensics++ c23 and on the official list: Xception .737 and
EfficientNet-B4 .749 by frame (DeepfakeBench, NeurIPS 2023); by video self-blended images .929 (CVPR 2022), LAA-Net
.954, Effort .956, ForensicsAdapter .957. None is known to us for a split without shared people. Networks in such
tables start from ImageNet; so does this one with --config.model.weights=FILE (legacy_xception.tf_in1k of timm), else
from random numbers.

Cost: at most 167,000 crops an epoch (four fifths of 6,529 clips, 32 frames each). The 18,000 steps are seven epochs,
about 39 minutes on an RTX 3090 (estimated as in faceforensics_xception.py). Not measured.
"""

import ml_collections


def get_config(dataset: str = "celeb_df_v2") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0

    # input
    config.data = ml_collections.ConfigDict()
    config.data.dataset = dataset or "celeb_df_v2"
    # nobody in two splits
    config.data.config_name = "disjoint" if config.data.dataset == "celeb_df_v2" else ""
    config.data.feed = "auto"
    # what a second compression, a camera and a sloppy crop do; c23 has lost its finest detail already
    config.augment = ml_collections.ConfigDict({"flip_rate": 0.5, "zoom": 0.05, "shift": 0.05})
    config.augment.update({"brightness": 0.1, "contrast": 0.1, "jpeg_quality": (60.0, 100.0), "jpeg_rate": 0.5})
    config.augment.self_fakes = 0.0  # fakes made from real faces: none

    # model
    config.model = ml_collections.ConfigDict({"name": "xception"})
    config.model.weights = ""  # a file of released weights to start from, but for the head
    config.model.kwargs = ml_collections.ConfigDict({"dropout": 0.5})

    # imbalance: 1:6 in the clips, 1:1 in the batch, and that alone
    config.loss = ml_collections.ConfigDict({"name": "binary_cross_entropy", "kwargs": {}})
    config.balance = ml_collections.ConfigDict({"sampling": "balanced", "allow_stacking": False})

    # optimiser
    config.optim = ml_collections.ConfigDict()
    config.optim.learning_rate = 2e-4
    config.optim.warmup_steps = 500
    config.optim.weight_decay = 0.05
    config.optim.clip_norm = 1.0
    config.optim.ema = 0.999
    config.train = ml_collections.ConfigDict()
    config.train.batch = 64
    config.train.steps = 18_000
    config.train.eval_every = 1_800
    config.train.log_every = 20

    # decision, after training
    config.score = ml_collections.ConfigDict({"clip": "mean"})  # over frames
    config.decision = ml_collections.ConfigDict({"criterion": "balanced_accuracy"})
    return config
