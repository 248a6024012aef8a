"""Which recordings and pictures the published datasets are made of: two that share them do not test each other."""

from collections.abc import Collection

SOURCES = {  # dataset -> the collections that it was made from
    "asvspoof2019_la": ("VCTK",),
    "celeb_df_v2": ("YouTube interviews of celebrities",),
    "deepfake_audio": ("speeches of public figures",),
    "dfd": ("the FaceForensics++ download", "28 paid actors"),
    "faceforensics": ("the FaceForensics++ download", "1,000 YouTube videos"),
    "faces_140k": ("FFHQ",),
    "fake_or_real": ("LJSpeech",),
    "fakeavceleb": ("VoxCeleb2",),
    "wavefake": ("LJSpeech", "JSUT"),
}
# how those collections are called in the names that users give to sources: lower case
WORDS = {"VCTK": "vctk", "LJSpeech": "ljspeech", "VoxCeleb2": "voxceleb", "FFHQ": "ffhq", "JSUT": "jsut"}


def shared(one: str, other: str, told: tuple[Collection[str], Collection[str]] = ((), ())) -> list[str]:
    """The collections that two different datasets have in common.

    Args:
      one: name of a dataset.
      other: of another.
      told: what the files of each say of where they come from, for the user's folders, which all have one name.
    """
    sets = []
    for dataset, names in zip((one, other), told, strict=True):
        found = {title for title, word in WORDS.items() if any(word in name.lower() for name in names)}
        sets.append(found | set(SOURCES.get(dataset, ())))
    return sorted(sets[0] & sets[1])
