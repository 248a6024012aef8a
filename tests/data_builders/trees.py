"""Small trees with the layouts and the traps of the public datasets; indexes decode nothing."""

import io
import json
import pathlib

from PIL import Image

LISTS = pathlib.Path(__file__).resolve().parents[2] / "../shared/data/lists"


def put(root, *names, data=None):
    """Files with content of their own (their name, so that no two are alike)."""
    for name in names:
        path = pathlib.Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() if data is None else data)


def picture(seed, size=(64, 48), mode="RGB", kind="JPEG"):
    """Encoded picture with smooth content of its own, so that its difference hash is its own."""
    import numpy as np

    small = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def deepfake_pictures(root, wrapped=True):
    """Near-duplicates across train and test, a picture under both labels, odd modes."""
    train, test = (
        ("train-20250112T065955Z-001/train", "test-20250112T065939Z-001/test") if wrapped else ("train", "test")
    )
    for i in range(12):
        put(root, f"{train}/{'real' if i % 3 else 'fake'}/t{i}.jpg", data=picture(i))
    for i in range(12, 20):
        put(root, f"{test}/{'fake' if i % 3 else 'real'}/e{i}.jpg", data=picture(i))
    put(root, f"{test}/real/same as t1.jpg", data=picture(1, size=(320, 240)))  # t1 is real and in train
    put(root, f"{train}/real/both.jpg", data=picture(50))
    put(root, f"{train}/fake/both, smaller.png", data=picture(50, size=(32, 24), kind="PNG"))
    put(root, f"{train}/fake/palette.png", data=picture(60, mode="P", kind="PNG"))
    put(root, f"{train}/fake/alpha.png", data=picture(61, mode="RGBA", kind="PNG"))
    put(root, f"{train}/real/grey.jpg", data=picture(62, mode="L"))
    put(root, f"{train}/real/._t1.jpg", f"{train}/real/truncated.jpg", data=b"\xff\xd8\xff")
    put(root, "Sample_fake_images/Sample_fake_images/fake/s.jpg", data=picture(70))


def deepfake_faces(root):
    """The same base names in every split."""
    for split in ("Train", "Validation", "Test"):
        for i in range(2):
            put(root, f"Dataset/{split}/Real/real_{i}.jpg", f"Dataset/{split}/Fake/fake_{i}.jpg")


FF_PAIRS = {
    "train": [("071", "054"), ("087", "081"), ("881", "856")],
    "val": [("720", "672")],
    "test": [("953", "974")],
}


def ff_lists(root):
    """The published lists in small: padded with pairs that are not on disk to their published length."""
    sizes = {"train": 360, "val": 70, "test": 70}
    used = {i for pairs in FF_PAIRS.values() for pair in pairs for i in pair}
    rest = iter([f"{i:03d}" for i in range(1000) if f"{i:03d}" not in used])
    for name, pairs in FF_PAIRS.items():
        padded = [list(pair) for pair in pairs]
        padded += [[next(rest), next(rest)] for _ in range(sizes[name] - len(pairs))]
        put(root, f"{name}.json", data=json.dumps(padded).encode())


def faceforensics(root, methods=("Deepfakes", "FaceShifter")):
    """The official tree at two compressions, masks beside it, a stray fake and leftovers."""
    for level in ("c23", "c40"):
        for a, b in (pair for pairs in FF_PAIRS.values() for pair in pairs):
            put(root, *(f"original_sequences/youtube/{level}/videos/{i}.mp4" for i in (a, b)))
            for method in methods:
                folder = f"manipulated_sequences/{method}/{level}"
                put(root, f"{folder}/videos/{a}_{b}.mp4", f"{folder}/videos/{b}_{a}.mp4")
                if method != "FaceShifter":
                    put(root, f"{folder}/masks/videos/{a}_{b}.mp4")
    videos = "manipulated_sequences/Deepfakes/c23/videos"
    put(root, f"{videos}/071_081.mp4", f"{videos}/._071_054.mp4", f"{videos}/notes.mp4")
    put(root, "original_sequences/youtube/c23/videos/empty.mp4", data=b"")
    put(root, "original_sequences/actors/c23/videos/01__exit_phone_room.mp4", "downloaded_videos/x/x.mp4")
    ff_lists(pathlib.Path(root, "splits"))


