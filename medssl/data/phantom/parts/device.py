"""How a device turns reflectivity into an 8-bit B-scan: sampling, resolution, roll-off, speckle, noise, display.

Speckle multiplies the linear signal: exponential intensities (fully developed speckle; Goodman, "Speckle phenomena in
optics", 2007) smoothed by the resolution and by the averaging of looks, of which a frame has few or many. Detector
noise is added. What is shown keeps the order of the sum's decibels and nothing else: every picture of a device gets
the same histogram, up to an exponent that varies whatever the picture shows, so that neither brightness nor contrast
says anything of a lesion.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from medssl.chance import Chance
from medssl.data.phantom.parts.anatomy import REFLECTIVITY_DB, Retina


@dataclass(frozen=True)
class Device:
    """A synthetic OCT device.

    Attributes:
        name: Name of the device and of its site.
        prefix: First letter of its patients' ids.
        rows, columns: Size of a B-scan, pixels in depth and across.
        width_mm: Lateral extent.
        axial_um: Depth of a row, micrometres.
        blur: Standard deviation of its resolution in pixels, in depth and across.
        grain: Standard deviation of the smoothing of its speckle in pixels, in depth and across.
        contrast: Standard deviation of the logarithm of the speckle, range over frames (1.28 for a single look).
        rolloff_db_mm: Loss of sensitivity with depth.
        noise_db: Level of the detector's noise on the scale of the reflectivities, range over patients.
        tones: Grey values below which 0, 5, ... 100 % of a picture's pixels lie.
    """

    name: str
    prefix: str
    rows: int
    columns: int
    width_mm: float
    axial_um: float
    blur: tuple[float, float]
    grain: tuple[float, float]
    contrast: tuple[float, float]
    rolloff_db_mm: float
    noise_db: tuple[float, float]
    tones: tuple[int, ...]

    @property
    def x(self) -> np.ndarray:
        """Lateral positions of the columns, mm from the centre, (columns,)."""
        return (np.arange(self.columns) + 0.5 - self.columns / 2) * self.width_mm / self.columns

    @property
    def z(self) -> np.ndarray:
        """Depths of the rows, micrometres, (rows,)."""
        return (np.arange(self.rows) + 0.5) * self.axial_um


DEVICES = {
    "device-a": Device(
        name="device-a",
        prefix="A",
        rows=192,
        columns=256,
        width_mm=6.0,
        axial_um=6.0,
        blur=(0.7, 0.8),
        grain=(0.6, 0.9),
        contrast=(0.12, 1.2),
        rolloff_db_mm=4.0,
        noise_db=(0.0, 4.0),
        tones=(9, 20, 24, 27, 30, 32, 35, 39, 43, 50, 59, 70, 81, 92, 103, 113, 122, 132, 144, 164, 240),
    ),
    "device-b": Device(
        name="device-b",
        prefix="B",
        rows=160,
        columns=224,
        width_mm=5.6,
        axial_um=7.4,
        blur=(1.0, 1.0),
        grain=(0.7, 1.2),
        contrast=(0.18, 1.28),
        rolloff_db_mm=9.0,
        noise_db=(3.0, 7.0),
        tones=(17, 30, 36, 42, 47, 51, 56, 60, 64, 69, 75, 81, 88, 96, 106, 117, 128, 140, 155, 174, 243),
    ),
}


def reflectivity(device: Device, retina: Retina, cysts: tuple[np.ndarray, ...]) -> np.ndarray:
    """Draw the retina without speckle, (B, rows, columns) in dB."""
    z = device.z.astype(np.float32)[None, :, None]
    boundaries = retina.boundaries.astype(np.float32)
    picture = np.full((len(boundaries), device.rows, device.columns), REFLECTIVITY_DB[0])
    for index, step in enumerate(np.diff(REFLECTIVITY_DB)):
        picture += step * np.clip((z - boundaries[:, index, None]) / np.float32(device.axial_um) + 0.5, 0, 1)
    picture -= np.clip(z - boundaries[:, -2, None], 0, None) * np.float32(0.025)
    for blob in retina.blobs:
        picture += _blobs(device, *blob)
    picture -= _shadows(device, *retina.shadows)
    return _carve(device, picture, *cysts)


def _blobs(
    device: Device, x: np.ndarray, z: np.ndarray, radius_x: np.ndarray, radius_z: np.ndarray, db: np.ndarray
) -> np.ndarray:
    """Return the sum of K Gaussian blobs, (B, rows, columns) in dB."""
    across = np.exp(-0.5 * ((device.x - x[..., None]) / radius_x[..., None]) ** 2)
    down = db[..., None] * np.exp(-0.5 * ((device.z - z[..., None]) / radius_z[..., None]) ** 2)
    return _product(down, across)


def _shadows(device: Device, x: np.ndarray, z: np.ndarray, radius: np.ndarray, db: np.ndarray) -> np.ndarray:
    """Return what K vessels take from everything below them, (B, rows, columns) in dB."""
    across = np.exp(-0.5 * ((device.x - x[..., None]) / radius[..., None]) ** 4)
    down = db[..., None] * np.clip((device.z - z[..., None]) / 20.0, 0.0, 1.0)
    return _product(down, across)


def _product(down: np.ndarray, across: np.ndarray) -> np.ndarray:
    return np.matmul(down.astype(np.float32).transpose(0, 2, 1), across.astype(np.float32))


def _carve(
    device: Device, picture: np.ndarray, x: np.ndarray, z: np.ndarray, rx: np.ndarray, rz: np.ndarray, shown: np.ndarray
) -> np.ndarray:
    """Empty the cysts (ellipses, each (B, K)) of what they displace, in place."""
    for frame, cyst in np.argwhere(shown > 0):
        across = ((device.x - x[frame, cyst]) / rx[frame, cyst]) ** 2
        down = ((device.z - z[frame, cyst]) / rz[frame, cyst]) ** 2
        inside = np.clip(4.0 * (1.0 - across[None] - down[:, None]), 0.0, 1.0)
        picture[frame] += inside * (2.0 - picture[frame])
    return picture


def acquire(device: Device, picture_db: np.ndarray, patient: Chance, frame: Chance) -> np.ndarray:
    """Take pictures of reflectivity (B, rows, columns) in dB as the device would, uint8."""
    picture_db = picture_db + _texture(device, frame.spawn("texture"))
    signal = _smooth(_linear(picture_db), device.blur) * _linear(-device.rolloff_db_mm * device.z[:, None] / 1000)
    speckle = _speckle(device, frame.spawn("speckle"))
    floor = _linear(patient.spawn("noise").uniform(*device.noise_db) + frame.spawn("noise").normal(0.0, 1.3))
    noise = -np.log1p(-_uniform(device, frame.spawn("detector")))
    shown_db = 10.0 * np.log10(signal * speckle + floor[:, None, None] * (0.5 + 0.5 * noise))
    return _display(device, shown_db, patient.spawn("display"), frame.spawn("display"))


def _display(device: Device, picture_db: np.ndarray, patient: Chance, frame: Chance) -> np.ndarray:
    """Give decibels the tones of the device by their rank, 8 bit; an exponent varies with patient and frame."""
    flat = picture_db.reshape(len(picture_db), -1)
    shares = np.linspace(0, 1, flat.shape[1], dtype=np.float32)
    by_rank = np.interp(shares, np.linspace(0, 1, len(device.tones)), np.array(device.tones) / 255.0)
    exponent = np.exp(patient.normal(0.0, 0.12) + frame.normal(0.0, 0.06))
    shown = np.empty(flat.shape, dtype=np.uint8)
    np.put_along_axis(
        shown, flat.argsort(axis=1), (255.0 * by_rank ** exponent[:, None] + 0.5).astype(np.uint8), axis=1
    )
    return shown.reshape(picture_db.shape)


def _speckle(device: Device, chance: Chance) -> np.ndarray:
    """Return speckle of mean one and the device's contrast and grain, (B, rows, columns)."""
    grains = np.log(_smooth(-np.log1p(-_uniform(device, chance)), device.grain))
    contrast = np.exp(chance.spawn("looks").uniform(*np.log(device.contrast)))
    grains = np.exp(_column(contrast) * grains / grains.std(axis=(1, 2), keepdims=True))
    return grains / grains.mean(axis=(1, 2), keepdims=True)


