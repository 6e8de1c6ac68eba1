"""A share of work in a worker of an engine: with the threads of the run that asks, and never from other source."""

import pytest
import torch

from data_specs.errors import SpecError
from tasks.extraction.task import do_share, source_digest
from tasks.lineage.circumstances import RunContext
from tasks.lineage.progress import notice
from tests.cases.recipes import recipe_of


class Telling:
    """Makes one artifact, and tells how it computes."""

    def do(self, store, context):
        notice(f"{torch.get_num_threads()} threads, {context.device}")
        store.materialise(recipe_of(), lambda build: (build.folder / "a").write_text("a"), context)


def test_a_piece_is_done_with_as_many_threads_as_the_run_has_and_what_it_made_and_told_comes_back(tmp_path):
    before = torch.get_num_threads()
    made, told = do_share.fn(Telling(), tmp_path, RunContext(device="cpu"), source_digest(), before + 2)
    assert told == [f"{before + 2} threads, cpu"]
    assert torch.get_num_threads() == before
    assert [ref.kind for ref in made] == [recipe_of().kind]
    again, _ = do_share.fn(Telling(), tmp_path, RunContext(device="cpu"), source_digest(), before)
    assert again == set()


def test_a_worker_with_other_source_is_refused(tmp_path):
    with pytest.raises(SpecError, match="a worker runs other source than this run"):
        do_share.fn(Telling(), tmp_path, RunContext(), "0" * 64, 1)
    assert not list(tmp_path.iterdir())
