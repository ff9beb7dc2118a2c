"""Files made to be hard: every kind of number, colour and transfer syntax, against the readers of planes.

The values that were written are known, so that lossless ones are held against the truth as well.
"""

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from medssl.data.readers import dicom
from tests.data.readers.test_dicom import write
from tests.data.readers.test_dicom_palette import TABLES, palette
from tests.witness import dcmtk
from tests.witness.agreement import judge

pytestmark = [pytest.mark.witness, pytest.mark.timeout(0)]

RANDOM = np.random.default_rng(7)
SHAPE = (19, 22)  # odd rows, so that bytes need padding; even columns, as chroma needs


def grey(bits, signed=False, shape=SHAPE):
    """Values of all sizes that bits hold, both ends among them."""
    low = -(2 ** (bits - 1)) if signed else 0
    values = RANDOM.integers(low, low + 2**bits, shape, dtype=np.int64)
    values[0, 0], values[-1, -1] = low, low + 2**bits - 1
    return values


def smooth(bits, shape=SHAPE):
    """A picture that lossy codes keep nearly."""
    wave = np.add.outer(np.sin(np.arange(shape[0]) / 5), np.cos(np.arange(shape[1]) / 6))
    return ((wave + 2) / 4 * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def colour():
    return np.stack([smooth(8), smooth(8)[::-1], smooth(8)[:, ::-1]], axis=-1)


def kind_of(bits, signed):
    width = 8 if bits <= 8 else 16 if bits <= 16 else 32
    return np.dtype(f"{'i' if signed else 'u'}{width // 8}")


def transfer(source, target, syntax, streams=None, **elements):
    """Write a file of `write` again in another transfer syntax, with the given code streams."""
    dataset = pydicom.dcmread(source)
    for name, value in elements.items():
        setattr(dataset, name, value)
    if streams is not None:
        dataset.PixelData = encapsulate(streams)
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    again = Dataset(dataset)
    again.file_meta = FileMetaDataset()
    again.file_meta.TransferSyntaxUID = syntax
    again.save_as(target, enforce_file_format=True)
    return target


def held(path, witness, out, expected=None, witnesses=1, wrong=()):
    """Our values are those that were written, and witnesses agree but for those that are known to be wrong."""
    out.mkdir(exist_ok=True)
    (verdict,) = judge([path], witness, out)
    assert verdict.refusal is None
    assert set(verdict.differing) == set(wrong), verdict.differing
    assert len(verdict.agreeing) >= witnesses, f"only {verdict.agreeing}"
    if expected is not None:
        np.testing.assert_array_equal(dicom.read(path).array, expected)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [2, 5, 7, 8, 9, 10, 12, 13, 15, 16, 17, 24, 31, 32])
def test_every_number_of_bits(tmp_path, witness, bits, signed):
    values = grey(bits, signed)
    kind = kind_of(bits, signed)
    stored = (values & (2**bits - 1)).astype(np.uint64).astype(f"u{kind.itemsize}")  # no sign above the stored bits
    path = write(tmp_path / "x", stored, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=int(signed))
    wrong = ["sitk"] if 16 < bits < 32 else []  # GDCM keeps 16 bits of them
    held(path, witness, tmp_path / "out", values[None], wrong=wrong)


def test_one_bit_a_pixel(tmp_path, witness):
    values = RANDOM.integers(0, 2, (16, 24), dtype=np.uint8)
    path = write(tmp_path / "x", values, BitsStored=1, HighBit=0)
    dataset = pydicom.dcmread(path)
    dataset.BitsAllocated = 1
    dataset.PixelData = np.packbits(values, bitorder="little").tobytes()
    dataset.save_as(path, enforce_file_format=True)
    held(path, witness, tmp_path / "out", values[None], witnesses=0, wrong=["sitk"])  # GDCM makes 255 of 1


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (-2, 100), (0.5, 0), (-0.25, 3.5), (1e-3, 0), (500, -7)])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
def test_rescale_and_polarity(tmp_path, witness, slope, intercept, photometric, signed):
    values = grey(12, signed)
    stored = (values & 4095).astype(np.uint16)
    path = write(
        tmp_path / "x", stored, BitsStored=12, HighBit=11, PixelRepresentation=int(signed),
        RescaleSlope=slope, RescaleIntercept=intercept, PhotometricInterpretation=photometric,
    )  # fmt: skip
    real = values * slope + intercept
    if photometric == "MONOCHROME1":
        ends = np.array([-2048, 2047] if signed else [0, 4095]) * slope + intercept
        real = ends.sum() - real
    held(path, witness, tmp_path / "out")
    np.testing.assert_allclose(dicom.read(path).array[0], real, rtol=1e-6, atol=1e-6)


