"""
What is fetched, and from where, in one place. Mirrors and trackers come and go: every address has an option.

Sizes, MD5 sums and info-hashes: torchvision's `datasets.ImageNet` (MD5) and Academic Torrents, which agree.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownFile:
    """A file that the world knows under this name. `None`: not known, so not checked, or not to be had that way."""

    name: str
    size: int | None  # bytes
    md5: str | None
    url: str | None = None
    info_hash: str | None = None  # BitTorrent, version 1


@dataclass(frozen=True)
class ImageNetFiles:
    """The three archives that ImageNet-1K is made from."""

    train: KnownFile
    val: KnownFile
    devkit: KnownFile


IMAGENET_1K = ImageNetFiles(
    train=KnownFile(
        name="ILSVRC2012_img_train.tar",
        size=147_897_477_120,
        md5="1d675b47d978889d74fa0da5fadfb00e",
        info_hash="a306397ccf9c2ead27155983c254227c0fd938e2",
    ),
    val=KnownFile(
        name="ILSVRC2012_img_val.tar",
        size=6_744_924_160,
        md5="29b22e2961454d5413ddabcf34fc5622",
        info_hash="5d6d0df7ed81efd49ca99ea4737e0ae5e3a5f2e5",
    ),
    devkit=KnownFile(
        name="ILSVRC2012_devkit_t12.tar.gz",
        size=None,
        md5="fa75699e90414af021442c21a62c3abf",
        url="https://image-net.org/data/ILSVRC/2012/ILSVRC2012_devkit_t12.tar.gz",
    ),
)

TINY_IMAGENET = KnownFile(
    name="tiny-imagenet-200.zip",
    size=248_100_043,
    md5="90528d7ca1a48142e341f4ef8d21d0de",
    url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
)

TRACKERS = (
    "https://academictorrents.com/announce.php",
    "udp://tracker.opentrackr.org:1337/announce",
    "udp://open.demonii.com:1337/announce",
)
