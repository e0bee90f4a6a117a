"""Spots get classes and sets by rule: no training patch shares tissue with a test patch, whatever the section."""

from __future__ import annotations

import logging

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from spadework.errors import InputError
from spadework.keys import Keys
from spadework.prototypes.data import class_names, one_sided, read_patches, read_spots, split, spot_table, write_spots

UM = (2.0, 3.0)


def section(labels, prefix: str = "b", pitch_um: float = 100.0, **columns) -> ad.AnnData:
    """Spots on a square lattice, 20 in a row."""
    n = len(labels)
    names = [f"{prefix}{i}" for i in range(n)]
    adata = ad.AnnData(np.zeros((n, 1)), obs=pd.DataFrame({"cluster": labels} | columns, index=names))
    adata.obsm["spatial"] = np.column_stack([np.arange(n) % 20, np.arange(n) // 20]) * pitch_um / UM
    adata.uns[Keys.SPADE] = {"lattice": {"um_per_px_x": UM[0], "um_per_px_y": UM[1]}}
    return adata


def refused(sections, column="cluster", min_spots=5) -> InputError:
    with pytest.raises(InputError) as caught:
        spot_table(sections, column, min_spots)
    return caught.value


def table(rng: np.random.Generator, n: int = 400, classes: int = 3, sections: int = 1) -> pd.DataFrame:
    """Spots at random places of sections of 2 by 2 mm, every class a band."""
    x, y = rng.uniform(0, 2000, (2, n))
    return pd.DataFrame(
        {
            "sample": rng.integers(0, sections, n).astype(str),
            "barcode": np.arange(n).astype(str),
            "class": (x * classes / 2000).astype(int).astype(str),
            "x_um": x,
            "y_um": y,
        }
    )


def overlaps(spots: pd.DataFrame, patch_um: float) -> np.ndarray:
    """Whether the patch of each spot overlaps that of a test spot of its section."""
    near = cdist(spots[["x_um", "y_um"]], spots[["x_um", "y_um"]], "chebyshev") < patch_um
    same = spots["sample"].to_numpy()[:, None] == spots["sample"].to_numpy()
    return (near & same)[:, spots["set"] == "test"].any(axis=1)


def test_labels_are_text_and_places_are_um():
    spots = spot_table({"s": section(pd.Categorical([1, 2] * 10))}, "cluster", 5)
    assert list(spots.columns) == ["sample", "barcode", "class", "x_um", "y_um"]
    assert list(spots["class"][:2]) == ["1", "2"]
    assert spots.loc[3, ["sample", "barcode", "x_um", "y_um"]].tolist() == ["s", "b3", 300.0, 0.0]


def test_small_classes_and_spots_without_a_class_become_other(caplog):
    labels = ["a"] * 9 + ["b"] * 8 + ["c"] * 2 + [None, "unlabelled", " "]
    with caplog.at_level(logging.INFO, "spadework"):
        spots = spot_table({"s": section(pd.Categorical(labels))}, "cluster", 5)
    assert spots["class"].value_counts().to_dict() == {"a": 9, "b": 8, "other": 5}
    assert "5 spots make the class other (no class: 3 spots; c: 2 spots)" in caplog.text


def test_a_class_called_other_is_the_same_one():
    spots = spot_table({"s": section(["a"] * 9 + ["other"] * 4 + ["c"] * 2)}, "cluster", 5)
    assert spots["class"].value_counts().to_dict() == {"a": 9, "other": 6}


def test_too_few_others_have_no_class_and_are_unused(caplog):
    with caplog.at_level(logging.INFO, "spadework"):
        spots = spot_table({"s": section(["a", "b"] * 198 + ["c"] * 4)}, "cluster", 5)
    assert spots["class"].value_counts().to_dict() == {"a": 198, "b": 198, "": 4}
    assert "4 spots are too few" in caplog.text
    sets = split(spots, patch_um=100, test_share=0.25, held_out=[], seed=0)
    assert (sets.loc[sets["class"] == "", "set"] == "unused").all()
    assert "" not in class_names(sets)


def test_spots_of_a_class_are_counted_over_all_sections():
    sections = {"s": section(["a"] * 9 + ["b"] * 3), "t": section(["a"] * 9 + ["b"] * 3)}
    assert spot_table(sections, "cluster", 5)["class"].value_counts().to_dict() == {"a": 18, "b": 6}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, np.nan, np.nan], {"1", "2", "other"}),
        ([True, False, True, False], {"True", "False"}),
        (["None", "NA", "nan", "-1"], {"None", "NA", "nan", "-1"}),
        (pd.array([3, 4, pd.NA, pd.NA], "Int64"), {"3", "4", "other"}),
    ],
)
def test_labels_of_any_kind(values, expected):
    spots = spot_table({"s": section(pd.Series(values).repeat(5).to_numpy())}, "cluster", 5)
    assert set(spots["class"]) == expected


