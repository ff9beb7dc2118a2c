"""The VOI LUT on request: closed forms, and highdicom as another reader of the same files."""

from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from medssl import discovery
from medssl.data.image import Image
from medssl.data.keys import AS_THEY_ARE
from medssl.data.readers import read_file
from medssl.data.readers.parts.dicom_pixels import _shown_of_all
from medssl.data.readers.parts.dicom_voi import Voi
from medssl.data.scan import scan
from medssl.modalities.parts.storing import stored
from tests.data.readers.test_dicom import write

RAMP = np.arange(-1000, 3096, dtype=np.int16).reshape(64, 64)
BYTES = np.arange(256, dtype=np.uint8).reshape(16, 16)


def shares(path):
    image = read_file(path)
    return image.voi.shares(image.array)[0]


def witness(path, *, turned=False):
    """What highdicom shows, 0 to 1; polarity is a matter of its presentation LUT."""
    image = highdicom.imread(path)
    return image.get_frame(
        1,
        apply_voi_transform=True,
        voi_output_range=(0.0, 1.0),
        apply_presentation_lut=turned,
        dtype=np.float64,
    )


def table(first, entries, bits):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return item


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("rescale", [{}, {"RescaleSlope": 2, "RescaleIntercept": -500}])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_windows_agree_with_another_reader(tmp_path, function, rescale, photometric):
    asked = {"WindowCenter": [40, 300], "WindowWidth": [400, 2000], "PhotometricInterpretation": photometric} | rescale
    path = write(tmp_path / "a.dcm", RAMP, **asked, **({"VOILUTFunction": function} if function else {}))
    # highdicom folds the rescale into the window, and with it the half value that LINEAR takes off both ends
    near = 1.5 * 2 / 399 if rescale and function in (None, "LINEAR") else 2e-5
    assert np.allclose(shares(path), witness(path, turned=photometric == "MONOCHROME1"), atol=near)


@pytest.mark.parametrize("slope", [1, 2])
def test_a_window_in_numbers(tmp_path, slope):
    """PS3.3 C.11.2.1.2.1, ((x - (c - 0.5)) / (w - 1) + 0.5) over real values, 0 and 1 outside."""
    rescale = {"RescaleSlope": slope, "RescaleIntercept": -10} if slope > 1 else {}
    path = write(tmp_path / "a.dcm", RAMP, WindowCenter=40, WindowWidth=401, **rescale)
    real = RAMP.astype(float) * slope - (10 if rescale else 0)
    expected = [min(max((value - 39.5) / 400 + 0.5, 0), 1) for value in real.ravel()]
    assert np.allclose(shares(path).ravel(), expected, atol=2e-5)


def test_a_table_agrees_with_another_reader_and_comes_before_a_window(tmp_path):
    entries = (np.linspace(0, 1, 100) ** 2 * 65535).astype(int).tolist()
    path = write(tmp_path / "a.dcm", BYTES, VOILUTSequence=[table(50, entries, 16)], WindowCenter=10, WindowWidth=20)
    expected = np.array(entries)[np.clip(BYTES.astype(int) - 50, 0, 99)] / 65535
    assert np.allclose(shares(path), expected, atol=1e-6)
    del (dataset := dcmread(path)).WindowCenter
    del dataset.WindowWidth
    dataset.save_as(path)
    assert np.allclose(shares(path), witness(path), atol=1e-4)


def test_a_table_over_values_beyond_16_bits_and_one_written_unsigned(tmp_path):
    wide = write(
        tmp_path / "a.dcm", BYTES, RescaleSlope=1000, RescaleIntercept=0, VOILUTSequence=[table(0, [0, 255], 8)]
    )
    assert shares(wide).ravel().tolist() == [0.0] + [1.0] * 255
    item = table(0, [0, 100, 255], 8)
    item.add_new("LUTDescriptor", "US", [3, 65535, 8])  # -1
    path = write(tmp_path / "b.dcm", BYTES, RescaleSlope=1, RescaleIntercept=-3, VOILUTSequence=[item])
    assert shares(path).ravel()[:6] == pytest.approx([0, 0, 0, 100 / 255, 1, 1])


def test_a_volume_has_one_window(real_data):
    folder = real_data / "dicom-samples" / "ge-ct-tilt-vargap"
    paths = sorted(folder.rglob("*.dcm")) or [path for path in folder.rglob("*") if path.is_file()]
    image = read_file(paths[0])
    low = image.voi.window[0] - image.voi.window[1] / 2
    shown = image.voi.shares(image.array)
    assert (shown[image.array < low - 1] == 0).all()
    assert (image.array == -1500).any()
    assert image.measured.min() > -1500


SHOWN = discovery.load("modalities", "cxr").MODALITY.with_voi_lut(True)
MISSING = "a window whose centre or width is missing or no number"
NARROW = "a window without width"