def faceforensics_kaggle(root, frames=False):
    """The flat copy: DeepFakeDetection/ and csv/ beside the classes."""

    def one(folder, stem):
        put(root, *([f"{folder}/{stem}/{i:04d}.png" for i in range(2)] if frames else [f"{folder}/{stem}.mp4"]))

    for a, b in (pair for pairs in FF_PAIRS.values() for pair in pairs):
        one("original", a), one("original", b)
        for method in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter"):
            one(method, f"{a}_{b}"), one(method, f"{b}_{a}")
    one("DeepFakeDetection", "01_02__exit_phone_room__YVGY8LOK")
    put(root, "csv/FF++_Metadata.csv", "csv/original.csv")
    ff_lists(root)


CIRCLES = (("id0", "id1", "id2"), ("id7", "id8"), ("id39", "id40"), ("id49", "id50"), ("id60", "id61"))


def celeb_df(root, videos="", youtube="YouTube-real"):
    """Five closed circles of people; a list with 1 = real, no last newline, and one file that is absent."""
    for circle in CIRCLES:
        for a in circle:
            put(root, f"Celeb-real/{videos}{a}_0000.mp4", f"Celeb-real/{videos}{a}_0001.mp4")
            put(root, *(f"Celeb-synthesis/{videos}{a}_{b}_0000.mp4" for b in circle if a != b))
    put(root, *(f"{youtube}/{videos}{i:05d}.mp4" for i in range(5)))
    put(root, f"Celeb-synthesis/{videos}strange name.mp4")
    lines = ["1 YouTube-real/00001.mp4", "1 Celeb-real/id0_0000.mp4", "0 Celeb-synthesis/id0_id1_0000.mp4"]
    lines += ["0 Celeb-synthesis/id7_id8_0000.mp4", "0 Celeb-synthesis/id7_id8_0099.mp4", "1 Celeb-real/id7_0001.mp4"]
    put(root, "List_of_testing_videos.txt", data="\n".join(lines).encode())


FAKEAV_CELLS = (("African", "men"), ("Caucasian (American)", "women"))


def fakeavceleb(root, people=4):
    """Two cells; names that collide across categories, a row listed twice, a row without its file."""
    header = "source,target1,target2,method,category,type,race,gender,path,"
    rows = [header]
    for c, (race, gender) in enumerate(FAKEAV_CELLS):
        for i in range(people):
            me, donor = f"id{100 * c + i:05d}", f"id{100 * c + (i + 1) % people:05d}"
            folder = f"{race}/{gender}/{me}"
            for category, name, targets, method in (
                ("RealVideo-RealAudio", "00027.mp4", "-,-", "real"),
                ("RealVideo-FakeAudio", "00027_fake.mp4", "-,-", "rtvc"),
                ("FakeVideo-RealAudio", "00027.mp4", f"{donor},-", "faceswap"),  # the name of the real clip
                ("FakeVideo-RealAudio", "00027_1_wavtolip.mp4", "1.mp4,-", "fsgan"),  # a donor without id
                ("FakeVideo-FakeAudio", f"00027_{donor}_wavtolip.mp4", f"{donor},-", "wav2lip"),
            ):
                put(root, f"{category}/{folder}/{name}")
                place = f"{race},{gender},{name},FakeAVCeleb/{category}/{folder}"
                rows.append(f"{me},{targets},{method},X,{category},{place}")
    twice = rows[5].replace(",wav2lip,", ",faceswap-wav2lip,")
    absent = rows[1].replace("00027.mp4", "00099.mp4")
    put(root, "meta_data.csv", data="\n".join(["<<<<<<< HEAD", *rows, twice, rows[1], absent]).encode())
    put(root, "README.txt")


def dfd(root, kaggle=True):
    """Actors of all parts, a scene with several underscores, a fake across parts, two fakes of one pair."""
    scene = "walking_down_street_outside_angry"
    reals = [f"{a}__{s}" for a in ("01", "02", "20", "21", "24", "25") for s in (scene, "exit_phone_room")]
    pairs = ("01 02 1", "01 02 2", "02 01 1", "20 21 1", "24 25 1", "25 24 1", "01 20 1")
    fakes = ["{}_{}__{}__ABCDEFG{}".format(*pair.split()[:2], scene, pair[-1]) for pair in pairs]
    if kaggle:
        put(root, *(f"DFD_original sequences/{name}.mp4" for name in reals), "DFD_original sequences/Park.mp4")
        put(root, *(f"DFD_manipulated_sequences/DFD_manipulated_sequences/{name}.mp4" for name in fakes))
    else:
        put(root, *(f"original_sequences/actors/c23/videos/{name}.mp4" for name in (*reals, "Park")))
        put(root, *(f"manipulated_sequences/DeepFakeDetection/c23/videos/{name}.mp4" for name in fakes))
        put(root, "original_sequences/youtube/c23/videos/000.mp4")


