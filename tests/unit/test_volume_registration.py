"""Sections with a known truth come to lie on each other; those that do not belong together are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from serial_sections import (
    Tissue,
    authors_placement,
    errors_px,
    her2st_views,
    landmarks,
    lying,
    section,
    stained,
)

from spadework.errors import InputError
from spadework.figures.registration import registration_figure
from spadework.figures.style import finish
from spadework.images import ArrayImage
from spadework.tissue import TissueModel
from spadework.volume.bending import bend, median_displacement
from spadework.volume.block import SPOT_COLUMNS, build_block
from spadework.volume.placement import STEEPEST, Placement
from spadework.volume.registration import Registered, compare_in_block, match, register
from spadework.volume.sections import make_view, read_views, tissue_mask

TISSUE = Tissue(3)


def error_um(found: Placement, moving: Placement, fixed: Placement) -> float:
    """Median distance of landmarks of the tissue from where they should be, µm of the fixed section."""
    points = landmarks()
    return float(np.median(np.linalg.norm(found.to_block(moving.to_own(points)) - fixed.to_own(points), axis=1)))


# ---- two sections --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("angle", "mirrored"), [(0, True), (37, False), (180, True), (-120, False)])
def test_sections_are_brought_onto_each_other(angle, mirrored):
    """Whatever their rotation and side, with pixels of another shape, and noise."""
    a, b = lying(angle, mirrored=mirrored, at=(1900.0, 1700.0)), lying(10.0, at=(2100.0, 1850.0))
    moving = section("moving", 0, TISSUE, a)
    fixed = section("fixed", 1, TISSUE, b, um_per_px=(10.0, 13.0))
    found = match(moving, fixed, 20.0)
    assert found.placement.mirrored == mirrored
    assert error_um(found.placement, a, b) < 6
    assert found.overlap > 0.97
    assert found.correlation > 0.8 > found.runner_up + 0.2


def test_a_section_lies_on_itself():
    picture = section("a", 0, TISSUE, lying(20))
    found = match(picture, picture, 20.0)
    assert np.allclose(found.placement.linear, np.eye(2), atol=2e-3)
    assert np.abs(found.placement.to_block(landmarks() + 1800) - landmarks() - 1800).max() < 4
    assert found.overlap > 0.99


def test_round_sections_are_told_by_their_texture():
    """Neither outline nor principal axes say anything."""
    round_tissue = replace(TISSUE, round=True)
    a, b = lying(190, mirrored=True), lying(0)
    found = match(section("a", 0, round_tissue, a), section("b", 1, round_tissue, b), 20.0)
    assert found.placement.mirrored
    assert error_um(found.placement, a, b) < 6


def test_a_torn_section_still_fits():
    a, b = lying(150), lying(0)
    torn = replace(TISSUE, missing=(900.0, 300.0, 700.0))
    found = match(section("a", 0, torn, a), section("b", 1, TISSUE, b), 20.0)
    assert error_um(found.placement, a, b) < 25  # a voxel
    assert found.overlap < 0.95


def test_the_side_can_be_given():
    a, b = lying(30, mirrored=True), lying(0)
    moving, fixed = section("a", 0, TISSUE, a), section("b", 1, TISSUE, b)
    wrong = match(moving, fixed, 20.0, [False])
    right = match(moving, fixed, 20.0, [True])
    assert (wrong.placement.mirrored, right.placement.mirrored) == (False, True)
    assert wrong.correlation < right.correlation - 0.2


# ---- a block -------------------------------------------------------------------------------------------------------


def block_of(*lyings: Placement, tissue: Tissue = TISSUE, flips: str = ""):
    flips = flips.split(",") if flips else [""] * len(lyings)
    return [
        section(f"s{k}", 10.0 * k, tissue, place, flip=flip)
        for k, (place, flip) in enumerate(zip(lyings, flips, strict=True))
    ]


def mirrored(registered: list[Registered]) -> list[bool]:
    return [r.placement.mirrored for r in registered]


def largest_error(registered: list[Registered], lyings: list[Placement]) -> float:
    """Landmarks of all sections should meet in the block."""
    points = np.stack([r.placement.to_block(p.to_own(landmarks())) for r, p in zip(registered, lyings, strict=True)])
    return float(np.linalg.norm(points - points.mean(axis=0), axis=2).max())


def test_a_block_is_put_together_from_its_middle():
    lyings = [lying(a, at=(1900.0 + 3 * a, 1800.0)) for a in (0, 30, -50, 70, 20)]
    registered, reference = register(block_of(*lyings))
    assert reference == 2
    assert [r.to for r in registered] == ["s1", "s2", "", "s2", "s3"]
    assert registered[2].placement.rotation_deg == 0
    assert largest_error(registered, lyings) < 15
    assert not any(mirrored(registered))


@pytest.mark.parametrize("odd", [1, 2])
def test_the_section_that_differs_is_the_mirrored_one(odd):
    """Even where it is the reference."""
    lyings = [lying(15 * k, mirrored=k == odd) for k in range(3)]
    registered, _ = register(block_of(*lyings))
    assert mirrored(registered) == [k == odd for k in range(3)]
    assert largest_error(registered, lyings) < 15


def test_what_the_sheet_says_of_sides_holds():
    lyings = [lying(0, mirrored=True), lying(20, mirrored=True), lying(40)]
    registered, _ = register(block_of(*lyings, flips="yes,yes,no"))
    assert mirrored(registered) == [True, True, False]
    assert largest_error(registered, lyings) < 15
    # Known of one that is not in the middle: all others are measured by it.
    registered, reference = register(block_of(*lyings, flips=",,no"))
    assert reference == 2
    assert mirrored(registered) == [True, True, False]


def test_a_wrong_side_is_refused_by_name():
    pictures = block_of(lying(0), lying(10, mirrored=True), flips="no,no")
    with pytest.raises(InputError, match=r"s1[\s\S]*neighbour s0[\s\S]*`flip`, which says 'no'"):
        register(pictures)


def test_sections_of_another_tissue_are_refused():
    pictures = block_of(lying(0), lying(10), lying(30))
    pictures[2] = section("stranger", 20, Tissue(8), lying(0))
    with pytest.raises(InputError, match=r"stranger[\s\S]*neighbour s1[\s\S]*`block`"):
        register(pictures)
    registered, _ = register(pictures, min_overlap=0)
    assert "another orientation fits nearly as well" in registered[2].note


def test_too_little_overlap_is_refused():
    small = replace(TISSUE, radius_um=500.0)
    pictures = [section("large", 0, TISSUE, lying(0)), section("small", 1, small, lying(0))]
    with pytest.raises(InputError, match="min_overlap"):
        register(pictures, min_overlap=0.6)


def test_an_ambiguous_orientation_is_said():
    """A disc with one dark ring fits at any angle; it is not refused, but not passed over either."""
    even = Tissue(1, round=True, even=True)
    pictures = [section(n, z, even, lying(0), noise=0.0) for z, n in enumerate("ab")]
    rings = []
    for p in pictures:
        y, x = np.mgrid[: p.density.shape[0], : p.density.shape[1]]
        distance = np.hypot((x + 0.5) * p.um_per_px[0] - 2000, (y + 0.5) * p.um_per_px[1] - 1800)
        rings.append(replace(p, density=(p.density + 0.3 * (np.abs(distance - 500) < 150)).astype(np.float32)))
    registered, _ = register(rings)
    assert any("another orientation fits nearly as well" in r.note for r in registered)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p[:1], "1 section in its block"),
        (lambda p: [p[0], replace(p[1], z_um=p[0].z_um)], "both at a depth of 0 µm"),
        (lambda p: [p[0], replace(p[1], tissue=np.zeros_like(p[1].tissue))], "s1[\\s\\S]*no tissue"),
    ],
)
def test_what_is_no_block_is_refused(damage, message):
    with pytest.raises(InputError, match=message):
        register(damage(block_of(lying(0), lying(10))))


@pytest.mark.parametrize("at", [0, 1])
def test_a_crumb_is_no_tissue(at):
    """Too small to be seen where sections are searched for, in the fixed section and in the one brought to it."""
    pictures = block_of(lying(0), lying(10))
    crumb = np.zeros_like(pictures[at].tissue)
    crumb[100:102, 90:92] = True
    pictures[at] = replace(pictures[at], tissue=crumb)
    with pytest.raises(InputError, match=f"s{at}[\\s\\S]*no tissue"):
        register(pictures, min_overlap=0)


# ---- bending -------------------------------------------------------------------------------------------------------


def bent_pair() -> tuple[list[Registered], np.ndarray, np.ndarray]:
    """Two sections that lie alike, one stretched by a wave; landmarks on both."""

    def wave(xy: np.ndarray) -> np.ndarray:
        return xy + 60 * np.column_stack([np.sin(xy[:, 1] / 500), np.cos(xy[:, 0] / 600)])

    class Bent(Tissue):
        def density(self, xy):
            return super().density(wave(xy))

    fixed, moving = section("a", 0, TISSUE, lying(0)), section("b", 1, Bent(3), lying(0))
    still = Placement.rigid(0.0)
    middle = np.array([2000, 1800])
    # A point of the bent section shows tissue wave(p), which the other one has there.
    pair = [Registered(fixed, still), Registered(moving, still, "a")]
    return pair, landmarks() + middle, wave(landmarks()) + middle


def test_bending_takes_back_what_was_stretched():
    pair, own, truth = bent_pair()
    bent = bend(pair, 0, 20.0)
    before = np.median(np.linalg.norm(own - truth, axis=1))
    after = np.median(np.linalg.norm(bent[1].placement.to_block(own) - truth, axis=1))
    assert before > 50
    assert after < 15
    assert bent[1].placement.field.steepness <= STEEPEST
    assert 30 < median_displacement(bent[1]) < 100
    assert compare_in_block(bent[1], bent[0], 20.0)[1] > compare_in_block(pair[1], pair[0], 20.0)[1] + 0.1
    assert bent[0].placement.field is None


def test_what_fits_is_not_bent():
    picture = section("a", 0, TISSUE, lying(0))
    still = Placement.rigid(0.0)
    bent = bend([Registered(picture, still), Registered(replace(picture, name="b"), still, "a")], 0, 20.0)
    assert bent[1].placement.field is None
    assert "not bent" in bent[1].note
    assert np.isnan(median_displacement(bent[1]))


# ---- from images to a stack ----------------------------------------------------------------------------------------


def views_of(*lyings: Placement, voxel: float = 25.0):
    """Images with spots at landmarks, where the last one has none."""
    import pandas as pd

    views = []
    for k, place in enumerate(lyings):
        picture = section(f"s{k}", 10.0 * k, TISSUE, place)
        xy = place.to_own(landmarks())
        spots = pd.DataFrame({"barcode": [f"b{i}" for i in range(len(xy))], "x_um": xy[:, 0], "y_um": xy[:, 1]})
        sample = {"name": picture.name, "z_um": picture.z_um, "flip": ""}
        views.append(
            make_view(
                ArrayImage(stained(picture, (250 - 9 * k, 245 - 12 * k, 248))),
                picture.um_per_px,
                min(voxel, 20.0),
                sample,
                spots=spots.assign(spot_um=55.0) if k < len(lyings) - 1 else None,
            )
        )
    return views


@pytest.fixture(scope="module")
def built():
    lyings = [lying(0), lying(40, mirrored=True), lying(-20)]
    return build_block(views_of(*lyings), 25.0)


def test_the_stack_holds_all_tissue(built):
    stack = built.stack
    assert stack.stain.shape == (*stack.tissue.shape, 3)
    assert all(n % 16 == 0 and n >= 48 for n in stack.tissue.shape[1:])
    inside = np.pad(np.ones(np.array(stack.tissue.shape[1:]) - 6, bool), 3)
    assert not (stack.tissue & ~inside).any()
    assert (stack.stain[~stack.tissue] == 255).all()
    # About the area of the tissue, in every section.
    area = stack.tissue.sum(axis=(1, 2)) * 25.0**2
    assert np.allclose(area, area.mean(), rtol=0.02)
    assert stack.samples == ("s0", "s1", "s2")
    assert list(stack.z_um) == [0, 10, 20]
    assert stack.sequenced == (True, True, False)


def test_planes_show_the_same_tissue(built):
    grey = built.stack.stain.astype(float).mean(axis=3)
    both = built.stack.tissue.all(axis=0)
    for a, b in ((0, 1), (1, 2)):
        assert np.corrcoef(grey[a][both], grey[b][both])[0, 1] > 0.9
    # Three colours of glass: stain is made alike.
    means = [built.stack.stain[k][built.stack.tissue[k]].mean(axis=0) for k in range(3)]
    assert np.abs(np.array(means) - means[1]).max() < 2


def test_spots_are_in_the_frame_of_the_stack(built):
    spots = built.spots
    assert list(spots.columns) == SPOT_COLUMNS
    assert spots["sample"].value_counts().to_dict() == {"s0": 60, "s1": 60}
    first, second = (spots[spots["sample"] == s][["x_um", "y_um"]].to_numpy() for s in ("s0", "s1"))
    assert np.linalg.norm(first - second, axis=1).max() < 15
    assert set(spots.loc[spots["sample"] == "s1", "z_um"]) == {10.0}
    # Distances between spots are those of the tissue, and their colours those of the tissue there.
    assert np.allclose(
        np.linalg.norm(np.diff(first, axis=0), axis=1), np.linalg.norm(np.diff(landmarks(), axis=0), axis=1)
    )
    column, row = (first / 25.0).astype(int).T
    grey = built.stack.stain[0].astype(float).mean(axis=2)[row, column]
    assert np.corrcoef(grey, TISSUE.density(landmarks()))[0, 1] < -0.9


def test_the_table_says_how(built):
    table = built.table.set_index("sample")
    assert list(table["registered_to"]) == ["s1", "", "s1"]
    assert list(table["mirrored"]) == ["no", "yes", "no"]
    assert table.loc[["s0", "s2"], "overlap"].min() > 0.97
    assert table.loc["s1", "note"] == "reference"
    assert table["displacement_um"].isna().all()
    xy = np.array([[700.0, 900.0]])
    affine = table.loc["s2", ["xx", "xy", "yx", "yy", "x0", "y0"]].to_numpy(float)
    assert np.allclose(built.registered[2].placement.to_block(xy)[0], affine[:4].reshape(2, 2) @ xy[0] + affine[4:])


def test_stain_can_stay_as_it_is():
    views = views_of(lying(0), lying(10))
    dark = replace(views[1], rgb=(views[1].rgb * 0.8).astype(np.uint8))
    built = build_block([views[0], dark], 25.0, stain_normalisation=False)
    means = [built.stack.stain[k][built.stack.tissue[k]].mean() for k in range(2)]
    assert means[1] < means[0] * 0.85


def test_the_figure_shows_every_section(built, tmp_path):
    figure, note = registration_figure(built, "block")
    assert isinstance(figure, Figure)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert "s0 · 0 µm deep" in titles[0]
    assert "mirrored" in titles[3]
    assert "all others are brought to it" in titles[3]
    assert "overlap 0.9" in titles[6] or "overlap 1.0" in titles[6]
    before, after = (figure.axes[k].images[0].get_array() for k in (7, 8))
    # Colour is where only one of the two is.
    assert np.ptp(np.asarray(after), axis=2).mean() < np.ptp(np.asarray(before), axis=2).mean() / 2
    finish(figure, tmp_path / "f.png", note)
    assert (tmp_path / "f.png").stat().st_size > 10_000


# ---- tissue and files ----------------------------------------------------------------------------------------------


def test_print_on_the_slide_is_no_tissue():
    """Marks and dust hold no spots; of a section without spots, small pieces go."""
    density = np.zeros((200, 240), np.float32)
    density[60:140, 80:180] = 0.4
    density[90:93, 100:103] = 0  # a pinhole
    density[5:20, 100:160] = 0.4  # print: 900 px
    density[150:160, 20:30] = 0.4
    spots = np.array([[1300.0, 1000.0], [900.0, 700.0], [5000.0, 5000.0]])
    mask = tissue_mask(density, 0.1, (10.0, 10.0), spots)
    expected = np.zeros_like(mask)
    expected[60:140, 80:180] = True
    assert (mask != expected).mean() < 0.002
    without = tissue_mask(density, 0.1, (10.0, 10.0))
    assert without[10, 130]
    assert not without[155, 25]
    assert not tissue_mask(density, 0.1, (10.0, 10.0), spots[2:]).any()


def test_tissue_at_the_border_stays():
    density = np.full((60, 60), 0.4, np.float32)
    density[:, 40:] = 0
    mask = tissue_mask(density, 0.1, (10.0, 10.0))
    assert mask[:, :40].all()
    assert not mask[:, 40:].any()


def test_views_come_in_the_order_of_depth(outs, tmp_path):
    """A sequenced section from the files of the workflow, and stained ones from images alone."""
    import json
    from dataclasses import asdict

    from PIL import Image

    from spadework.ingest import ingest
    from spadework.samples import Sample

    sample = Sample(name="s", path=outs)
    adata = ingest(sample, 8)
    adata.write_h5ad(tmp_path / "spots.h5ad")
    model = TissueModel((250.0, 245.0, 248.0), 0.08)
    (tmp_path / "preflight.json").write_text(json.dumps({"tissue": asdict(model)}))
    picture = section("stain", 5.0, TISSUE, lying(0), um_per_px=(10.0, 10.0))
    Image.fromarray(stained(picture)).save(tmp_path / "stain.png")
    common = {"flip": "", "channels": (), "image": False, "um_per_px": None}
    samples = [
        common | {"name": "s", "z_um": 30.0, "sequenced": True},
        common | {"name": "stain", "z_um": 5.0, "sequenced": False, "um_per_px": 10.0},
    ]
    read = lambda which: read_views(  # noqa: E731
        which, [tmp_path / "spots.h5ad"], [tmp_path / "preflight.json"], [], [tmp_path / "stain.png"], 20.0
    )
    first, second = read(samples)
    assert (first.picture.name, second.picture.name) == ("stain", "s")
    assert first.spots is None
    assert first.picture.um_per_px == pytest.approx((10.0, 10.0))
    assert first.picture.tissue.sum() * 100 == pytest.approx(picture.tissue.sum() * 100, rel=0.03)
    assert list(second.spots["barcode"]) == list(adata.obs_names)
    scale = adata.uns["spade"]["lattice"]["um_per_px_x"]
    assert np.allclose(second.spots["x_um"], adata.obsm["spatial"][:, 0] * scale)
    for wrong in (None, 0.0):
        with pytest.raises(InputError, match="um_per_px"):
            read([samples[0], samples[1] | {"um_per_px": wrong}])


# ---- real sections -------------------------------------------------------------------------------------------------


@pytest.mark.shared
def test_real_sections_lie_as_their_authors_have_them(shared_data):
    """Closer than half a spot distance (145 px), and better on each other than in the authors' alignment."""
    views = her2st_views(shared_data, ["C2", "C3", "C4"])
    block = build_block(views, 25.0)
    assert list(block.table["mirrored"]) == ["no"] * 3
    assert all(np.median(e) < 145 for e in errors_px(shared_data, block).values())
    for k in (0, 2):
        section = replace(block.registered[k], placement=authors_placement(shared_data, ("C2", "", "C4")[k], "C3"))
        theirs = compare_in_block(section, Registered(views[1].picture, Placement.rigid(0.0)), 20.0)
        row = block.table.iloc[k]
        assert row["overlap"] > theirs[0]
        assert row["correlation"] > theirs[1]


@pytest.mark.shared
@pytest.mark.parametrize(("which", "how"), [("C3", "mirrored"), ("C4", "turned and mirrored")])
def test_turned_and_mirrored_real_sections_are_put_right(which, how, shared_data):
    """The one that the others are brought to, and another; the benchmark has them all."""
    turns = {which: how}
    block = build_block(her2st_views(shared_data, ["C2", "C3", "C4"], turns), 25.0)
    mirrored = ["yes" if name == which and "mirrored" in how else "no" for name in ("C2", "C3", "C4")]
    assert list(block.table["mirrored"]) == mirrored
    assert all(np.median(e) < 145 for e in errors_px(shared_data, block, turns).values())


@pytest.mark.shared
@pytest.mark.parametrize("order", [["B4", "C3"], ["C2", "C3", "B4"]])
def test_a_real_section_of_another_patient_is_refused(order, shared_data):
    with pytest.raises(InputError, match="does not match its neighbour"):
        build_block(her2st_views(shared_data, order), 25.0)
