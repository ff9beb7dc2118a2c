"""`medssl phantom` as a person types it."""

from typer.testing import CliRunner

from medssl.cli import main

runner = CliRunner()


def test_it_writes_both_devices_and_names_the_next_command(tmp_path):
    result = runner.invoke(main.build(), ["phantom", "oct", str(tmp_path), "--patients", "3"])
    assert result.exit_code == 0
    assert sorted(p.name for p in tmp_path.rglob("*.dcm")) == ["A0001.dcm", "A0002.dcm", "A0003.dcm", "B0001.dcm"]
    assert "synthetic" in result.stdout
    assert f"medssl scan {tmp_path / 'device-a'}" in result.stdout
    assert "drawing the synthetic cohort 4/4" in result.stderr


def test_an_unknown_phantom_names_the_nearest(tmp_path):
    result = runner.invoke(main.build(), ["phantom", "otc", str(tmp_path)])
    assert result.exit_code == 2
    assert "Did you mean 'oct'?" in result.stderr


def test_no_patients_are_refused(tmp_path):
    result = runner.invoke(main.build(), ["phantom", "oct", str(tmp_path / "x"), "--patients", "0"])
    assert result.exit_code == 2
    assert not (tmp_path / "x").exists()