@pytest.mark.parametrize("name", ["None", "NA", "nan", "-1", "=1+1", "01", 'a, "b"'])
def test_names_survive_the_csv(tmp_path, name):
    spots = pd.DataFrame(
        {"sample": ["01", "01"], "barcode": ["1", "-A"], "class": [name, ""], "set": ["train", "unused"]}
    ).assign(region=[3, 0], x_um=1.0)
    write_spots(spots, tmp_path / "spots.csv")
    pd.testing.assert_frame_equal(read_spots(tmp_path / "spots.csv"), spots.drop(columns="x_um"))


def test_a_column_that_is_not_there_is_named_with_its_neighbours():
    error = refused({"s": section(["a", "b"] * 9, depth=1.5, kind="x")}, "clusters")
    assert error.sample == "s"
    assert "'clusters'" in error.found
    assert "cluster, kind" in error.expected
    assert "depth" not in error.expected
    assert "did you mean 'cluster'?" in error.remedy


def test_measurements_are_no_classes():
    assert "60 different numbers" in refused({"s": section(["a"] * 60, depth=np.arange(60))}, "depth").found
    error = refused({"s": section(["a"] * 60, depth=[0.5, 1.5] * 30)}, "depth")
    assert "2 different numbers" in error.found
    assert "cluster" in error.expected


def test_one_class_is_refused_with_the_numbers():
    error = refused({"s": section(["a"] * 9 + ["b"] * 2)})
    assert error.found.startswith(
        "1 class with at least 5 spots in obs['cluster']; it holds a (9 spots), b (2 spots)"
    )
    assert error.expected == "two classes of at least 5 spots"
    assert "no labels" in refused({"s": section([None] * 4)}).found