def test_overlays_in_unused_bits_are_no_values(tmp_path, witness):
    """An overlay in bit 12, and one of its own in group 6002: neither touches the picture."""
    values = grey(12)
    overlay = RANDOM.integers(0, 2, SHAPE)
    path = write(tmp_path / "x", (values | overlay << 12).astype(np.uint16), BitsStored=12, HighBit=11)
    dataset = pydicom.dcmread(path)
    for group, bit, allocated in ((0x6000, 12, 16), (0x6002, 0, 1)):
        dataset.add_new((group, 0x10), "US", SHAPE[0])
        dataset.add_new((group, 0x11), "US", SHAPE[1])
        dataset.add_new((group, 0x40), "CS", "G")
        dataset.add_new((group, 0x50), "SS", [1, 1])
        dataset.add_new((group, 0x100), "US", allocated)
        dataset.add_new((group, 0x102), "US", bit)
    dataset.add_new((0x6002, 0x3000), "OW", np.packbits(overlay.astype(np.uint8), bitorder="little").tobytes() + b"\0")
    dataset.save_as(path, enforce_file_format=True)
    held(path, witness, tmp_path / "out", values[None])


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.ImplicitVRLittleEndian])
def test_colour_by_pixel_and_by_plane(tmp_path, witness, planar, photometric, syntax):
    picture = colour()
    stored = picture if planar == 0 else np.moveaxis(picture, -1, 0)
    path = write(tmp_path / "plain", smooth(8), PhotometricInterpretation=photometric, SamplesPerPixel=3)
    data = np.ascontiguousarray(stored).tobytes()
    path = transfer(path, tmp_path / "x", syntax, PlanarConfiguration=planar, PixelData=data)
    held(path, witness, tmp_path / "out", np.moveaxis(picture, -1, 0) if photometric == "RGB" else None)


def test_halved_chroma(tmp_path, witness):
    """YBR_FULL_422, uncompressed: Y1 Y2 Cb Cr for every two pixels."""
    picture = colour()
    chroma = picture[:, ::2, 1:]
    stored = np.concatenate([picture[:, ::2, :1], picture[:, 1::2, :1], chroma], axis=-1)
    path = write(tmp_path / "plain", smooth(8), PhotometricInterpretation="YBR_FULL_422", SamplesPerPixel=3)
    path = transfer(path, tmp_path / "x", uid.ExplicitVRLittleEndian, PlanarConfiguration=0, PixelData=stored.tobytes())
    held(path, witness, tmp_path / "out")


@pytest.mark.parametrize("fill", [lambda t: t << 8, lambda t: t * 257])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.DeflatedExplicitVRLittleEndian])
def test_palettes(tmp_path, witness, fill, syntax):
    stored = grey(8).astype(np.uint8)
    path = write(tmp_path / "plain", stored, **palette(*(fill(t).astype("<u2").tobytes() for t in TABLES)))
    streams = [rle(stored)] if syntax == uid.RLELossless else None
    path = transfer(path, tmp_path / "x", syntax, streams)
    held(path, witness, tmp_path / "out", TABLES[:, stored])


def test_a_palette_of_segments(tmp_path, witness):
    """GDCM follows runs and lines; DCMTK 3.6.7 does not."""
    words = np.array([0, 2, 0, 256, 1, 254, 65535], "<u2").tobytes()
    elements = palette(words, words, words, name="Segmented{}PaletteColorLookupTableData")
    path = write(tmp_path / "x", grey(8).astype(np.uint8), **elements)
    held(path, witness, tmp_path / "out", witnesses=0)


