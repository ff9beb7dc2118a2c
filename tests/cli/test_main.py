"""The command line's frame: help, errors, exit codes, options with several values, speed."""

import os
import resource
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from medssl.cli import main
from medssl.errors import DataError, SettingsError, StoppedError

runner = CliRunner()


def medssl(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from medssl.cli.main import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_version_and_help():
    from medssl import __version__

    assert medssl("--version").stdout.strip() == f"medssl {__version__}"
    shown = medssl("--help").stdout
    for command in ("doctor", "phantom", "scan", "pretrain", "sweep", "report", "run", "data"):
        assert f"\n  {command} " in shown


@pytest.mark.parametrize("arguments", [["--help"], ["pretrain", "--help"], ["sweep", "--help"]])
def test_help_needs_no_heavy_imports(arguments):
    code = (
        f"import sys; sys.argv[1:] = {arguments!r}\n"
        "from medssl.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'monai', 'pandas', 'numpy', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < 1.0, "0.3 s is the aim on a quiet machine; see benchmarks/"


def test_unknown_command_and_option_end_with_2_and_a_guess():
    found = medssl("pretain")
    assert found.returncode == 2
    assert "pretrain" in found.stderr
    assert "Traceback" not in found.stderr
    found = medssl("doctor", "--jsn")
    assert found.returncode == 2
    assert "--json" in found.stderr


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (SettingsError("Unknown x"), 2, "medssl: Unknown x."),
        (DataError("No images", where="folder"), 65, "medssl: No images (folder)."),
        (StoppedError("Saved"), 75, "medssl: Saved."),
        (KeyboardInterrupt(), 130, "Stopped by Ctrl-C"),
        (ZeroDivisionError("division by zero"), 1, "Unexpected ZeroDivisionError: division by zero. This is a bug"),
    ],
)
def test_errors_are_one_sentence_and_an_exit_code(error, code, text):
    def command():
        raise error

    app = typer.Typer()
    app.command()(main.guarded(command))
    result = runner.invoke(app, [])
    assert result.exit_code == code
    assert text in result.stderr
    assert "Traceback" not in result.output


def test_an_error_of_the_operating_system_is_no_bug():
    def command():
        raise PermissionError(13, "Permission denied", "/secret/m.parquet")

    application = typer.Typer()
    application.command()(main.guarded(command))
    result = runner.invoke(application)
    assert result.exit_code == 74
    assert result.stderr == (
        "medssl: Permission denied (/secret/m.parquet). Choose another place, or ask who owns it.\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes as a name")
def test_an_argument_that_is_not_utf8_is_refused():
    done = medssl("scan", os.fsdecode(b"f\xf6lder"))
    assert (done.returncode, done.stderr) == (2, "medssl: 'f\\xf6lder' is not UTF-8. Rename the file or folder.\n")


def test_debug_shows_the_traceback():
    app = typer.Typer()

    def command():
        raise DataError("No images")

    app.command()(main.guarded(command, debug=True))
    result = runner.invoke(app, [])
    assert "Traceback" in result.stderr


def test_an_option_takes_several_values():
    application = main.build()
    assert main.spread(application, ["sweep", "--arms", "a", "b", "c", "--data", "m"]) == [
        "sweep", "--arms", "a", "--arms", "b", "--arms", "c", "--data", "m",
    ]  # fmt: skip
    assert main.spread(application, ["doctor", "--json"]) == ["doctor", "--json"]
    assert main.spread(application, ["nonsense", "x"]) == ["nonsense", "x"]
    assert main.spread(application, []) == []


def test_doctor_finds_this_machine_well():
    import json

    found = medssl("doctor", "--json")
    assert found.returncode == 0, found.stderr
    subjects = {entry["subject"] for entry in json.loads(found.stdout)}
    assert {"python", "torch", "memory", "working folder", "DICOM RLE", "arithmetic"} <= subjects


def test_doctor_fails_on_a_gpu_that_cannot_be_used(monkeypatch):
    from medssl import doctor

    monkeypatch.setattr(doctor, "_gpus_present", lambda: "GPU 0: card")
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    finding = next(f for f in doctor.examine() if f.subject == "gpu")
    assert finding.mark == "FAIL"
    assert "docs/docker.md" in finding.fix


def test_doctor_survives_a_check_that_fails(monkeypatch):
    from medssl import doctor

    def broken():
        raise RuntimeError("no such file")
        yield

    monkeypatch.setattr(doctor, "_memory", broken)
    found = [f for f in doctor.examine() if f.mark == "FAIL"]
    assert "no such file" in found[0].text
