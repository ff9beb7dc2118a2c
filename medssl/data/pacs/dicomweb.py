"""A PACS asked by DICOMweb: QIDO-RS in pages, WADO-RS as stored, part by part to the disk."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from medssl.data.pacs.extra import load, silence
from medssl.data.pacs.header import is_uid
from medssl.data.pacs.landing import Landing
from medssl.data.pacs.multipart import parts
from medssl.data.pacs.session import failed, http_errors, session
from medssl.data.pacs.wanted import Series
from medssl.errors import DataError

_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_CHUNK = 1 << 16
_PAGE = 200  # results asked for at a time
_TAGS = {
    "PatientID": "00100020", "StudyDate": "00080020", "StudyDescription": "00081030", "AccessionNumber": "00080050",
    "StudyInstanceUID": "0020000D", "SeriesInstanceUID": "0020000E", "SOPInstanceUID": "00080018",
    "SOPClassUID": "00080016", "Modality": "00080060", "SeriesDescription": "0008103E",
    "BodyPartExamined": "00180015", "NumberOfSeriesRelatedInstances": "00201209",
}  # fmt: skip
_GONE = frozenset({404, 406, 410})  # one instance that is not to be had; the others may be


class DicomWeb:
    """A PACS behind a DICOMweb service."""

    def __init__(self, url: str, *, timeout: float, ca: Path | None = None, page: int = _PAGE) -> None:
        """Take the root of the service, the seconds that it may be silent, and its authority's certificates."""
        self.url, self._timeout, self._page = url, timeout, page
        self._session = session(ca)
        client = load("dicomweb_client")
        silence("dicomweb_client", "retrying", "urllib3")
        self._client = client.DICOMwebClient(url, session=self._session, timeout=timeout, permissive_uid=True)
        self._client.set_http_retry_params(retry=False)  # tries are counted and spaced in one place, `pulling.py`

    def check(self) -> None:
        """Ask for one study; see `http_errors` for what is raised."""
        with http_errors(self.url):
            self._client.search_for_studies(limit=1, fields=["PatientID"])

    def series(self, keys: dict[str, str]) -> Iterator[Series]:
        """Yield the series of the studies that meet the keys, study by study."""
        fields = ["PatientID", "StudyDate", "StudyDescription", "AccessionNumber"]
        for study in self._paged("StudyInstanceUID", self._client.search_for_studies, fields, search_filters=keys):
            uid = _value(study, "StudyInstanceUID")
            wanted = ["Modality", "SeriesDescription", "BodyPartExamined", "NumberOfSeriesRelatedInstances"]
            search = self._client.search_for_series
            for found in self._paged("SeriesInstanceUID", search, wanted, study_instance_uid=uid):
                yield _described(study, found)

    def instances(self, series: Series) -> dict[str, str]:
        """Return the SOP Instance UIDs of a series, each with its SOP class, which may be unknown."""
        search = self._client.search_for_instances
        where = {"study_instance_uid": series.study, "series_instance_uid": series.series}
        found = self._paged("SOPInstanceUID", search, ["SOPClassUID"], **where)
        return {_value(one, "SOPInstanceUID"): _value(one, "SOPClassUID") for one in found}

    def fetch(
        self,
        series: Series,
        only: list[str] | None,
        kinds: dict[str, str],  # noqa: ARG002  negotiated by DIMSE alone
        landing: Landing,
    ) -> None:
        """Retrieve a series, or some instances of it, one after another.

        Raises:
            PassingError: The service is busy, hangs, or ends in the middle of an answer.
            DataError: It refuses.
            StoppedError: It was time to stop; what was complete is kept.
        """
        address = f"{self.url}/studies/{series.study}/series/{series.series}"
        for place in [address] if only is None else [f"{address}/instances/{uid}" for uid in only]:
            with http_errors(self.url):
                self._retrieve(place, landing)

    def _retrieve(self, place: str, landing: Landing) -> None:
        headers = {"Accept": _ACCEPT}
        with self._session.get(place, headers=headers, stream=True, timeout=self._timeout) as response:
            if response.status_code in _GONE:
                return
            if response.status_code >= 300:
                raise failed(response, self.url)
            for part in parts(response.headers.get("Content-Type", ""), response.iter_content(_CHUNK)):
                self._land(part, landing)
                landing.go_on()

    def _land(self, part: Iterator[bytes], landing: Landing) -> None:
        """Write a part; trouble of the network is told apart from trouble of the disk in between."""
        with landing.incoming() as arrival:
            chunks = iter(part)
            while True:
                with http_errors(self.url):
                    chunk = next(chunks, None)
                if chunk is None:
                    break
                arrival.write(chunk)
            arrival.settle()

    def _paged(
        self, identifier: str, search: Callable[..., Any], fields: list[str], **given: Any
    ) -> Iterator[dict[str, Any]]:
        """Yield results until a page brings nothing new; a service that knows no pages answers alike each time."""
        seen: set[str] = set()
        offset = 0
        while True:
            with http_errors(self.url):
                page = search(limit=self._page, offset=offset, fields=fields, **given)
            if not isinstance(page, list):
                raise DataError("The answer is no list of results", where=self.url)
            fresh = [one for one in page if is_uid(_value(one, identifier)) and _value(one, identifier) not in seen]
            for one in fresh:
                seen.add(_value(one, identifier))
                yield one
            offset += len(page)
            if not fresh:
                return


def _described(study: dict[str, Any], found: dict[str, Any]) -> Series:
    count = _value(found, "NumberOfSeriesRelatedInstances")
    return Series(
        study=_value(study, "StudyInstanceUID"),
        series=_value(found, "SeriesInstanceUID"),
        patient_id=_value(study, "PatientID"),
        study_date=_value(study, "StudyDate"),
        modality=_value(found, "Modality"),
        study_description=_value(study, "StudyDescription"),
        series_description=_value(found, "SeriesDescription"),
        body_part=_value(found, "BodyPartExamined"),
        accession=_value(study, "AccessionNumber"),
        instances=int(count) if count.isdigit() else None,
    )


def _value(result: Any, name: str) -> str:
    """Return the first value of an attribute in DICOM JSON, or empty text."""
    try:
        return str(result[_TAGS[name]]["Value"][0]).strip()
    except (KeyError, IndexError, TypeError):
        return ""
