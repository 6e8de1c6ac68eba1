"""Provenance statements, validated against the standards' own schemas."""

import json

import pytest
import typer
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from typer.testing import CliRunner

from data_specs.errors import SpecError
from data_specs.manifest import Recipe
from flows.commands.export import export
from tasks.exporting.folder import export_model
from tasks.exporting.provenance import provenance_of
from tasks.lineage.base_weights import ModelInUse
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import file_sha256, text_sha256
from tasks.lineage.trust.keys import public_keys
from tasks.lineage.trust.signatures import TrustedKeys
from tests.cases.exporting_bench import BASE, Bench
from tests.cases.keys import make_keys
from tests.cases.recipes import write_two


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "store")


@pytest.fixture
def exported(bench, tmp_path):
    out = export_model(bench.store, bench.model.version, "open_clip", tmp_path / "safer")
    return out, provenance_of(bench.store, bench.model, out, "open_clip")


def validated(statement):
    """A statement and its predicate as the standards' protocol buffers, which refuse fields that they do not know."""
    whole = json_format.Parse(json.dumps(statement), statement_pb2.Statement())
    return whole, json_format.ParseDict(statement["predicate"], provenance_pb2.Provenance())


def test_a_statement_is_valid_by_the_schemas_of_in_toto_and_slsa(exported):
    whole, provenance = validated(exported[1])
    assert whole.type == "https://in-toto.io/Statement/v1"
    assert whole.predicate_type == "https://slsa.dev/provenance/v1"
    # What SLSA asks of build level 1, as in-toto's own validator does.
    assert provenance.build_definition.build_type.startswith("urn:")
    assert len(provenance.build_definition.external_parameters.fields) == 3
    assert provenance.run_details.builder.id.startswith("urn:")
    started, ended = provenance.run_details.metadata.started_on, provenance.run_details.metadata.finished_on
    assert 0 < started.ToNanoseconds() <= ended.ToNanoseconds()
    for item in [*whole.subject, *provenance.build_definition.resolved_dependencies]:
        assert item.name
        assert item.digest


@pytest.mark.parametrize(
    "wrong", [{"more": 1}, {"buildDefinition": {"buildKind": "x"}}, {"runDetails": {"metadata": {"startedOn": "now"}}}]
)
def test_the_schemas_refuse_what_is_none(exported, wrong):
    statement = exported[1]
    with pytest.raises(json_format.ParseError):
        validated(statement | {"predicate": statement["predicate"] | wrong})


def test_every_exported_file_is_a_subject_with_its_digest(exported):
    out, statement = exported
    assert {item["name"]: item["digest"]["sha256"] for item in statement["subject"]} == {
        path.name: file_sha256(path) for path in out.iterdir()
    }


def test_shards_base_model_manifests_and_settings_are_in_it_and_no_secret(bench, exported):
    statement = exported[1]
    definition = statement["predicate"]["buildDefinition"]
    found = {json.dumps(item["digest"]): item for item in definition["resolvedDependencies"]}
    assert found[json.dumps({"tensorsSha256": BASE})]["name"] == "ViT.safetensors"
    for location in ("s3://key:secret@bucket/data/cal-0.tar?sig=secret", "cal-1.tar"):
        assert found[json.dumps({"sha256": text_sha256(location)})]["name"] in ("cal-0.tar", "cal-1.tar")
    for ref in (bench.model, bench.edit):
        manifest = file_sha256(bench.store.path(ref) / "manifest.json")
        assert found[json.dumps({"sha256": manifest})]["uri"] == f"urn:unsafe-weights:{ref.kind}:{ref.version}"
    edit = definition["externalParameters"]["edit"]
    assert (edit["text"]["tau"], edit["vision"]["scorer"]) == (0.98, "difference")
    assert "secret" not in json.dumps(statement)


def test_the_file_of_the_base_model_is_in_it_where_the_manifest_knows_it(bench, exported, tmp_path):
    weights = tmp_path / "secret" / "ViT.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    model = ModelInUse(digests=frozenset({BASE}), tensors=BASE, files=(weights,))
    recipe = Recipe(kind="model", settings={"other": 1}, inputs={"edit": bench.edit, "model": BASE}, code="code")
    made = bench.store.materialise(recipe, write_two, RunContext(models=(model,)))
    statement = provenance_of(bench.store, made.ref, exported[0], "open_clip")
    validated(statement)
    dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    (found,) = [item for item in dependencies if item["digest"] == {"sha256": file_sha256(weights)}]
    assert (found["name"], found["annotations"]["tensorsSha256"]) == ("ViT.safetensors", BASE)
    assert "secret" not in json.dumps(statement)


def test_the_command_writes_it_beside_the_folder_and_signs_both(bench, tmp_path):
    private, public = make_keys(tmp_path)
    app = typer.Typer()
    app.command()(export)
    out, file = tmp_path / "out", tmp_path / "provenance.json"
    words = [bench.model.version, "--store", str(bench.store.root), "--out", str(out), "--key", str(private)]
    done = CliRunner().invoke(app, [*words, "--provenance", str(file)])
    assert done.exit_code == 0, done.output
    whole, _ = validated(json.loads(file.read_text()))
    assert "model.sig" in {item.name for item in whole.subject}
    trusted = TrustedKeys(public_keys([public]))
    trusted.require_folder_signed(out)
    signature = tmp_path / "provenance.json.sig"
    assert signature.is_file()
    trusted.require_file_signed(file, signature)


@pytest.mark.parametrize("place", ["out/provenance.json", "nowhere/provenance.json", "."])
def test_a_place_where_it_cannot_lie_is_refused_before_anything_is_written(bench, tmp_path, place):
    app = typer.Typer()
    app.command()(export)
    words = [bench.model.version, "--store", str(bench.store.root), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*words, "--provenance", str(tmp_path / place)])
    assert isinstance(done.exception, SpecError)
    assert not (tmp_path / "out").exists()
