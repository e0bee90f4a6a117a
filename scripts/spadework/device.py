"""Where a network runs: on the CPU, or on a GPU that must be there."""

from __future__ import annotations

from typing import Literal

from spadework.errors import SpadeworkError

Device = Literal["cpu", "gpu"]


def select_device(device: Device, key: str = "encoder.device") -> str:
    """Return the Keras name of a device; never fall back from GPU to CPU.

    On a GPU, numbers are kept in single precision throughout: TF32, which some libraries take by themselves, has
    three digits.

    Parameters
    ----------
    key
        Of the configuration, for the message.

    Raises
    ------
    SpadeworkError
        If a GPU is asked for and there is none.
    """
    if device == "cpu":
        return "cpu"
    import keras

    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        present = torch.cuda.is_available()
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    elif backend == "jax":
        import jax

        present = any(found.platform == "gpu" for found in jax.devices())
        jax.config.update("jax_default_matmul_precision", "highest")
    else:
        import tensorflow as tf

        present = bool(tf.config.list_physical_devices("GPU"))
        tf.config.experimental.enable_tensor_float_32_execution(False)
    if not present:
        raise SpadeworkError(
            f"config: {key}: gpu\n  found:    no GPU that {backend} can use\n"
            "  expected: a CUDA device and the GPU build of the library\n"
            "  fix:      run with --use-conda (the environment holds the GPU build) on a machine with a GPU, or set "
            f"{key}: cpu"
        )
    return "gpu:0"


def check_gpu_offer(device: str, offered: int, key: str = "encoder.device") -> None:
    """Refuse to run on a GPU that the profile did not offer.

    Raises
    ------
    SpadeworkError
        If the device is ``gpu`` and the job holds no GPU: two such jobs would share one.
    """
    if device == "gpu" and not offered:
        raise SpadeworkError(
            f"config: {key}: gpu\n  found:    the profile in use offers no GPU to this job\n"
            "  expected: resources: gpu=1 or more\n"
            "  fix:      add --resources gpu=1 (the number of GPUs of this machine); on a cluster, "
            "--workflow-profile profiles/slurm-gpu"
        )
