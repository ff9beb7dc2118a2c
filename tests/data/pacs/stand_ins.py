"""Two small archives on this machine: a DIMSE node on pynetdicom, and a DICOMweb service on http.server."""

import http.server
import json
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from pydicom import Dataset, dcmread


class Node:
    """Answers C-ECHO, C-FIND, C-GET and C-MOVE from a folder of files.

    Attributes:
        asked: Names of the requests that came, with their level.
        hang: Seconds that an answer takes.
        die_after: Abort after so many instances were sent in one request; counted down.
        refuse: Instances that cannot be sent, by UID.
        status: Answer requests to retrieve with this status.
        ignore_keys: Answer every query with everything, as some archives do.
    """

    def __init__(self, folder: Path, destination: int = 0) -> None:
        from pynetdicom import AE, evt
        from pynetdicom.sop_class import Verification

        from medssl.data.pacs.association import send_at_once
        from medssl.data.pacs.contexts import SYNTAXES

        self.files = {str(d.SOPInstanceUID): (path, d) for path in sorted(folder.glob("*.dcm"))
                      for d in [dcmread(path, stop_before_pixels=True)]}  # fmt: skip
        self.asked, self.hang, self.die_after, self.refuse = [], 0.0, None, set()
        self.status, self.ignore_keys, self.destination = None, False, destination
        entity = AE("NODE")
        entity.require_called_aet = True
        entity.add_supported_context(Verification)
        for kind in ("1", "2", "3"):
            entity.add_supported_context(f"1.2.840.10008.5.1.4.1.2.2.{kind}")
        for kind in {str(d.SOPClassUID) for _, d in self.files.values()}:
            entity.add_supported_context(kind, list(SYNTAXES), scu_role=True, scp_role=True)
        self.entity = entity
        handlers = [(evt.EVT_CONN_OPEN, send_at_once), (evt.EVT_C_ECHO, self._echo), (evt.EVT_C_FIND, self._find),
                    (evt.EVT_C_GET, self._get), (evt.EVT_C_MOVE, self._move)]  # fmt: skip
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = self.server.server_address[1]

    def close(self) -> None:
        self.entity.shutdown()

    def _echo(self, event):
        time.sleep(self.hang)
        return 0

    def _matching(self, wanted: Dataset) -> list[tuple[Path, Dataset]]:
        keys = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID", "StudyDate")
        given = {k: str(wanted.get(k, "")) for k in keys if wanted.get(k)}
        if self.ignore_keys:
            given.pop("PatientID", None), given.pop("StudyDate", None)
        return [(p, d) for p, d in self.files.values() if all(_fits(str(d.get(k, "")), v) for k, v in given.items())]

    def _find(self, event):
        wanted = event.identifier
        level = wanted.QueryRetrieveLevel
        self.asked.append(f"find {level}")
        time.sleep(self.hang)
        name = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}[level]
        seen = set()
        for _, d in self._matching(wanted):
            if d[name].value in seen:
                continue
            seen.add(d[name].value)
            answer = Dataset()
            answer.QueryRetrieveLevel = level
            for element in wanted:
                if element.keyword in d:
                    answer[element.keyword] = d[element.keyword]
            yield 0xFF00, answer

    def _get(self, event):
        chosen = self._matching(event.identifier)
        self.asked.append(f"get {event.identifier.QueryRetrieveLevel} {len(chosen)}")
        time.sleep(self.hang)
        yield len(chosen)
        yield from self._sent(event, chosen)

    def _move(self, event):
        chosen = self._matching(event.identifier)
        self.asked.append(f"move {event.identifier.QueryRetrieveLevel} {len(chosen)}")
        if event.move_destination != "MEDSSL":
            yield None, None
            return
        from pynetdicom import build_context

        pairs = {(str(d.SOPClassUID), str(d.file_meta.TransferSyntaxUID)) for _, d in chosen}
        yield "127.0.0.1", self.destination, {"contexts": [build_context(*pair) for pair in pairs]}
        yield len(chosen)
        yield from self._sent(event, chosen)

    def _sent(self, event, chosen):
        for path, d in chosen:
            if event.is_cancelled:
                yield 0xFE00, None
                return
            if self.status is not None:
                yield self.status, None
                return
            if self.die_after is not None:
                self.die_after -= 1
                if self.die_after < 0:
                    self.die_after = None
                    event.assoc.abort()
                    return
            if d.SOPInstanceUID in self.refuse:
                yield 0xB000, None
            else:
                yield 0xFF00, dcmread(path)