def test_a_table_of_values(tmp_path, witness):
    """A Modality LUT that no line describes; DCMTK alone applies it."""
    stored = grey(8).astype(np.uint8)
    table = (np.arange(256) ** 2 // 16).astype(np.uint16)
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [256, 0, 16])
    item.ModalityLUTType = "US"
    item.add_new("LUTData", "OW", table.tobytes())
    path = write(tmp_path / "x", stored, ModalityLUTSequence=[item])
    out = tmp_path / "out"
    out.mkdir()
    (verdict,) = judge([path], witness, out)
    assert verdict.agreeing == ["dcmtk"]
    np.testing.assert_array_equal(dicom.read(path).array[0], table[stored])


def rle(array):
    """The RLE code stream of a frame, a segment for each byte of each colour, the most significant first."""
    values = array.reshape(*array.shape[:2], -1)
    wide = values.astype(values.dtype.newbyteorder(">")).view(np.uint8).reshape(*values.shape, -1)
    segments = [
        b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in wide[..., c, b])
        for c in range(wide.shape[2]) for b in range(wide.shape[3])
    ]  # fmt: skip
    segments = [segment + b"\0" * (len(segment) % 2) for segment in segments]
    head = np.zeros(16, "<u4")
    head[0] = len(segments)
    head[1 : 1 + len(segments)] = np.cumsum([64, *map(len, segments)])[:-1]
    return head.tobytes() + b"".join(segments)


def jpeg_lossless(predictor):
    def encode(array, bits):
        return imagecodecs.jpeg8_encode(array, lossless=True, predictor=predictor, bitspersample=bits)

    return encode


def jpeg_2000(array, bits):
    return imagecodecs.jpeg2k_encode(array, reversible=True, codecformat="j2k", bitspersample=bits)


LOSSLESS = {
    "rle": (uid.RLELossless, (8, 12, 16, 32), lambda array, _: rle(array)),
    "jpeg lossless, first order": (uid.JPEGLosslessSV1, (8, 12, 16), jpeg_lossless(1)),
    **{f"jpeg lossless, predictor {n}": (uid.JPEGLossless, (8, 12, 16), jpeg_lossless(n)) for n in range(2, 8)},
    "jpeg-ls": (uid.JPEGLSLossless, (8, 16), lambda array, _: imagecodecs.jpegls_encode(array)),
    "jpeg 2000": (uid.JPEG2000Lossless, (8, 12, 16), jpeg_2000),
    "htj2k": (uid.HTJ2KLossless, (8, 16), lambda array, _: imagecodecs.htj2k_encode(array, reversible=True)),
}


@pytest.mark.parametrize(("name", "bits"), [(name, bits) for name, kind in LOSSLESS.items() for bits in kind[1]])
def test_lossless_codes_keep_every_value(tmp_path, witness, name, bits):
    syntax, _, encode = LOSSLESS[name]
    values = grey(bits)
    stored = values.astype(kind_of(bits, signed=False))
    path = write(tmp_path / "plain", stored, BitsStored=bits, HighBit=bits - 1)
    path = transfer(path, tmp_path / "x", syntax, [encode(stored, bits)])
    held(path, witness, tmp_path / "out", values[None], witnesses=0 if name == "rle" and bits == 32 else 1)


@pytest.mark.parametrize("name", ["jpeg lossless, first order", "jpeg-ls", "jpeg 2000", "rle"])
def test_signed_values_survive_codes_without_a_sign(tmp_path, witness, name):
    syntax, _, encode = LOSSLESS[name]
    values = grey(16, signed=True)
    path = write(tmp_path / "plain", values.astype(np.int16))
    path = transfer(path, tmp_path / "x", syntax, [encode(values.astype(np.uint16), 16)])
    held(path, witness, tmp_path / "out", values[None])