def _texture(device: Device, chance: Chance) -> np.ndarray:
    """Return slow variations of the tissue, (B, rows, columns) in dB, interpolated from a coarse grid."""
    coarse = chance.normal(0.0, 1.5, (15, 24)) * np.exp(chance.spawn("amount").uniform(-0.8, 0.8))[:, None, None]
    return _weights(device.rows, 15) @ coarse.astype(np.float32) @ _weights(device.columns, 24).T


def _weights(fine: int, coarse: int) -> np.ndarray:
    """Return the matrix (fine, coarse) of linear interpolation."""
    place = np.linspace(0, coarse - 1, fine)[:, None]
    return np.clip(1.0 - np.abs(place - np.arange(coarse)), 0.0, None).astype(np.float32)


def _uniform(device: Device, chance: Chance) -> np.ndarray:
    return chance.uniform(size=(device.rows, device.columns)).astype(np.float32) * np.float32(0.9999999)


def _smooth(picture: np.ndarray, sigma: tuple[float, float]) -> np.ndarray:
    rows = gaussian_filter1d(picture, sigma[0], axis=1, mode="nearest", truncate=3.0)
    return gaussian_filter1d(rows, sigma[1], axis=2, mode="nearest", truncate=3.0)


def _linear(db: np.ndarray) -> np.ndarray:
    return np.exp(np.asarray(db, dtype=np.float32) * np.float32(np.log(10.0) / 10.0))


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None, None]
