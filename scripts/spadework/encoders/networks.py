"""Names of the networks of ``keras.applications``, and how small their input may be."""

from __future__ import annotations

# module of keras.applications -> classes in it
_MODULES: dict[str, tuple[str, ...]] = {
    "vgg16": ("VGG16",),
    "vgg19": ("VGG19",),
    "resnet": ("ResNet50", "ResNet101", "ResNet152"),
    "resnet_v2": ("ResNet50V2", "ResNet101V2", "ResNet152V2"),
    "inception_v3": ("InceptionV3",),
    "inception_resnet_v2": ("InceptionResNetV2",),
    "xception": ("Xception",),
    "mobilenet": ("MobileNet",),
    "mobilenet_v2": ("MobileNetV2",),
    "mobilenet_v3": ("MobileNetV3Small", "MobileNetV3Large"),
    "densenet": ("DenseNet121", "DenseNet169", "DenseNet201"),
    "nasnet": ("NASNetMobile", "NASNetLarge"),
    "efficientnet": tuple(f"EfficientNetB{i}" for i in range(8)),
    "efficientnet_v2": tuple(f"EfficientNetV2{s}" for s in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    "convnext": tuple(f"ConvNeXt{s}" for s in ("Tiny", "Small", "Base", "Large", "XLarge")),
}
NETWORKS: dict[str, tuple[str, str]] = {c.lower(): (m, c) for m, classes in _MODULES.items() for c in classes}
_MIN_PX = {"inceptionv3": 75, "inceptionresnetv2": 75, "xception": 71}


def min_px(name: str) -> int:
    """Smallest input, px, a network takes."""
    return _MIN_PX.get(name, 32)