@pytest.mark.parametrize(
    ("elements", "fault"),
    [
        ({"WindowCenter": 40, "WindowWidth": 0}, NARROW),
        ({"WindowCenter": 40, "WindowWidth": -9}, NARROW),
        ({"WindowCenter": 40, "WindowWidth": 0.5}, NARROW),
        ({"WindowCenter": 40, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"}, NARROW),
        ({"WindowCenter": 40}, MISSING),
        ({"WindowCenter": [40, 50], "WindowWidth": [0, -1]}, NARROW),
        ({"WindowCenter": 40, "WindowWidth": 9, "VOILUTFunction": "X"}, "a window of a function that nobody knows"),
        ({"VOILUTSequence": [table(0, [1, 2], 9)]}, "a broken table"),
    ],
)
def test_where_no_window_can_be_applied_the_image_is_as_without_one_and_says_so(tmp_path, elements, fault):
    image = read_file(write(tmp_path / "a.dcm", BYTES, **elements))
    plain = SHOWN.before(read_file(write(tmp_path / "b.dcm", BYTES)))
    assert np.array_equal(SHOWN.before(image).array, plain.array)
    assert image.remarks == [
        f"no VOI LUT of the file can be applied ({fault}): its values go through the window of the modality"
    ]


@pytest.mark.parametrize("text", [b"4x21", b"NaN ", b"inf "])
def test_a_width_that_is_no_number_is_told(tmp_path, text):
    path = write(tmp_path / "a.dcm", BYTES, WindowCenter=40, WindowWidth=4321)
    path.write_bytes(path.read_bytes().replace(b"4321", text))
    image = read_file(path)
    assert SHOWN.before(image).units is None
    assert MISSING in image.remarks[0]


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": [40, 90, 10], "WindowWidth": [0, 101, 5]},
        {"WindowCenter": 90, "WindowWidth": 101, "VOILUTSequence": [table(0, [1, 2], 9)]},
    ],
)
def test_the_next_window_is_taken_where_the_first_choice_cannot_be_applied(tmp_path, elements):
    image = read_file(write(tmp_path / "a.dcm", BYTES, **elements))
    expected = np.clip((BYTES - 89.5) / 100 + 0.5, 0, 1)
    assert np.allclose(SHOWN.before(image).array[0], expected, atol=2e-5)
    (remark,) = image.remarks
    assert "its next one is" in remark


def test_empty_elements_are_no_window(tmp_path):
    image = read_file(write(tmp_path / "a.dcm", BYTES, WindowCenter=None, WindowWidth=None))
    assert image.voi is None


@pytest.mark.filterwarnings("error")
def test_entries_beyond_their_bits_and_steep_sigmoids_are_applied(tmp_path):
    path = write(tmp_path / "a.dcm", BYTES, VOILUTSequence=[table(0, [0, 300], 8)])
    assert shares(path).ravel()[:3].tolist() == [0, 1, 1]
    path = write(tmp_path / "b.dcm", BYTES, WindowCenter=40, WindowWidth=0.1, VOILUTFunction="SIGMOID")
    assert shares(path).ravel()[[39, 40, 41]].tolist() == pytest.approx([0, 0.5, 1], abs=1e-4)


def test_a_volume_is_shown_as_the_slice_nearest_to_its_middle_that_can_be():
    kinds = [Voi((1.0, 2.0)), Voi((3.0, 4.0)), Voi(None, remark="x"), None]
    slices = [Image(BYTES[None], voi=voi) for voi in kinds]
    remarks = []
    assert _shown_of_all(slices, remarks) == kinds[1]
    assert [said.partition(":")[0] for said in remarks] == ["the middle slice has no VOI LUT that can be applied"]
    assert _shown_of_all(slices[2:3], remarks) == kinds[2]
    assert _shown_of_all(slices[3:], remarks) is None
    assert len(remarks) == 1


def test_padding_is_black_whatever_the_window_makes_of_it(tmp_path):
    modality = discovery.load("modalities", "cxr").MODALITY.with_voi_lut(True)
    path = write(tmp_path / "a.dcm", BYTES, WindowCenter=100, WindowWidth=50, PixelPaddingValue=255)
    shown = modality.before(read_file(path)).array[0]
    assert shown.ravel()[255] == 0
    assert shown.ravel()[254] == 1


@pytest.mark.parametrize("name", ["cxr", "mammography", "mr", "ct", "pet", "oct", "ultrasound"])
def test_every_modality_stores_what_is_shown(name):
    modality = discovery.load("modalities", name).MODALITY.with_voi_lut(True)
    shape = (1, *(16,) * modality.spatial_dims)
    array = np.linspace(0, 4000, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    image = Image(array, (1.0,) * modality.spatial_dims, units=None, voi=Half())
    stored = modality.prepare(modality.before(image), 16)
    assert stored.max() == pytest.approx(0.5 * 65535, rel=0.02)


class Half:
    """Shows everything at half of full brightness at most."""

    usable, remark = True, None

    def shares(self, array):
        return (array / array.max() / 2).astype(np.float32)


def test_the_setting_makes_a_store_of_its_own_and_counts_files_without_one(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSSL_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "1.dcm", BYTES, WindowCenter=100, WindowWidth=50)
    write(tmp_path / "in" / "2.dcm", BYTES + 1)
    manifest = scan([tmp_path / "in"], key=AS_THEY_ARE)
    modality = discovery.load("modalities", "cxr").MODALITY
    plain, shown = stored(manifest, modality, 16), stored(manifest, modality.with_voi_lut(True), 16)
    assert plain.key != shown.key
    said = "the file has no VOI LUT: its values go through the window of the modality"
    assert [remark for remark in shown.remarks if said in remark and "1" in remark]
    by_file = {Path(path).name: np.asarray(image) for path, image in zip(shown.index["path"], shown.images)}
    assert (by_file["1.dcm"].max(), by_file["1.dcm"].min()) == (65535, 0)
