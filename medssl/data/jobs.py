"""A scan as an array of SLURM jobs: each reads a part of the files, and the scan that follows joins what they found."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from medssl.data.earlier import Earlier
from medssl.data.keys import from_file
from medssl.data.scan import scan_part
from medssl.data.update import Choices
from medssl.errors import SettingsError, StoppedError

_MINUTES = 24 * 60  # that a job may take


def read_in_jobs(
    folders: Sequence[Path], output: Path, choices: Choices, jobs: int, options: dict[str, str] | None = None
) -> None:
    """Read an archive in so many jobs at a time, and return when all are done.

    Jobs get the place of the key, never the key: what they are given is written to disk.

    Args:
        folders: As for `medssl.data.scan.scan`, where every job sees them.
        output: The manifest that is to be written; what jobs find, and their logs, lie beside it.
        choices: Options of the scan, a key among them.
        jobs: How many parts.
        options: Of sbatch, such as {"partition": "cpu"}, `time` in minutes; `cluster` "local" runs jobs on
            this machine.

    Raises:
        SettingsError: submitit is not installed, there is no SLURM, or an option is refused.
        StoppedError: A job did not finish.
    """
    executor = _executor(output.with_name(f".{output.name}.jobs"), dict(options or {}))
    if choices.key is None:
        raise SettingsError("Parts of a scan need one key for all", fix="Give --key FILE")
    work = partial(_part, [path.absolute() for path in folders], output.absolute(), choices, jobs)
    running = executor.map_array(work, range(1, jobs + 1))
    failed = [number for number, job in enumerate(running, start=1) if job.exception() is not None]
    if failed:
        parts = ", ".join(map(str, failed))
        raise StoppedError(
            f"{len(failed)} of {jobs} jobs did not finish (parts {parts}); what was read is kept",
            where=executor.folder,
            fix="Look at their logs there, and give the same command again",
        )


def _part(folders: list[Path], output: Path, choices: Choices, jobs: int, number: int) -> int:
    labels = Path(choices.labels) if choices.labels is not None else None
    hide = choices.hiding(from_file(Path(str(choices.key))))
    return scan_part(folders, Earlier(output, shard=(number, jobs)), labels=labels, hide=hide)


def _executor(folder: Path, options: dict[str, str]) -> Any:
    try:
        import submitit  # an extra
    except ImportError as error:
        raise SettingsError("submitit is not installed", fix="pip install 'medssl[slurm]'") from error
    cluster = options.pop("cluster", "slurm")
    if cluster == "slurm" and submitit.AutoExecutor.which() != "slurm":
        raise SettingsError(
            "There is no SLURM here (no srun)", fix="Run on a login node, or give --slurm-set cluster=local"
        )
    try:
        executor = submitit.AutoExecutor(folder / "%j", cluster=cluster)
        minutes = int(options.pop("time", _MINUTES))
        own = {f"{cluster}_{name}": value for name, value in options.items()}
        executor.update_parameters(timeout_min=minutes, name="medssl-scan", **own)
    except (TypeError, NameError, ValueError, RuntimeError) as error:
        raise SettingsError(f"An option of the jobs is refused: {error}", fix="Correct --slurm-set") from error
    return executor
