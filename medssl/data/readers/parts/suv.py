"""From becquerels per millilitre to the standardised uptake value by body weight, where a header says all it takes.

    SUVbw = (Bq/ml) weight_g / (dose_Bq 2^(-t / half life))

with t from the injection to the time that the values are corrected to: the start of the scan (DecayCorrection START),
or the injection itself (ADMIN, t = 0). It follows the vendor-neutral recipe of QIBA ("SUV", FDG-PET/CT committee) on
the attributes of PS3.3 C.8.9.1 (PET Series) and C.8.9.2 (PET Isotope), and makes nothing up where that recipe guesses:
an injection that seems to lie after the scan, or longer before it than ten half-lives, leaves SUV unknown.

Weight and dose are used here and not kept.
"""

import datetime
import math
import re
from typing import NamedTuple

from pydicom import Dataset

from medssl.data.readers.parts.dicom_header import word

SUV = "SUVbw"
_MOST_HALF_LIVES = 10
_LONGEST = datetime.timedelta(hours=2)
_PHILIPS = "Philips PET Private Group"
_MOMENT = re.compile(r"(\d{8})(\d{2})(\d{2})(\d{2}(?:\.\d{1,6})?)(?:[+-]\d{4})?")


class Uptake(NamedTuple):
    """What the values of a PET image are.

    Attributes:
        units: "BQML", "SUVbw", "CNTS", another word of the header, or None.
        scales: {"SUVbw": factor} where it is known.
        remark: Why it is not.
    """

    units: str | None
    scales: dict[str, float]
    remark: str | None


class _UnknownError(Exception):
    """What is missing, in words."""


def uptake(dataset: Dataset) -> Uptake:
    """Return what the rescaled values of an object of modality PT are."""
    units = word(dataset.get("Units"))
    try:
        if units == "GML" and word(dataset.get("SUVType")) in (None, "BW"):
            return Uptake(SUV, {}, None)
        return Uptake(units, {SUV: _factor(dataset, units)}, None)
    except _UnknownError as error:
        return Uptake(units, {}, f"SUV is unknown: {error}")


def _factor(dataset: Dataset, units: str | None) -> float:
    corrected = {str(one).strip() for one in dataset.get("CorrectedImage") or []}
    if units == "CNTS":
        return _by_philips(dataset)
    if units != "BQML":
        raise _UnknownError("the header names no unit" if units is None else f"the unit is {units}")
    missing = [name for name in ("ATTN", "DECY") if name not in corrected]
    if missing:
        raise _UnknownError(f"the image is not corrected for {' and '.join(_CORRECTIONS[name] for name in missing)}")
    return _weight(dataset) / _dose(dataset)


_CORRECTIONS = {"ATTN": "attenuation", "DECY": "decay"}


def _by_philips(dataset: Dataset) -> float:
    """Return the factor that Philips stores beside counts: to SUV itself, or to Bq/ml."""
    try:
        block = dataset.private_block(0x7053, _PHILIPS)
    except KeyError:
        raise _UnknownError("the unit is counts") from None
    to_suv, to_activity = (_positive(block[element].value) if element in block else None for element in (0x00, 0x09))
    if to_suv is not None:
        return to_suv
    if to_activity is None:
        raise _UnknownError("the unit is counts")
    return to_activity * _factor(dataset, "BQML")


def _weight(dataset: Dataset) -> float:
    kilograms = _positive(dataset.get("PatientWeight"))
    if kilograms is None:
        raise _UnknownError("the header gives no weight")
    return kilograms * 1000


def _dose(dataset: Dataset) -> float:
    """Return the dose in Bq that was left at the time to which the values are corrected."""
    isotopes = dataset.get("RadiopharmaceuticalInformationSequence") or []
    if len(isotopes) != 1:
        raise _UnknownError(f"the header describes {len(isotopes) or 'no'} radiopharmaceuticals")
    dose = _positive(isotopes[0].get("RadionuclideTotalDose"))
    if dose is None:
        raise _UnknownError("the header gives no dose")
    reference = word(dataset.get("DecayCorrection"))
    if reference == "ADMIN":
        return dose
    if reference != "START":
        raise _UnknownError("the header does not say to what time decay is corrected")
    half_life = _positive(isotopes[0].get("RadionuclideHalfLife"))
    if half_life is None:
        raise _UnknownError("the header gives no half-life")
    scan = _scan_start(dataset, half_life)
    seconds = (scan - _injection(isotopes[0], scan)).total_seconds()
    if not 0 <= seconds <= _MOST_HALF_LIVES * half_life:
        raise _UnknownError(f"by its header the injection was {seconds / 60:.0f} minutes before the scan")
    return float(dose * 2 ** (-seconds / half_life))


def _scan_start(dataset: Dataset, half_life: float) -> datetime.datetime:
    """Return the start of the scan: of the series, or, where a series was made later, reckoned from this frame."""
    series, frame = _moment(dataset, "Series"), _moment(dataset, "Acquisition")
    if series is not None and frame is not None and series <= frame:
        if frame - series > _LONGEST:  # as where times were replaced by noon
            raise _UnknownError(
                f"the series begins {(frame - series).total_seconds() / 60:.0f} minutes before this frame"
            )
        return series
    offset, duration = (_positive(dataset.get(name)) for name in ("FrameReferenceTime", "ActualFrameDuration"))
    if frame is None or offset is None or duration is None:
        raise _UnknownError("the start of the scan is unknown")
    rate, seconds = math.log(2) / half_life, duration / 1000
    mean = math.log(rate * seconds / -math.expm1(-rate * seconds)) / rate  # when the count rate has its mean
    return frame - datetime.timedelta(seconds=offset / 1000 - mean)


def _injection(isotope: Dataset, scan: datetime.datetime) -> datetime.datetime:
    """Return when the dose was given; a time without a date is one of the day of the scan."""
    moment = _parsed(word(isotope.get("RadiopharmaceuticalStartDateTime")))
    moment = moment or _parsed(f"{scan:%Y%m%d}{word(isotope.get('RadiopharmaceuticalStartTime')) or ''}")
    if moment is None:
        raise _UnknownError("the time of injection is unknown")
    return moment


def _moment(dataset: Dataset, of: str) -> datetime.datetime | None:
    return _parsed(f"{word(dataset.get(f'{of}Date')) or ''}{word(dataset.get(f'{of}Time')) or ''}")


def _parsed(text: str | None) -> datetime.datetime | None:
    """Return a moment in the time of the scanner, to the microsecond; None where it is not one to the second."""
    found = _MOMENT.fullmatch(text or "")
    if found is None:
        return None
    day, hour, minute, second = found.groups()
    try:
        whole = datetime.datetime.strptime(f"{day}{hour}{minute}", "%Y%m%d%H%M")
    except ValueError:
        return None
    return whole + datetime.timedelta(seconds=float(second))


def _positive(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
