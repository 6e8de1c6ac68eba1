"""`uwm audit` of a real run: all that is evidence, and nothing of the pictures and captions."""

import base64
import tarfile

import pytest

from tests.cases.bundles import unpacked, verified
from tests.cases.small_run import completed, write_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(here, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audited")
    config = write_run(folder, calibration=8, test=8, per_shard=8)
    return completed(here, "run", config, folder / "store")


@pytest.fixture(scope="module")
def folder(finished, here, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "bundle.zip"
    done = here("audit", "small", "--out", str(out), "--store", str(finished.store))
    assert (done.returncode, done.stderr) == (0, "")
    return unpacked(out, out.with_name("unpacked"))


def test_a_bundle_of_a_run_checks_itself_against_its_store_and_holds_figures_settings_and_report(finished, folder):
    done = verified(folder, "--store", str(finished.store))
    assert (done.returncode, done.stderr) == (0, "")
    assert finished.version("model") in done.stdout
    for role in ("original", "edited"):
        inside = folder / "store/evaluation" / finished.version(f"evaluation.{role}")
        assert (inside / "metrics.json").read_bytes() == (
            finished.place(f"evaluation.{role}") / "metrics.json"
        ).read_bytes()
    (record,) = (folder / "store/.runs").glob("*.json")
    assert '"tau": 0.9' in record.read_text()
    report = (folder / "report" / f"{finished.version('report')}.html").read_text(encoding="utf-8")
    assert "Left out of this copy" in report
    assert "Where the numbers come from" in report


def test_no_picture_and_no_caption_is_in_it(finished, folder):
    pictures, captions = [], []
    for shard in finished.config.parent.glob("*.tar"):
        with tarfile.open(shard) as tar:
            for member in tar:
                data = tar.extractfile(member).read()
                if member.name.endswith(".png"):
                    pictures.append(data)
                elif member.name.endswith(".txt"):
                    captions.append(data)
    thumbnails = [path.read_bytes() for path in finished.store.glob("gallery*/*/thumbnails/*")]
    assert len(captions) == 32
    assert len(thumbnails) > 10
    shown = (finished.place("report") / "report.html").read_bytes()
    assert any(caption in shown for caption in captions)  # the report itself shows them
    signs = [*captions, *(data[32:96] for data in (*pictures, *thumbnails))]
    signs += [base64.b64encode(data[:96]) for data in (*pictures, *thumbnails)]
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [sign for sign in signs if sign in content], path
            assert b"data:image" not in content or path.name == "verify.py", path
