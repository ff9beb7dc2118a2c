"""The packages of the `pacs` extra: imported where they are used, with a sentence where they are not installed."""

import importlib
import logging
from types import ModuleType

from medssl.errors import SettingsError


def load(name: str) -> ModuleType:
    """Import a module of pynetdicom, dicomweb_client or requests.

    Raises:
        SettingsError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        what = f"The package {error.name} is not installed, which speaks to a PACS"
        raise SettingsError(what, fix="Install medssl with the extra 'pacs': pip install 'medssl[pacs]'") from error


def silence(*names: str) -> None:
    """Keep what libraries log off the screen: it may hold addresses with patient IDs, or values of headers."""
    for name in names:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)


def pynetdicom() -> ModuleType:
    """Import pynetdicom, told to keep what it hears to itself: its log would hold identifiers of patients."""
    module = load("pynetdicom")
    silence("pynetdicom", "pydicom")
    config = load("pynetdicom._config")
    config.LOG_HANDLER_LEVEL = "none"  # type: ignore[attr-defined]
    config.LOG_RESPONSE_IDENTIFIERS = config.LOG_REQUEST_IDENTIFIERS = False  # type: ignore[attr-defined]
    return module
