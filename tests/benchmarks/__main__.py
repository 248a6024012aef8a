"""All benchmarks that need no data but their own, one after another: python -m tests.benchmarks

Each runs in a process of its own, as its module's docstring says; those whose peer is missing print their own rows alone or say
what they need. Let nothing else run beside. Not among them, for they need a clone, videos or an hour: aasist, prepare, kills.
"""

import subprocess
import sys

BENCHMARKS = (  # module, words
    ("startup", "3"),
    ("front_end",),
    ("loader",),
    ("train_epoch", "160"),
    ("image_models", "--models", "efficientnet_b0", "convnext_tiny", "xception"),
    ("augmentation",),
    ("losses",),
    ("thresholds",),
    ("memory",),
    ("indexing",),
)


def main() -> None:
    """Runs each and shows what it prints; the last exit code that is not 0."""
    worst = 0
    for module, *words in BENCHMARKS:
        print(f"== {' '.join([module, *words])}", flush=True)
        worst = subprocess.run([sys.executable, "-m", f"tests.benchmarks.{module}", *words]).returncode or worst
    sys.exit(worst)


if __name__ == "__main__":
    main()
