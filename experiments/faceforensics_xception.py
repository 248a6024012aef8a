r"""How well does Xception tell FaceForensics++ at c23, and how far does that carry to other swaps?

python -m dfjax.run --config experiments/faceforensics_xception.py --source FACEFORENSICS
python -m dfjax.run --config experiments/faceforensics_xception.py --source FACEFORENSICS \
    --config.data.config_name=disjoint-c23-four --workdir runs/faceforensics_disjoint
python -m dfjax.evaluate --workdir runs/faceforensics_xception --datasets celeb_df_v2,dfd

The first command takes the published split, 720/140/140 with four manipulations, in which seven YouTube videos give
clips to two splits. The second leaves those out of validation and test; the difference is what the leak is worth. The
third judges swaps that training has not seen. Prepare them first: python -m dfjax.prepare celeb_df_v2 --source FOLDER

To stand beside: DeepfakeBench (Yan et al., NeurIPS 2023), Xception trained so, AUC by frame .964 within
FaceForensics++ and .737 on Celeb-DF v2; EfficientNet-B4 .749 there. By video on Celeb-DF v2: self-blended images
(Shiohara and Yamasaki, CVPR 2022) .929, with the authors' code retrained by others .898 to .902. Our reports are by
clip; the score files hold the frames. These networks start from ImageNet, and so does this one with
--config.model.weights=FILE (timm's legacy_xception.tf_in1k, model.safetensors); without, from random numbers, from
which less is to be expected.

Cost: 115,200 crops an epoch (3,600 clips of 32 frames). Ten epochs are about 39 minutes on an RTX 3090 in mixed
precision, estimated from timm's rates, not measured. Before that 160,000 frames are searched for faces, at about
52 ms each on one core.
"""

import ml_collections


def get_config(dataset: str = "faceforensics") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0

    # input
    config.data = ml_collections.ConfigDict()
    config.data.dataset = dataset or "faceforensics"
    # without FaceShifter, as in the published tables
    config.data.config_name = "official-c23-four" if config.data.dataset == "faceforensics" else ""
    config.data.feed = "auto"
    # what a second compression, a camera and a sloppy crop do; c23 has lost its finest detail already
    config.augment = ml_collections.ConfigDict({"flip_rate": 0.5, "zoom": 0.05, "shift": 0.05})
    config.augment.update({"brightness": 0.1, "contrast": 0.1, "jpeg_quality": (60.0, 100.0), "jpeg_rate": 0.5})
    config.augment.self_fakes = 0.0  # fakes made from real faces: none

    # model
    config.model = ml_collections.ConfigDict({"name": "xception"})
    config.model.weights = ""  # a file of released weights to start from, but for the head
    config.model.kwargs = ml_collections.ConfigDict({"dropout": 0.5})

    # imbalance: 1:4 in the clips, 1:1 in the batch, and that alone
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
    config.train.steps = 18_000  # ten epochs
    config.train.eval_every = 1_800
    config.train.log_every = 20

    # decision, after training
    config.score = ml_collections.ConfigDict({"clip": "mean"})  # over frames
    config.decision = ml_collections.ConfigDict({"criterion": "balanced_accuracy"})
    return config
