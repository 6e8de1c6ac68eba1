import html
import re

import pytest
from markdown_it import MarkdownIt

from data_specs.errors import ArtifactError
from tasks.lineage.digest import text_sha256
from tasks.lineage.progress import _Silent, listening
from tasks.tables.escaping import escape_markdown, markdown_table
from tests.cases.exporting_bench import BASE, EDITS, LAYERS, Bench
from tests.cases.manifests import forge


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "store")


def shown(card):
    """What a reader sees of the card's text."""
    plain = re.sub(r"\\([^A-Za-z0-9\s])", r"\1", card)
    return plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def row(card, first):
    found = [line for line in shown(card).splitlines() if line.startswith(f"| {first} |")]
    assert len(found) == 1, found
    return [cell.strip() for cell in found[0].strip("|").split(" | ")]


def test_the_card_says_what_was_edited_in_each_encoder(bench):
    card = bench.card()
    assert row(card, "text") == ["text", "uwm", "score_mass", "0.98", "-1", "2", "128 of 2,048", "6.250%"]
    assert row(card, "vision") == ["vision", "difference", "top_share", "0.75", "0", "1", "1 of 4,096", "0.024%"]
    for layer, counts in LAYERS.items():
        assert row(card, layer)[1:] == [str(counts["n_selected"]), f"{counts['n_weights']:,}"]
    assert "aggregation mean_of_ratios, tags violence <b>|hate, weight_by_magnitude True" in shown(card)
    assert "not shown" not in card


def test_the_card_leads_to_the_base_model_and_the_shards_without_their_places(bench):
    card = bench.card()
    assert row(card, "base model, digest of its tensors")[1] == BASE
    assert row(card, "base model, name of its weights")[1] == "ViT.safetensors"
    assert row(card, "edit")[1] == bench.edit.version
    assert row(card, "edited model")[1] == bench.model.version
    first, second = (text_sha256(name) for name in ("s3://key:secret@bucket/data/cal-0.tar?sig=secret", "cal-1.tar"))
    assert f"| activations.text | cal-0.tar | {first} |" in shown(card)
    assert f"| activations.vision | cal-1.tar | {second} |" in shown(card)
    assert "secret" not in card
    for heading in ("## Intended use", "## Limits", "## How to load it"):
        assert heading in card
    assert "no guarantee" in card


def test_a_command_that_gave_a_shard_is_not_repeated(bench):
    ref = bench.shards("activations.text", "pipe:curl -H 'token: secret' https://host/x/y.tar")
    edit = bench.make("edit", EDITS, {"scores": ref, "model": BASE}, counts={"layers": LAYERS})
    card = bench.card(bench.add_model(edit, "{}"))
    assert "| activations.text | of a pipe: command |" in shown(card)
    assert "secret" not in card


def test_without_an_evaluation_the_card_says_so(bench):
    bench.evaluate(BASE, {"n_pairs": 9, "GS": 10.0})
    assert "holds no evaluation of this model" in bench.card()


def test_measurements_stand_beside_those_of_the_original_on_the_same_data(bench):
    bench.evaluate(BASE, {"n_pairs": 9, "GS": 10.0, "P_t_s": 50.0}, intervals={"GS": [8.0, 12.04]})
    bench.evaluate(BASE, {"n_pairs": 9, "GS": 77.0}, shard="other.tar")
    bench.evaluate(bench.model, {"n_pairs": 9, "GS": 30.25, "P_t_s": 45.0}, intervals={"GS": [25.0, 35.0]})
    card = bench.card()
    assert row(card, "GS") == ["GS", "+20.2", "10.0 (8.0 to 12.0)", "30.2 (25.0 to 35.0)", ""]
    assert row(card, "P_t_s") == ["P_t_s", "-5.0", "50.0", "45.0", ""]
    assert "On 9 pairs:" in card
    assert f"| embeddings.text | test-0.tar | {text_sha256('test-0.tar')} |" in shown(card)
    assert "77.0" not in card


def test_an_edited_model_measured_alone_has_no_difference(bench):
    bench.evaluate(BASE, {"n_pairs": 9, "GS": 77.0}, shard="other.tar")
    bench.evaluate(bench.model, {"n_pairs": 9, "GS": 30.0})
    assert row(bench.card(), "GS") == ["GS", "not measured", "not measured", "30.0", ""]


