"""Published weights: where they are, and how to know them. No network library is imported here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from spadework.errors import InputError

_BASE = "https://storage.googleapis.com/tensorflow/keras-applications"


@dataclass(frozen=True)
class WeightsFile:
    """ImageNet weights without the classifier, as Keras publishes them.

    Attributes
    ----------
    checksum
        ``md5:`` or ``sha256:`` and the hex digest.
    """

    url: str
    checksum: str

    @property
    def filename(self) -> str:
        """Last part of the URL."""
        return self.url.rsplit("/", 1)[1]


IMAGENET: dict[str, WeightsFile] = {
    "vgg16": WeightsFile(
        # The one file Keras keeps one folder higher for some mirrors; the checksum settles which it is.
        f"{_BASE}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:6d6bbae143d832006294945121d1f1fc",
    ),
    "vgg19": WeightsFile(
        f"{_BASE}/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:253f8cb515780f3b799900260a226db6",
    ),
    "resnet50": WeightsFile(
        f"{_BASE}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:4d473c1dd8becc155b73f8504c6f6626",
    ),
    "resnet50v2": WeightsFile(
        f"{_BASE}/resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:fac2f116257151a9d068a22e544a4917",
    ),
    "inceptionv3": WeightsFile(
        f"{_BASE}/inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:bcbd6486424b2319ff4ef7d526e38f63",
    ),
    "xception": WeightsFile(
        f"{_BASE}/xception/xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:b0042744bf5b25fce3cb969f33bebb97",
    ),
    "densenet121": WeightsFile(
        f"{_BASE}/densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:30ee3e1110167f948a6b9946edeeb738",
    ),
    "efficientnetv2b0": WeightsFile(
        f"{_BASE}/efficientnet_v2/efficientnetv2-b0_notop.h5", "md5:893217f2bb855e2983157299931e43ff"
    ),
    "convnexttiny": WeightsFile(
        f"{_BASE}/convnext/convnext_tiny_notop.h5",
        "sha256:d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    ),
}


def imagenet_file(encoder: str) -> WeightsFile:
    """Look up the published weights of an encoder.

    Raises
    ------
    InputError
        If no checksum is known for it.
    """
    if encoder not in IMAGENET:
        raise InputError(
            "config",
            None,
            found=f"encoder.weights: imagenet for {encoder}, whose file and checksum are not listed",
            expected=f"one of {', '.join(IMAGENET)}",
            remedy="download the weights without classifier yourself and set encoder.weights to the file",
        )
    return IMAGENET[encoder]


def check_weights(path: str | Path, checksum: str | None) -> None:
    """Check that a file is the published one; with no checksum, it is the user's own and may be anything.

    Raises
    ------
    InputError
        If it is another file.
    """
    if checksum is None:
        return
    algorithm, expected = checksum.split(":")
    with open(path, "rb") as handle:
        found = hashlib.file_digest(handle, algorithm).hexdigest()
    if found != expected:
        raise InputError(
            "config",
            path,
            found=f"{algorithm} {found}",
            expected=f"{expected}, the published file",
            remedy="delete it: it is downloaded then; or set encoder.weights to its path, if it is your own",
        )
