"""
Gather what a GPU machine without a network needs for the kit, in one folder of at most 64 MiB.

    python benchmarks/gpu/carry.py FOLDER --cifar10 FOLDER --photos FILE.parquet

    FOLDER/wheels/     for Python 3.12 on x86-64 Linux, beside a PyTorch that is there
    FOLDER/data/       cifar10/*.parquet and imagenet_samples/*.parquet

There: pip install --no-index --no-deps --target SITE FOLDER/wheels/*.whl, and PYTHONPATH=SITE:. python -m benchmarks
gpu --data FOLDER/data --out OUT, in this project's folder.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path


# What an image with torch, torchvision, transformers, accelerate, pyarrow and the like lacks.
WHEELS = [
    "datasets==5.2.0", "dill==0.4.1", "evaluate==0.4.6", "multiprocess==0.70.19", "simplejpeg==1.9.0", "timm==1.0.31",
]  # fmt: skip
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (17, 27, 28)] + ["manylinux2014_x86_64", "manylinux1_x86_64"]
LIMIT = 64 * 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cifar10", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    options = parser.parse_args()
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", "3.12", "--implementation", "cp", *platforms]
    subprocess.run([*command, "--dest", str(options.folder / "wheels"), *WHEELS], check=True)
    for source, target in ((options.cifar10, "cifar10"), (options.photos.parent, "imagenet_samples")):
        (options.folder / "data" / target).mkdir(parents=True, exist_ok=True)
        for file in source.glob("*.parquet"):
            shutil.copyfile(file, options.folder / "data" / target / file.name)
    sizes = {str(file.relative_to(options.folder)): file.stat().st_size for file in options.folder.rglob("*.*")}
    for name, size in sizes.items():
        print(f"{size / 2**20:7.2f} MiB  {name}")
    total = sum(sizes.values())
    print(f"{total / 2**20:7.2f} MiB  in all")
    if total > LIMIT:
        sys.exit("more than 64 MiB: fewer photographs will do")


if __name__ == "__main__":
    main()
