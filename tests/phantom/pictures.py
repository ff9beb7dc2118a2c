"""Pictures that look like a mammogram, a sector of ultrasound, skin with a mole, and stained tissue."""

import numpy as np
from scipy import ndimage


def _grain(shape: tuple[int, ...], width: float, seed: int) -> np.ndarray:
    """Return smooth noise of mean 0 and standard deviation 1."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), width)
    return (noise - noise.mean()) / noise.std()


def mammogram(side: str = "left", seed: int = 0) -> np.ndarray:
    """Return an oblique view, (1, 900, 700) uint16 of 12 bits: muscle, gland, a mass, calcifications, and a mark."""
    rows, columns = np.mgrid[:900, :700].astype(float)
    outline = 330 * np.sqrt(np.clip(1 - ((rows - 470) / 380) ** 2, 0, 1))
    depth = (outline - columns) / 330
    breast = depth > 0
    fat = 700 * np.clip(depth / 0.08, 0, 1) + 60 * _grain(rows.shape, 12, seed)
    gland = 900 * np.exp(-(((rows - 480) / 190) ** 2 + ((columns - 150) / 110) ** 2))
    gland *= 1 + 0.45 * _grain(rows.shape, 7, seed + 1).clip(-1, 2)
    muscle = np.where(columns < 170 * (1 - rows / 420), 1100.0, 0.0)
    mass = 700 * np.exp(-(((rows - 560) / 22) ** 2 + ((columns - 190) / 26) ** 2))
    calcifications = np.zeros(rows.shape)
    random = np.random.default_rng(seed + 2)
    places = random.normal([430, 130], 14, (12, 2)).astype(int)
    calcifications[places[:, 0], places[:, 1]] = 6000
    image = np.where(breast, fat + gland + muscle + mass + ndimage.gaussian_filter(calcifications, 1), 0)
    image = ndimage.gaussian_filter(image, 1.2) + random.normal(20, 8, rows.shape)
    image[60:105, 560:640] = 3800  # the mark of side and view
    image = image.clip(0, 4095).astype(np.uint16)
    return (image if side == "left" else image[:, ::-1])[None].copy()


def ultrasound(seed: int = 0) -> np.ndarray:
    """Return a convex sector with a cyst and its enhancement, (1, 480, 640) uint8, with letters and a grey wedge."""
    rows, columns = np.mgrid[:480, :640].astype(float)
    across, down = columns - 330, rows + 60
    radius, angle = np.hypot(across, down), np.degrees(np.arctan2(across, down))
    sector = (radius > 110) & (radius < 500) & (np.abs(angle) < 32)
    tissue = 95 + 22 * _grain(rows.shape, 18, seed) - 0.08 * (radius - 110)
    cyst = np.hypot((rows - 200) / 34, (columns - 300) / 42) < 1
    behind = (np.abs(columns - 300) < 36) & (rows > 225) & (rows < 380)
    tissue = np.where(cyst, 6.0, tissue * np.where(behind, 1.35, 1.0))
    speckle = np.abs(_grain(rows.shape, 1.1, seed + 1) + 1j * _grain(rows.shape, 1.1, seed + 2)) / 1.25
    image = np.where(sector, tissue * (0.35 + 0.65 * speckle), 0)
    image[150:330, 615:627] = np.linspace(255, 10, 180)[:, None]
    for top, left, wide in [(12, 14, 90), (30, 14, 60), (440, 14, 70)]:
        for letter in range(left, left + wide, 9):
            image[top : top + 9, letter : letter + 5] = 230
    return image.clip(0, 255).astype(np.uint8)[None]


def skin(seed: int = 0) -> np.ndarray:
    """Return a pigmented mole of two browns on skin with hairs, (3, 300, 400) uint8."""
    rows, columns = np.mgrid[:300, :400].astype(float)
    edge = 1 + 0.12 * _grain(rows.shape, 15, seed)
    away = np.hypot((rows - 150) / 75, (columns - 195) / 95) / edge
    mole, core = 1 / (1 + np.exp((away - 1) * 18)), 1 / (1 + np.exp((np.hypot(rows - 130, columns - 220) - 28) / 4))
    texture = 6 * _grain(rows.shape, 1.5, seed + 1)
    colours = np.array([[222, 176, 156], [142, 92, 66], [70, 42, 36]], float)[:, :, None, None]
    image = colours[0] + mole * (colours[1] - colours[0]) + mole * core * (colours[2] - colours[1]) + texture
    for k in range(4):
        hair = np.abs(rows - 60 - 55 * k - 0.25 * columns + 12 * np.sin(columns / 50 + k)) < 1.1
        image = np.where(hair, 50.0, image)
    return image.clip(0, 255).astype(np.uint8)


def tissue(seed: int = 0) -> np.ndarray:
    """Return glands with nuclei on stroma in haematoxylin and eosin, (3, 256, 256) uint8."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:256, :256].astype(float)
    lumen, nuclei = np.zeros(rows.shape), np.zeros(rows.shape)
    for centre in [(70, 80), (170, 185), (190, 50)]:
        away = np.hypot(rows - centre[0], columns - centre[1])
        lumen = np.maximum(lumen, 1 / (1 + np.exp((away - 24) / 2)))
        for angle in np.arange(0, 2 * np.pi, 0.32):
            place = centre + (34 + random.normal(0, 2)) * np.array([np.sin(angle), np.cos(angle)])
            nuclei = np.maximum(nuclei, np.hypot(rows - place[0], columns - place[1]) < 5.5)
    for place in random.uniform(0, 256, (45, 2)):
        nuclei = np.maximum(nuclei, np.hypot((rows - place[0]) / 2.2, (columns - place[1]) / 5) < 1)
    nuclei = ndimage.gaussian_filter(nuclei, 0.8) * (1 + 0.2 * _grain(rows.shape, 1.5, seed + 1))
    eosin = (0.55 + 0.12 * _grain(rows.shape, 4, seed + 2)) * (1 - lumen)
    amounts = np.stack([0.12 * (1 - lumen) + 0.9 * nuclei, eosin * (1 - 0.5 * nuclei)])
    colours = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])
    density = np.einsum("shw,sc->chw", amounts, colours)
    return (255 * 10**-density).clip(0, 255).astype(np.uint8)