LOSSY = {
    "jpeg baseline": (uid.JPEGBaseline8Bit, 8, 3, lambda array: imagecodecs.jpeg8_encode(array, level=95)),
    "jpeg extended": (
        uid.JPEGExtended12Bit, 12, 40, lambda array: imagecodecs.jpeg8_encode(array, level=95, bitspersample=12),
    ),
    "jpeg-ls near 3": (uid.JPEGLSNearLossless, 16, 3, lambda array: imagecodecs.jpegls_encode(array, level=3)),
    "jpeg 2000": (
        uid.JPEG2000, 16, 500,
        lambda array: imagecodecs.jpeg2k_encode(array, level=60, reversible=False, codecformat="j2k"),
    ),
    "htj2k": (uid.HTJ2K, 16, 500, lambda array: imagecodecs.htj2k_encode(array, reversible=False)),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_codes_stay_near(tmp_path, witness, name):
    syntax, bits, near, encode = LOSSY[name]
    stored = smooth(bits)
    path = write(tmp_path / "plain", stored, BitsStored=bits, HighBit=bits - 1)
    path = transfer(path, tmp_path / "x", syntax, [encode(stored)])
    held(path, witness, tmp_path / "out")
    assert np.abs(dicom.read(path).array[0].astype(int) - stored).max() <= near


@pytest.mark.parametrize(("photometric", "space"), [("RGB", "RGB"), ("YBR_FULL", "YCBCR")])
def test_colour_jpeg_with_and_without_a_transform(tmp_path, witness, photometric, space):
    picture = colour()
    stream = imagecodecs.jpeg8_encode(picture, level=95, colorspace="RGB", outcolorspace=space, subsampling="444")
    path = write(tmp_path / "plain", smooth(8), PhotometricInterpretation=photometric, SamplesPerPixel=3)
    path = transfer(path, tmp_path / "x", uid.JPEGBaseline8Bit, [stream], PlanarConfiguration=0)
    held(path, witness, tmp_path / "out")
    assert np.abs(dicom.read(path).array.astype(int) - np.moveaxis(picture, -1, 0)).max() <= 6


@pytest.mark.parametrize("syntax", [uid.DeflatedExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_syntaxes_without_a_code(tmp_path, witness, syntax, bits):
    values = grey(bits)
    path = transfer(write(tmp_path / "plain", values.astype(kind_of(bits, signed=False))), tmp_path / "x", syntax)
    held(path, witness, tmp_path / "out", values[None], witnesses=0 if bits == 32 else 1)


@pytest.mark.parametrize("kind", ["u1", "u2", "i2"])
def test_big_endian(tmp_path, witness, kind):
    """Of 32 bits in this retired syntax the readers make three different things: no claim is made."""
    bits = 8 * np.dtype(kind).itemsize
    values = grey(bits, kind[0] == "i")
    swapped = values.astype(kind).astype(f">{kind}")
    data = swapped.tobytes() + b"\0" * (swapped.nbytes % 2)
    if bits == 8:
        data = np.frombuffer(data, "<u2").astype(">u2").tobytes()  # OW: bytes pair by pair
    path = write(tmp_path / "plain", values.astype(kind))
    dataset = pydicom.dcmread(path)
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path)
    path = transfer(path, tmp_path / "x", uid.ExplicitVRBigEndian, PixelData=data)
    held(path, witness, tmp_path / "out", values[None])


def test_frames_in_several_fragments(tmp_path, witness):
    """Three frames, each cut in two, and a table of offsets that says where they begin."""
    frames = np.stack([smooth(16), smooth(16)[::-1], smooth(16)[:, ::-1]])
    streams = [imagecodecs.jpeg8_encode(frame, lossless=True, predictor=1, bitspersample=16) for frame in frames]
    ultrasound = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1", "Modality": "US"}
    path = write(tmp_path / "plain", np.ascontiguousarray(frames), **ultrasound)
    data = encapsulate(streams, fragments_per_frame=2, has_bot=True)
    path = transfer(path, tmp_path / "x", uid.JPEGLosslessSV1, streams)
    dataset = pydicom.dcmread(path)
    dataset.PixelData = data
    dataset.save_as(path)
    out = tmp_path / "out"
    out.mkdir()
    (verdict,) = judge([path], witness, out)
    assert (verdict.refusal, verdict.differing) == (None, {})
    assert verdict.agreeing
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(dicom.read(path, number).array[0], frame)


def test_values_at_the_upper_end_of_their_cell_are_refused(tmp_path, witness):
    """HighBit 15 of 12 stored bits, as ACR-NEMA had it: GDCM and DCMTK read it, and not the same."""
    path = write(tmp_path / "x", (grey(12) << 4).astype(np.uint16), BitsStored=12, HighBit=15)
    out = tmp_path / "out"
    out.mkdir()
    (verdict,) = judge([path], witness, out)
    assert "HighBit is 15" in verdict.refusal
    assert set(verdict.differing) == {"sitk", "dcmtk"}
    assert not np.array_equal(np.load(out / "0.sitk.npy")[0], dcmtk.frames(path, [0], 0, out)[0])
