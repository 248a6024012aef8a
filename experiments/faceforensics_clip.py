r"""Does CLIP, tuned through its LayerNorms on FaceForensics++, generalise better than a network trained whole?

python -m dfjax.run --config experiments/faceforensics_clip.py --source FACEFORENSICS --config.model.weights=CLIP_LARGE
python -m dfjax.evaluate --workdir runs/faceforensics_clip --datasets celeb_df_v2,dfd

CLIP_LARGE is model.safetensors of huggingface.co/openai/clip-vit-large-patch14. Without it the frozen nine tenths of
the network are random numbers, and the run shows nothing. Beside it stands experiments/faceforensics_xception.py,
trained whole on the same crops.

The recipe is that of GenD (Yermakov et al., arXiv 2508.06248): ViT-L/14, only LayerNorms and head trained (0.03 %),
embeddings on the unit sphere, cross-entropy + 0.5 uniformity + 0.1 alignment, AdamW at 3e-4 falling to 1e-5 without
weight decay, batches of 128. Theirs pairs each fake with the video it was made from; ours draws the classes evenly,
but not in pairs.

To stand beside, by video on Celeb-DF v2 after FaceForensics++ c23: Effort .956 and ForensicsAdapter .957, which tune
the same CLIP network in other ways (their papers). Our reports are by clip; the score files hold the frames.

Cost: not measured; no real copy of the dataset and no accelerator were at hand. Of 303 million parameters only
103 thousand have a gradient and moments; `fsdp` spreads the rest over the devices, and `remat` keeps only the input
of each of the 24 blocks.
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
    config.augment = ml_collections.ConfigDict({"flip_rate": 0.5, "zoom": 0.05, "shift": 0.05})
    config.augment.update({"brightness": 0.1, "contrast": 0.1, "jpeg_quality": (40.0, 100.0), "jpeg_rate": 0.5})
    config.augment.self_fakes = 0.0  # fakes made from real faces: none

    # model
    config.model = ml_collections.ConfigDict({"name": "clip_large"})
    config.model.weights = ""  # a file of released weights to start from, but for the head
    config.model.dtype = "bfloat16"
    config.model.kwargs = ml_collections.ConfigDict({"remat": True})

    # imbalance: 1:4 in the clips, 1:1 in the batch, and that alone
    config.loss = ml_collections.ConfigDict({"name": "binary_cross_entropy", "kwargs": {}})
    config.loss.update({"uniformity": 0.5, "alignment": 0.1})  # of the embeddings, added to the loss
    config.balance = ml_collections.ConfigDict({"sampling": "balanced", "allow_stacking": False})

    # optimiser
    config.optim = ml_collections.ConfigDict()
    config.optim.learning_rate = 3e-4
    config.optim.final_learning_rate = 1e-5
    config.optim.weight_decay = 0.0
    config.optim.ema = 0.0
    config.train = ml_collections.ConfigDict()
    config.train.fsdp = True  # parameters spread over the devices
    config.train.batch = 128
    config.train.steps = 9_000  # ten epochs
    config.train.eval_every = 900
    config.train.log_every = 20

    # decision, after training
    config.score = ml_collections.ConfigDict({"clip": "mean"})  # over frames
    config.decision = ml_collections.ConfigDict({"criterion": "balanced_accuracy"})
    return config
