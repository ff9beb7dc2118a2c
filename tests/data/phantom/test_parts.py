"""The parts of the synthetic retina: layers in order, lesions where they belong, devices that differ as they say."""

import numpy as np
import pytest

from medssl.chance import Chance, key
from medssl.data.phantom.parts import anatomy, device, lesions

A, B = device.DEVICES["device-a"], device.DEVICES["device-b"]
FRAMES = 24


def chance(name: str) -> Chance:
    return Chance([key(name, number) for number in range(FRAMES)])


def retina(y: float = 0.0) -> anatomy.Retina:
    depth = A.rows * A.axial_um
    return anatomy.draw(chance("patient"), chance("frame"), A.x, np.full(FRAMES, y), np.ones(FRAMES), depth)


def test_layers_lie_in_order_within_the_picture():
    boundaries = retina().boundaries
    assert (np.diff(boundaries, axis=1) >= 0).all()
    assert boundaries.min() > 0
    assert boundaries[:, anatomy.BRUCH].max() < A.rows * A.axial_um


def test_the_fovea_is_a_pit():
    through, beside = (r.boundaries[:, anatomy.BRUCH] - r.boundaries[:, 0] for r in (retina(0.0), retina(1.5)))
    assert (through.min(axis=1) < 0.85 * beside.min(axis=1)).all()
    assert 200 < np.median(beside) < 450


def test_drusen_lift_the_pigment_epithelium_off_bruchs_membrane():
    healthy, present = retina(), np.arange(FRAMES) % 2 == 0
    changed = retina()
    lesions.add_drusen(changed, chance("drusen"), present)
    lift = healthy.boundaries - changed.boundaries
    assert (lift[:, anatomy.BRUCH :] == 0).all()
    assert (lift[~present] == 0).all()
    epithelium = lift[present][:, anatomy.BRUCH - 1].max(axis=1)
    assert ((epithelium > 60) & (epithelium <= 140)).all()
    assert (lift[present][:, 0].max(axis=1) < 10).all()
    assert (np.diff(changed.boundaries, axis=1) > -1e-9).all()


def test_fluid_leaves_the_pigment_epithelium_in_place():
    healthy, present = retina(), np.arange(FRAMES) % 2 == 0
    changed = retina()
    *_, shown = lesions.add_fluid(changed, chance("fluid"), present)
    lift = healthy.boundaries - changed.boundaries
    assert (lift[:, anatomy.BRUCH - 2 :] == 0).all()
    assert (lift[~present] == 0).all()
    assert (shown[~present] == 0).all()
    subretinal = lift[:, anatomy.BRUCH - 3].max(axis=1) > 0
    assert (subretinal ^ (shown.sum(axis=1) > 0))[present].all()
    assert 0 < subretinal.sum() < present.sum()


def test_cysts_are_dark_and_lie_within_the_retina():
    r = retina()
    cysts = lesions.add_fluid(r, chance("fluid"), np.ones(FRAMES, dtype=bool))
    x, z, _, rz, shown = cysts
    assert ((z - rz > r.depth(0, x)) & (z + rz < r.depth(anatomy.BRUCH - 3, x)))[shown > 0].all()
    picture = device.reflectivity(A, r, cysts)
    frame, cyst = np.argwhere(shown > 0)[0]
    row, column = np.searchsorted(A.z, z[frame, cyst]), np.searchsorted(A.x, x[frame, cyst])
    assert picture[frame, row, column] == pytest.approx(2.0, abs=0.01)


def test_vessels_shade_what_is_below_them():
    lit = retina()
    shaded = device.reflectivity(A, lit, (np.zeros((FRAMES, 0)),) * 5)
    x, z, radius, strength = lit.shadows
    lit.shadows = (x, z, radius, 0 * strength)
    loss = device.reflectivity(A, lit, (np.zeros((FRAMES, 0)),) * 5) - shaded
    frame, vessel = np.unravel_index(np.argmax(strength), strength.shape)
    column = np.abs(A.x - x[frame, vessel]).argmin()
    above = A.z < z[frame, vessel] - 10
    assert loss[frame, -1, column] > 0.5 * strength[frame, vessel]
    assert loss[frame, above, column].max() < 0.5


def test_speckle_multiplies_with_mean_one_and_the_contrast_of_the_device():
    for optics in (A, B):
        grains = device._speckle(optics, Chance([key("speckle", frame) for frame in range(40)]))
        assert grains.mean((1, 2)) == pytest.approx(1.0, abs=1e-3)
        contrasts = np.log(grains).std((1, 2))
        assert ((contrasts > 0.99 * optics.contrast[0]) & (contrasts < 1.01 * optics.contrast[1])).all()
        assert contrasts.max() > 3 * contrasts.min()


def test_every_picture_of_a_device_has_its_tones_up_to_an_exponent():
    ramp = np.linspace(-5.0, 30.0, A.rows * A.columns, dtype=np.float32).reshape(1, A.rows, A.columns)
    still = Chance([key("no exponent")])
    for picture in (ramp, ramp[:, ::-1] ** 3, np.random.default_rng(0).permutation(ramp.ravel()).reshape(ramp.shape)):
        shown = device._display(A, picture, still, still)
        assert (np.diff(shown.ravel()[picture.ravel().argsort()].astype(int)) >= 0).all()
        shares = np.linspace(0, 1, len(A.tones))
        exponent = np.log(np.quantile(shown, shares[1:]) / 255) / np.log(np.array(A.tones[1:]) / 255)
        assert np.ptp(exponent) < 0.04


def test_the_second_device_is_coarser_noisier_and_fades_faster():
    assert B.rows * B.columns < A.rows * A.columns
    assert B.contrast > A.contrast
    assert B.noise_db > A.noise_db
    flat, neighbours = {}, {}
    for optics in (A, B):
        tissue = np.full((FRAMES, optics.rows, optics.columns), 15.0, dtype=np.float32)
        flat[optics.name] = device.acquire(optics, tissue, chance("patient"), chance("frame")).astype(float)
        grains = device._speckle(optics, chance("frame"))
        neighbours[optics.name] = np.corrcoef(grains[..., 1:].ravel(), grains[..., :-1].ravel())[0, 1]
    fade = {name: p[:, :40].mean() - p[:, -40:].mean() for name, p in flat.items()}
    assert neighbours["device-b"] > neighbours["device-a"]
    assert fade["device-b"] > fade["device-a"] > 0
