"""Exported models that others can check by model signing's own command."""

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from data_specs.errors import ArtifactError, SpecError
from flows.commands.export import export
from tasks.exporting.folder import export_model
from tasks.lineage.trust.keys import public_keys
from tasks.lineage.trust.signatures import Signer, TrustedKeys
from tests.cases.exporting_bench import Bench
from tests.cases.keys import make_keys


def check(out, public):
    words = ["verify", "key", out, "--signature", out / "model.sig", "--public_key", public]
    return subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, words)], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_model_signings_own_command_finds_an_exported_model_good_and_a_changed_one_bad(tmp_path):
    private, public = make_keys(tmp_path)
    bench = Bench(tmp_path / "store")
    out = export_model(bench.store, bench.model.version, "transformers", tmp_path / "safer", signer=Signer(private))
    done = check(out, public)
    assert done.returncode == 0, done.stderr
    weights = out / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    done = check(out, public)
    assert done.returncode != 0
    assert "model.safetensors" in done.stdout + done.stderr
    other = make_keys(tmp_path / "other")[1]
    assert check(out, other).returncode != 0


def test_the_signature_names_the_folder_and_covers_all_files_of_it(tmp_path):
    private, public = make_keys(tmp_path)
    bench = Bench(tmp_path / "store")
    out = export_model(bench.store, bench.model.version, "open_clip", tmp_path / "safer", signer=Signer(private))
    trusted = TrustedKeys(public_keys([public]))
    assert trusted.require_folder_signed(out)
    (out / "more.txt").write_text("more")
    with pytest.raises(ArtifactError, match=r"more\.txt"):
        trusted.require_folder_signed(out)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_key_comes_from_the_option_or_the_environment(tmp_path, monkeypatch):
    private, public = make_keys(tmp_path)
    bench = Bench(tmp_path / "store")
    app = typer.Typer()
    app.command()(export)
    words = [bench.model.version, "--store", str(bench.store.root), "--out"]
    done = CliRunner().invoke(app, [*words, str(tmp_path / "a"), "--key", str(private)])
    assert done.exit_code == 0, done.output
    monkeypatch.setenv("UWM_SIGNING_KEY", str(private))
    assert CliRunner().invoke(app, [*words, str(tmp_path / "b")]).exit_code == 0
    trusted = TrustedKeys(public_keys([public]))
    assert trusted.require_folder_signed(tmp_path / "a") == trusted.require_folder_signed(tmp_path / "b")
    wrong = CliRunner().invoke(app, [*words, str(tmp_path / "c"), "--key", str(public)])
    assert isinstance(wrong.exception, SpecError)
    assert not (tmp_path / "c").exists()


def test_with_trusted_keys_an_unsigned_model_is_not_exported(tmp_path, monkeypatch):
    bench = Bench(tmp_path / "store")
    monkeypatch.setenv("UWM_TRUSTED_KEYS", str(make_keys(tmp_path)[1]))
    app = typer.Typer()
    app.command()(export)
    words = [bench.model.version, "--store", str(bench.store.root), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, ArtifactError)
    assert "is not signed" in str(done.exception)
