"""A PACS asked by DIMSE: C-ECHO, C-FIND in the study root, and C-GET or C-MOVE."""

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from pydicom import Dataset

from medssl.data.pacs import contexts
from medssl.data.pacs.association import Peer, Tls, answered, associated, hold
from medssl.data.pacs.extra import pynetdicom
from medssl.data.pacs.header import is_uid
from medssl.data.pacs.landing import Landing
from medssl.data.pacs.receiving import Receiver
from medssl.data.pacs.storing import Taker
from medssl.data.pacs.trouble import PassingError
from medssl.data.pacs.wanted import Series
from medssl.errors import DataError

_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_VERIFICATION = "1.2.840.10008.1.1"
_PENDING = (0xFF00, 0xFF01)
_DONE = 0
_SOME_FAILED = (0xB000, 0xA702)  # some instances, or all, could not be sent
_BUSY = (0xA700, 0xA701)  # out of resources
_UNKNOWN_DESTINATION = 0xA801
_PROBES = 2  # instances that a transfer syntax is tried with
_PATIENCE = 10  # times the time-out: some archives answer a C-MOVE once, when all is sent
_OF_STUDY = ("PatientID", "StudyDate", "StudyDescription", "AccessionNumber", "ModalitiesInStudy")
_OF_SERIES = ("Modality", "SeriesDescription", "BodyPartExamined", "NumberOfSeriesRelatedInstances")


class Dimse:
    """A PACS behind an AE title.

    Attributes:
        move_to: Our own storage SCP, where the PACS sends to (C-MOVE); None to have it answer itself (C-GET).
    """

    def __init__(
        self, peer: Peer, aet: str, *, timeout: float, tls: Tls | None = None, move_to: Receiver | None = None
    ) -> None:
        """Take whom to ask, under which AE title of ours, and the seconds that every answer may take."""
        self.peer, self.aet, self.timeout, self.tls, self.move_to = peer, aet, timeout, tls, move_to

    def check(self) -> None:
        """Ask whether it is there (C-ECHO); see `associated` for what is raised."""
        with self._associated([pynetdicom().build_context(_VERIFICATION)]) as association:
            hold(association)
            answered(association.send_c_echo(), "C-ECHO", self.peer)

    def series(self, keys: dict[str, str]) -> Iterator[Series]:
        """Yield the series of the studies that meet the keys, study by study."""
        with self._associated([pynetdicom().build_context(_FIND)]) as association:
            for study in list(self._find(association, "STUDY", {"StudyInstanceUID": ""}, _OF_STUDY, keys)):
                key = {"StudyInstanceUID": _text(study, "StudyInstanceUID")}
                if not is_uid(key["StudyInstanceUID"]):
                    continue
                for found in self._find(association, "SERIES", {"SeriesInstanceUID": ""}, _OF_SERIES, key):
                    if is_uid(_text(found, "SeriesInstanceUID")):
                        yield described(study, found)

    def instances(self, series: Series) -> dict[str, str]:
        """Return the SOP Instance UIDs of a series, each with its SOP class, which may be unknown."""
        keys = {"StudyInstanceUID": series.study, "SeriesInstanceUID": series.series}
        with self._associated([pynetdicom().build_context(_FIND)]) as association:
            found = list(self._find(association, "IMAGE", {"SOPInstanceUID": ""}, ("SOPClassUID",), keys))
        uids = {_text(one, "SOPInstanceUID"): _text(one, "SOPClassUID") for one in found}
        return {uid: kind for uid, kind in uids.items() if is_uid(uid)}

    def fetch(self, series: Series, only: list[str] | None, kinds: dict[str, str], landing: Landing) -> None:
        """Have a series sent, or some instances of it, one after another.

        Raises:
            PassingError: The PACS is busy, does not answer, or the connection ends.
            DataError: It cannot do this at all.
            StoppedError: It was time to stop; what was complete is kept.
        """
        for turn in range(2 if self.move_to else 1 + len(contexts.SYNTAXES)):
            if turn:  # not all could be sent
                only = [uid for uid in only or kinds if not landing.folder.has(series.study, series.series, uid)]
                landing.go_on()
            sent = (
                self._move(series, only, landing, turn)
                if self.move_to
                else self._get(series, only, kinds, landing, turn)
            )
            if sent:
                return

    def _get(self, series: Series, only: list[str] | None, kinds: dict[str, str], landing: Landing, turn: int) -> bool:
        """Ask by C-GET, and tell whether all could be sent.

        Some archives (dcmqrscp) do not look for the context that fits a file, but take the first one of its kind, and
        fail where they cannot convert. So what failed is asked for again with one syntax a turn.
        """
        net = pynetdicom()
        offers = contexts.offered(kinds.values(), contexts.SYNTAXES[turn - 1] if turn else None)
        roles = [net.build_role(kind, scp_role=True) for kind in {str(offer.abstract_syntax) for offer in offers}]
        taker = Taker(landing, ends=True)
        handlers = [(net.evt.EVT_C_STORE, taker)]
        with self._associated([net.build_context(_GET), *offers], roles=roles, handlers=handlers) as association:
            kept = {str(context.abstract_syntax) for context in association.accepted_contexts}
            if _GET not in kept:
                raise DataError("The PACS offers no C-GET", where=str(self.peer), fix="Use C-MOVE: add --move PORT")
            failures = 0
            for asked, identifier in enumerate(_asked(series, only) if len(kept) > 1 else ()):
                hold(association)
                responses = association.send_c_get(identifier, _GET)
                failures += not self._sent(association, responses, "C-GET", taker, landing, _GET)
                if turn and failures > asked and failures == _PROBES:
                    break  # instances of a series are alike: this is not their syntax
            return len(kept) > 1 and not failures

    def _move(self, series: Series, only: list[str] | None, landing: Landing, turn: int) -> bool:
        """Ask by C-MOVE, and tell whether all could be sent.

        A sender may offer compressed and plain syntaxes in one context, fit to send in one of them alone; ours is the
        choice, plain first, compressed in the second turn.
        """
        receiver = self.move_to
        assert receiver is not None  # noqa: S101  for the type checker
        receiver.prefer(compressed=turn == 1)
        before = landing.counts.new
        failures = 0
        with receiver.lands(landing) as taker, self._associated([pynetdicom().build_context(_MOVE)]) as association:
            association.dimse_timeout = _PATIENCE * self.timeout
            if not association.accepted_contexts:
                raise DataError("The PACS offers no C-MOVE", where=str(self.peer), fix="Leave --move out to use C-GET")
            for identifier in _asked(series, only):
                hold(association)
                responses = association.send_c_move(identifier, receiver.aet, _MOVE)
                failures += not self._sent(association, responses, "C-MOVE", taker, landing, _MOVE)
        if turn and failures and landing.counts.new == before and receiver.last is None:
            fix = f"See that it reaches port {receiver.port} of this machine"
            raise PassingError("The PACS sent nothing to us", where=str(self.peer), fix=fix)
        return not failures

    def _sent(self, association: Any, responses: Any, what: str, taker: Taker, landing: Landing, model: str) -> bool:
        """Follow the answers to one request to the last, and tell whether all was sent.

        On trouble of ours or when it is time to stop, the PACS is told to end.
        """
        cancelled, code = False, None
        for status, _ in responses:
            code = None if taker.trouble or taker.ended else answered(status, what, self.peer)
            if code not in _PENDING:
                break
            if not cancelled and taker.told_to_stop():
                association.send_c_cancel(1, query_model=model)
                cancelled = True
        if taker.trouble is not None:
            raise taker.trouble
        landing.go_on()
        if code == _UNKNOWN_DESTINATION:
            fix = f"Have our AE title '{self.aet}' entered there, with this machine's address and the port of --move"
            raise DataError("The PACS does not know where to send to", where=str(self.peer), fix=fix)
        if code in _BUSY:
            raise PassingError(f"The PACS is out of resources ({what} status 0x{code:04X})", where=str(self.peer))
        if code not in (_DONE, *_SOME_FAILED):
            raise DataError(f"The PACS answered a {what} with status 0x{code:04X}", where=str(self.peer))
        return code == _DONE and not _count(status, "NumberOfFailedSuboperations")

    def _find(
        self, association: Any, level: str, uid: dict[str, str], wanted: Iterable[str], keys: dict[str, str]
    ) -> Iterator[Dataset]:
        identifier = _dataset(level, {**uid, **dict.fromkeys(wanted, ""), **keys})
        hold(association)
        for status, found in association.send_c_find(identifier, _FIND):
            code = answered(status, "C-FIND", self.peer)
            if code in _PENDING and found is not None:
                yield found
            elif code not in (0, *_PENDING):
                said = f"The PACS answered a C-FIND with status 0x{code:04X}"
                raise DataError(said, where=str(self.peer), fix="Narrow the question, for example --study-date")

    def _associated(self, offers: list[Any], roles: list[Any] | None = None, handlers: list[Any] | None = None) -> Any:
        return associated(
            self.peer, self.aet, offers, timeout=self.timeout, tls=self.tls, roles=roles, handlers=handlers
        )