def test_each_evaluation_set_has_a_table_and_of_two_evaluations_of_one_set_the_later_counts(bench):
    for code, value in enumerate((20.0, 21.0)):
        bench.evaluate(bench.model, {"n_pairs": 9, "PS": value}, code=code)
    bench.evaluate(bench.model, {"n_pairs": 5, "PU": 22.0, "zero_shot": 60.0}, shard="other.tar")
    card = bench.card()
    assert row(card, "PS")[3] == "21.0"
    assert row(card, "PU")[3] == "22.0"
    assert card.index("zero\\_shot |") < card.index("PU |")
    assert "On 9 pairs:" in card
    assert "On 5 pairs:" in card


def test_a_control_is_called_a_control(bench):
    settings = {"control": "random", "seed": 3}
    edit = bench.make("edit", settings, {"edit": bench.edit, "model": BASE}, counts={"layers": LAYERS})
    card = bench.card(bench.add_model(edit, "{}"))
    assert "This is a control, not a safer model" in card
    assert row(card, "text") == ["text", "uwm", "score_mass", "0.98", "-1", "2", "128 of 2,048", "6.250%"]
    assert "This is a control" not in bench.card()


def test_an_edit_that_changed_is_not_put_on_a_card(bench):
    file = bench.store.path(bench.edit) / "edit.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ArtifactError, match=r"file edit\.safetensors changed since it was made"):
        bench.card()


def test_counts_that_are_not_the_edits_are_not_put_on_a_card(bench):
    manifest = bench.store.path(bench.edit) / "manifest.json"
    forge(manifest, lambda content: next(iter(content["counts"]["layers"].values())).update(n_selected=27))
    with pytest.raises(ArtifactError, match=r"counts 27 changed weights of layer transformer.*, its file (28|100)"):
        bench.card()


def test_names_cannot_become_markup():
    hostile = "](http://evil)<script>|x|\n\n# head `code` www.evil $a$ @you ![p](q) *b* __c__ &copy; \\\\ ~~d~~ <i>"
    plain = " ".join(hostile.split())
    rendered = (
        MarkdownIt("commonmark")
        .enable(["table", "strikethrough"])
        .render("\n".join(markdown_table(["h"], [[hostile]])))
    )
    cells = re.findall(r"<td>(.*?)</td>", rendered, re.DOTALL)
    assert [html.unescape(cell) for cell in cells] == [plain]
    assert "<" not in cells[0]
    # What readers make links or mentions of without any brackets.
    assert not re.search(r"https?://|www\.|(?<!\\)[@$]", escape_markdown(hostile))


def test_names_from_the_store_are_escaped_wherever_the_card_shows_them(bench):
    bench.evaluate(bench.model, {"n_pairs": 9, "<u>|metric": 1.0}, shard="<img src=x>|[a](b)\n\n# head.tar")
    card = bench.card()
    assert not re.search(r"<(?:u|img|b)\b", card)
    assert "\n# head" not in card
    rendered = MarkdownIt("commonmark").enable("table").render(card)
    assert "<td>&lt;u&gt;|metric</td>" in rendered
    assert rendered.count("<td>&lt;img src=x&gt;|[a](b) # head.tar</td>") == 2
    assert "<a " not in rendered


def test_an_evaluation_that_changed_is_left_out_of_the_card_and_named(bench):
    told = []

    class Sink(_Silent):
        def notice(self, text):
            told.append(text)

    sound, changed = (
        bench.evaluate(bench.model, {"GS": value}, shard=f"test-{value:.0f}.tar") for value in (11.0, 22.0)
    )
    bench.evaluate(bench.edit, {"GS": 33.0}, shard="33.tar")
    (bench.store.path(changed) / "metrics.json").write_text('{"GS": 99.0}')
    with listening(Sink()):
        card = bench.card()
    assert "11.0" in card
    assert "33.0" in card
    assert "99.0" not in card
    assert len(told) == 1
    assert "left out of the model card: evaluation" in told[0]
    assert bench.store.check(sound)