def fake_or_real(root):
    """Two versions nested the Kaggle way; base names occur as real and as fake; chains of suffixes."""
    for outer, inner in (("for-norm", "for-norm"), ("for-2sec", "for-2seconds")):
        for split in ("Training", "validation", "testing"):
            for i in range(3):
                put(root, f"{outer}/{inner}/{split}/real/file{i}.wav_16k.wav_norm.wav")
                put(root, f"{outer}/{inner}/{split}/fake/file{i}.mp3.wav_16k.wav_norm.wav")
    put(root, "for-norm/for-norm/Training/fake/file9.wav", data=b"")
    put(root, "for-original/for-original/training/fake/file1.mp3", "for-original/for-original/training/real/file1.wav")
    put(root, "for-original/for-original/testing/fake/file2.mp3", "for-original/for-original/testing/real/file2.wav")
    put(root, "for-original/for-original/training/fake/file3.mp3", "for-original/for-original/training/real/file3.wav")


def faces_140k(root, wrapper="real_vs_fake/real-vs-fake/"):
    """CSVs with 1 = real and an id with a leading zero."""
    for split in ("train", "valid", "test"):
        rows = [",original_path,id,label,label_str,path"]
        for i in range(3):
            for name, label in ((f"0{i}355", "real"), (f"{i}9ZTJ3621", "fake")):
                put(root, f"{wrapper}{split}/{label}/{name}.jpg", data=f"{split}{name}".encode())
                flag, path = int(label == "real"), f"{split}/{label}/{name}.jpg"
                rows.append(f"{len(rows) - 1},/kaggle/input/x/{name}.jpg,{name},{flag},{label},{path}")
        put(root, f"{split}.csv", data="\n".join(rows).encode())


def asvspoof(root):
    """Protocols, enrolment files that are in none of them."""
    parts = {"train": ("T", "trn", "A01 A06"), "dev": ("D", "trl", "A01 A06"), "eval": ("E", "trl", "A07 A19")}
    for n, (part, (letter, kind, systems)) in enumerate(parts.items()):
        lines = []
        for i in range(12):
            name, speaker = f"LA_{letter}_{1000000 + i}", f"LA_{10 * n + i % 2:04d}"
            put(root, f"ASVspoof2019_LA_{part}/flac/{name}.flac")
            lines.append(
                f"{speaker} {name} - - bonafide" if i < 4 else f"{speaker} {name} - {systems.split()[i % 2]} spoof"
            )
        put(root, f"ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{part}.{kind}.txt", data="\n".join(lines).encode())
        if part != "train":
            put(root, *(f"ASVspoof2019_LA_{part}/flac/LA_{letter}_900000{i}.flac" for i in range(2)))
    put(root, "README.LA.txt")


def wavefake(root):
    """Three styles of suffix, a second copy of all files in generated/, two languages."""
    for i in range(1, 13):
        put(root, f"LJSpeech-1.1/wavs/LJ001-{i:04d}.wav")
        put(root, f"generated_audio/ljspeech_melgan/LJ001-{i:04d}_gen.wav")
        put(root, f"generated_audio/ljspeech_hifiGAN/LJ001-{i:04d}_generated.wav")
        put(root, f"generated_audio/ljspeech_waveglow/LJ001-{i:04d}.wav")
    for i in range(1, 3):
        put(root, f"jsut_ver1.1/basic5000/wav/BASIC5000_{i:04d}.wav")
        put(root, f"generated_audio/jsut_parallel_wavegan/BASIC5000_{i:04d}_gen.wav")
    tts = "generated_audio/common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech"
    put(root, f"{tts}/gen_1.wav", f"{tts}/gen_2.wav", f"{tts}/generated/gen_1.wav", f"{tts}/generated/gen_2.wav")
    put(root, "LJSpeech-1.1/metadata.csv")