@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([60, 120, 300]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_no_training_patch_overlaps_a_test_patch(seed, sections, patch_um, hold):
    rng = np.random.default_rng(seed)
    spots = table(rng, sections=sections)
    hold = hold and sections > 1
    sets = split(spots, patch_um=patch_um, test_share=0.25, held_out=["0"] if hold else [], seed=seed)
    pd.testing.assert_frame_equal(sets[spots.columns], spots)
    near = overlaps(sets, patch_um)
    assert not near[sets["set"] == "train"].any()
    assert near[sets["set"] == "margin"].all()  # and none is given up for nothing
    assert sets["set"].isin(["train", "margin", "test"]).all()
    assert len(sets[["sample", "region"]].drop_duplicates()) == sets["region"].nunique()
    if hold:
        assert ((sets["set"] == "test") == (sets["sample"] == "0")).all()
    else:
        assert (sets.groupby("region")["set"].agg(lambda s: (s == "test").mean()).isin([0, 1])).all()
        assert (sets.groupby("sample")["set"].agg(lambda s: (s == "test").mean()).between(0.1, 0.4)).all()
    shuffled = sets.iloc[rng.permutation(len(sets))]
    again = split(
        shuffled[spots.columns],
        patch_um=patch_um,
        test_share=0.25,
        held_out=["0"] if hold else [],
        seed=seed,
    )
    pd.testing.assert_frame_equal(again, shuffled)


def test_the_seed_chooses_the_regions():
    spots = table(np.random.default_rng(0))
    a, b = (split(spots, patch_um=60, test_share=0.25, held_out=[], seed=seed)["set"] for seed in (0, 1))
    assert (a != b).any()


def test_every_class_is_on_both_sides_in_its_share():
    spots = table(np.random.default_rng(1), n=2000, classes=5)
    sets = split(spots, patch_um=60, test_share=0.25, held_out=[], seed=0)
    share = (sets["set"] == "test").groupby(sets["class"]).mean()
    assert share.between(0.15, 0.35).all()
    assert one_sided(sets) == ([], [])


def test_regions_are_a_dozen_to_forty_and_three_patches_wide():
    rng = np.random.default_rng(2)
    for patch_um, least, most in ((60, 12, 40), (300, 4, 4)):
        sets = split(table(rng), patch_um=patch_um, test_share=0.25, held_out=[], seed=0)
        assert least <= sets["region"].nunique() <= most
        size = sets.groupby("region")[["x_um", "y_um"]].agg(np.ptp)
        assert size.max().max() < 2000 / 2 + 1
        # the outermost spots of a region lie a little inside of it
        assert size.min().min() > 3 * patch_um * 0.7


def test_classes_of_one_side_are_named(caplog):
    spots = table(np.random.default_rng(3), sections=2)
    spots.loc[spots["sample"] == "0", "class"] = spots["class"].replace({"2": "1"})
    spots.loc[spots["sample"] == "1", "class"] = spots["class"].replace({"0": "1"})
    spots.loc[(spots["sample"] == "1") & (spots.index % 4 == 0), "class"] = "3"
    sets = split(spots, patch_um=60, test_share=0.25, held_out=["0"], seed=0)
    assert one_sided(sets) == (["2", "3"], ["0"])
    assert "no test spots of 2, 3" in caplog.text
    assert "no training spots of 0" in caplog.text
    assert class_names(sets) == ("1", "2", "3")
    assert (sets.loc[sets["class"] == "0", "set"] == "test").all()


def test_class_names_are_in_numeric_order_and_other_is_last():
    spots = pd.DataFrame({"class": ["10", "other", "2", "5", "zebra"], "set": ["train"] * 3 + ["test", "train"]})
    assert class_names(spots[:4]) == ("2", "10", "other")
    assert class_names(spots) == ("10", "2", "zebra", "other")
    assert class_names(spots[:1]) == ("10",)


def test_a_split_that_leaves_one_class_or_no_test_is_refused():
    spots = table(np.random.default_rng(4))
    with pytest.raises(InputError, match="0 test spots") as caught:
        split(spots, patch_um=900, test_share=0.25, held_out=[], seed=0)
    assert "prototypes.um (now 900 µm)" in caught.value.remedy
    two = table(np.random.default_rng(4), sections=2).assign(**{"class": lambda t: t["sample"]})
    with pytest.raises(InputError, match=r"training spots of 1 classes \(1\)"):
        split(two, patch_um=60, test_share=0.25, held_out=["0"], seed=0)
    with pytest.raises(ValueError, match="held-out section x"):
        split(spots, patch_um=60, test_share=0.25, held_out=["x"], seed=0)


def test_a_split_is_possible_where_places_are_in_one_line():
    spots = table(np.random.default_rng(5)).assign(y_um=7.0)
    sets = split(spots, patch_um=60, test_share=0.25, held_out=[], seed=0)
    assert not overlaps(sets, 60)[sets["set"] == "train"].any()


def test_patches_come_in_the_order_of_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("spadework.prototypes.data._BLOCK", 4)
    rng = np.random.default_rng(6)
    paths, known = {}, {}
    for sample in ("s", "t"):
        paths[sample] = tmp_path / f"{sample}.h5"
        pixels = rng.integers(0, 256, (11, 5, 5, 3), np.uint8)
        names = [f"b{i}" for i in rng.permutation(11)]
        with h5py.File(paths[sample], "w") as handle:
            handle["patches"], handle["barcodes"] = pixels, np.array(names, object)
        known |= {(sample, name): patch for name, patch in zip(names, pixels, strict=True)}
    keys = [list(known)[i] for i in (*rng.permutation(22)[:15], 0, 0)]
    spots = pd.DataFrame(keys, columns=["sample", "barcode"], index=rng.permutation(17))
    patches = read_patches(paths, spots)
    assert patches.dtype == np.uint8
    np.testing.assert_array_equal(patches, np.stack([known[key] for key in keys]))
    with pytest.raises(KeyError, match="t: no patch of absent"):
        read_patches(paths, pd.DataFrame({"sample": ["s", "t"], "barcode": ["b1", "absent"]}))
