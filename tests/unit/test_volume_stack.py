"""A stack on disk is the stack that was written."""

from __future__ import annotations

import numpy as np
import pytest

from spadework.volume.stack import Stack, read_stack, write_stack


def stack() -> Stack:
    rng = np.random.default_rng(0)
    tissue = rng.random((3, 48, 64)) < 0.5
    stain = rng.integers(0, 256, (3, 48, 64, 3), np.uint8)
    return Stack(("a 1", "b", "ç"), np.array([0.0, 12.5, 40.0]), 25.0, stain, tissue, (True, False, True))


def test_what_is_written_is_read(tmp_path):
    before = stack()
    write_stack(before, tmp_path / "stack.h5")
    after = read_stack(tmp_path / "stack.h5")
    assert (after.samples, after.sequenced, after.voxel_um) == (before.samples, before.sequenced, before.voxel_um)
    assert all(type(s) is bool for s in after.sequenced)
    for name in ("z_um", "stain", "tissue"):
        assert np.array_equal(getattr(after, name), getattr(before, name))
        assert getattr(after, name).dtype == getattr(before, name).dtype


def test_the_same_stack_is_the_same_file(tmp_path):
    for name in ("a.h5", "b.h5"):
        write_stack(stack(), tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_file_is_whole_or_not_there(tmp_path):
    broken = stack()
    object.__setattr__(broken, "sequenced", ("no", object()))
    object.__setattr__(broken, "z_um", np.array(["x"]))
    with pytest.raises(ValueError, match="convert"):
        write_stack(broken, tmp_path / "stack.h5")
    assert list(tmp_path.iterdir()) == []
