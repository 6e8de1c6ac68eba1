import pytest

from tasks.lineage.store import Store
from tasks.reporting.sources import Reported
from tasks.reporting.task import write_report
from tasks.tables.sweep_figure import sweep_figure
from tests.cases.captioned import reported
from tests.cases.report_cases import flipped, gallery, inputs, put_experiment, wide_comparison, wide_sweep
from tests.cases.report_files import CONTEXT, put_scores

N_PAIRS = 70


def captions_of_models(store, folder, names=("original", "edited", "random", "safe_clip", "safe_clip_edited")):
    """Long captions of noise by several models, each of them another."""
    folder.mkdir()
    said = {name: [(f"{name} {at} " * 40, f"{at} {name} " * 40) for at in range(N_PAIRS)] for name in names}
    return reported(store, folder, said, sizes=(N_PAIRS,), noisy=True)


@pytest.mark.slow
def test_the_report_of_a_large_sweep_with_noise_for_pictures_stays_under_5_mb(tmp_path):
    store = Store(tmp_path / "store")
    _, evaluations = inputs(store)
    sweep = wide_sweep(40)
    drawn = {"sizes": (N_PAIRS,), "noisy": True, "captions": [("safe " * 60, "unsafe " * 60)] * N_PAIRS}
    flips, flip_gallery = flipped(store, tmp_path, **drawn)
    layers = [f"visual.transformer.resblocks.{i}.mlp.c_proj" for i in range(24)]
    reported = Reported(
        evaluations,
        put_scores(store, layers),
        experiments=[
            put_experiment(store, wide_comparison(24)),
            put_experiment(store, sweep, sweep_svg=sweep_figure(sweep).encode()),
        ],
        gallery=gallery(store, tmp_path, n_queries=3, **drawn),
        flips={"edited": flips},
        flip_gallery=flip_gallery,
        captions=captions_of_models(store, tmp_path / "captions"),
    )
    made = write_report.fn("large", reported, store, CONTEXT)
    text = (made.path / "report.html").read_text(encoding="utf-8")
    assert text.count("<tr data-flips=") == 60
    assert text.count("<tr data-side=") == 60
    assert text.count("data:image/jpeg") > 150
    assert 1_000_000 < len(text.encode()) < 5_000_000