def described(study: Dataset, found: Dataset) -> Series:
    """Return a series from what a PACS said of its study and of itself."""
    count = _text(found, "NumberOfSeriesRelatedInstances")
    return Series(
        study=_text(study, "StudyInstanceUID"),
        series=_text(found, "SeriesInstanceUID"),
        patient_id=_text(study, "PatientID"),
        study_date=_text(study, "StudyDate"),
        modality=_text(found, "Modality"),
        study_description=_text(study, "StudyDescription"),
        series_description=_text(found, "SeriesDescription"),
        body_part=_text(found, "BodyPartExamined"),
        accession=_text(study, "AccessionNumber"),
        instances=int(count) if count.isdigit() else None,
    )


def _text(dataset: Dataset, name: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a value that breaks the standard; the text would hold it
        value = dataset.get(name)
    return "" if value is None else str(value).strip()


def _count(status: Dataset, name: str) -> int:
    return int(status.get(name) or 0)


def _asked(series: Series, only: list[str] | None) -> Iterator[Dataset]:
    """Yield the identifiers that ask for a series, or for some of its instances one by one."""
    keys = {"StudyInstanceUID": series.study, "SeriesInstanceUID": series.series}
    if only is None:
        yield _dataset("SERIES", keys)
    for uid in only or []:
        yield _dataset("IMAGE", {**keys, "SOPInstanceUID": uid})


def _dataset(level: str, keys: dict[str, str]) -> Dataset:
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in keys.items():
            setattr(dataset, name, value)
    if not all(value.isascii() for value in keys.values()):
        dataset.SpecificCharacterSet = "ISO_IR 192"
    return dataset