def _fits(value: str, key: str) -> bool:
    if "-" in key and len(key) in (9, 17):
        first, _, last = key.partition("-")
        return (first or value) <= value <= (last or value)
    return value in key.split("\\")


class Web:
    """QIDO-RS in pages of at most `page`, WADO-RS by series and instance.

    Attributes:
        asked: Paths that came, with the query.
        headers: The headers of every request.
        cut: Cut the body of the next answer to a retrieve to so many bytes, the length said as if whole.
        torn: Leave the closing delimiter of the next answer to a retrieve out, in a well-formed answer.
        statuses: Answers to give before others, each (code, headers).
        gone: Instances that answer 404.
        no_pages: Know no limit and no offset.
        hang: Seconds that an answer takes.
    """

    def __init__(self, folder: Path) -> None:
        self.files = {str(d.SOPInstanceUID): (path, d) for path in sorted(folder.glob("*.dcm"))
                      for d in [dcmread(path, stop_before_pixels=True)]}  # fmt: skip
        self.asked, self.headers, self.statuses, self.gone = [], [], [], set()
        self.cut, self.torn, self.page, self.no_pages, self.hang, self.body = None, False, 2, False, 0.0, None
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_GET(self):
                web.asked.append(self.path)
                web.headers.append(dict(self.headers))
                time.sleep(web.hang)
                if web.statuses:
                    code, headers = web.statuses.pop(0)
                    return self._answer(code, b"", headers)
                parts = urlsplit(self.path)
                place = parts.path.removeprefix("/dicom-web/").split("/")
                if len(place) % 2:
                    return self._search(place, parse_qs(parts.query))
                return self._retrieve(place)

            def _search(self, place, query):
                known = dict(zip(place[0:-1:2], place[1::2], strict=True))
                level = {"studies": 0x0020000D, "series": 0x0020000E, "instances": 0x00080018}.get(place[-1])
                if web.body is not None or level is None:
                    return self._answer(200 if web.body is not None else 404, web.body or b"", {})
                found = {}
                for _, d in web.files.values():
                    fits = d.StudyInstanceUID == known.get("studies", d.StudyInstanceUID)
                    fits &= d.SeriesInstanceUID == known.get("series", d.SeriesInstanceUID)
                    fits &= all(
                        _fits(str(d.get(k, "")), v[0]) for k, v in query.items() if k in ("PatientID", "StudyDate")
                    )
                    if fits:
                        found.setdefault(d[level].value, _json(d))
                rows = list(found.values())
                if not web.no_pages:
                    start = int(query.get("offset", ["0"])[0])
                    rows = rows[start : start + min(web.page, int(query["limit"][0]))]
                if not rows:
                    return self._answer(204, b"", {})
                return self._answer(200, json.dumps(rows).encode(), {"Content-Type": "application/dicom+json"})

            def _retrieve(self, place):
                known = dict(zip(place[::2], place[1::2], strict=True))
                chosen = [
                    path
                    for uid, (path, d) in web.files.items()
                    if d.SeriesInstanceUID == known["series"]
                    and uid == known.get("instances", uid)
                    and uid not in web.gone
                ]
                if not chosen:
                    return self._answer(404, b"", {})
                body = b"".join(
                    b"\r\n--xYx\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() for path in chosen
                )
                whole = body + (b"" if web.torn else b"\r\n--xYx--\r\n")
                kind = 'multipart/related; type="application/dicom"; boundary=xYx'
                cut, web.cut, web.torn = web.cut, None, False
                return self._answer(200, whole, {"Content-Type": kind}, cut)

            def _answer(self, code, body, headers, cut=None):
                self.send_response(code)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body[:cut])
                self.close_connection = cut is not None

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *arguments: None  # a client that went away
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/dicom-web"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def _json(d: Dataset) -> dict:
    names = ("PatientID", "StudyDate", "StudyDescription", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID",
             "SOPInstanceUID", "SOPClassUID", "Modality", "SeriesDescription", "BodyPartExamined")  # fmt: skip
    return {f"{d[name].tag:08X}": {"vr": d[name].VR, "Value": [str(d[name].value)]} for name in names}
