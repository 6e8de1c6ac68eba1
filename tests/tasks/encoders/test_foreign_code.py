"""A model folder full of code: whatever names it, none of it runs and nobody is asked."""

import ast
import json
import os
import pickle
import subprocess
import sys

import pytest
from safetensors.torch import save_file

from data_specs.errors import SpecError
from tasks.encoders.foreign_code import nothing_runs_or_asks, require_data_only
from tests.cases.models import TINY_CLIP, TINY_SIGLIP, tiny_model, write_tiny_clip_model, write_toy_tokenizer
from tests.cases.places import ROOT

ANSWER = "yes\n"
AUTO_MAP = {
    "auto_map": {name: f"evil.{name}" for name in ("AutoConfig", "AutoModel", "AutoProcessor", "AutoImageProcessor")}
}
AUTO_TOKENIZER = {"auto_map": {"AutoTokenizer": ["evil.Slow", "evil.Fast"]}}
BERT = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
BERT |= {"intermediate_size": 16, "vocab_size": 64}
FORBIDDEN = (
    "eval",
    "exec",
    "pickle.load",
    "pickle.loads",
    "marshal.loads",
    "joblib.load",
    "yaml.unsafe_load",
    "np.load",
)
RUN = """
import json, sys
from data_specs.errors import PipelineError
from data_specs.run_config import ModelConfig
from tasks.encoders.loading import load_model
outcomes = {}
for name, settings in json.loads(sys.argv[1]).items():
    try:
        load_model(ModelConfig(**settings))
        outcomes[name] = "loaded"
    except PipelineError as error:
        outcomes[name] = f"{type(error).__name__} {error}"
print("\\n" + json.dumps([outcomes, sys.stdin.read()]))
"""  # fmt: skip


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def add_code(folder, marker):
    """What a folder of a model can bring that someone might run."""
    folder.mkdir(parents=True, exist_ok=True)
    code = f"import os\nos.makedirs({str(marker)!r}, exist_ok=True)\n"
    code += "".join(f"class {name}:\n    pass\n" for name in ("Slow", "Fast", *AUTO_MAP["auto_map"]))
    for name in ("evil.py", "__init__.py", "modeling.py", "custom_generate/generate.py", "pipeline.py", "setup.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)
    for name in (
        "vocab.pkl",
        "vocab.bin",
        "tokenizer.pkl",
        "pytorch_model.bin",
        "model.pth",
        "open_clip_pytorch_model.bin",
    ):
        (folder / name).write_bytes(pickle.dumps(Payload(marker)))
    (folder / "chat_template.jinja").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    (folder / "processor_config.json").write_text(json.dumps(AUTO_MAP))
    (folder / "generation_config.json").write_text(json.dumps({"custom_generate": "."}))
    return folder


def change(path, **settings):
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **settings}))


class Cases(dict):
    """Settings of many models, and what each must come to."""

    def __init__(self, home):
        self.home, self.marker = home, home / "ran"

    def add(self, name, expected, cfg=TINY_SIGLIP, weights="siglip.safetensors", text=None, tokenizer=None, **extra):
        folder = add_code(self.home / name.replace(" ", "-"), self.marker)
        content = {**cfg, "text_cfg": {**cfg["text_cfg"], **(text or {})}, **extra}
        (folder / "model.json").write_text(json.dumps(content))
        settings = {"architecture": str(folder / "model.json"), "weights": str(self.home / weights)}
        if tokenizer is not None:
            write_toy_tokenizer(folder / "tokenizer", **tokenizer)
            add_code(folder / "tokenizer", self.marker)
            settings["tokenizer"] = str(folder / "tokenizer")
        self[name] = (settings, expected)
        return folder


def add_tokenizers(cases):
    trust = {"trust_remote_code": True}
    clip = {"cfg": TINY_CLIP, "weights": "clip.safetensors"}
    vision = {**TINY_SIGLIP["vision_cfg"], **trust}
    no_tokenizer = "', which is no tokenizer of transformers'"
    for name, expected, settings in (
        ("code beside a harmless model", "loaded", {"tokenizer": {}}),
        ("trust", "has trust_remote_code, which would", {"text": {"tokenizer_kwargs": trust}, "tokenizer": AUTO_TOKENIZER}),
        ("trust in tower", "has trust_remote_code, which would run", {"vision_cfg": vision}),
        ("path", "tokenizer_kwargs has bpe_path", {**clip, "text": {"tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}}),
        ("auto_map", "tokenizer_config.json has auto_map", {"tokenizer": AUTO_TOKENIZER}),
        ("list", "tokenizer_config.json has auto_map", {"tokenizer": {"auto_map": ["evil.Slow", None]}}),
        ("class", f"'AutoTokenizer{no_tokenizer}", {"tokenizer": {"tokenizer_class": "AutoTokenizer"}}),
        ("function", f"'pipeline{no_tokenizer}", {"tokenizer": {"tokenizer_class": "pipeline"}}),
        ("elsewhere", "loaded", {"tokenizer": {"tokenizer_file": "/etc/passwd", "vocab_file": "vocab.pkl"}}),
        ("path of a tokenizer", "hf_tokenizer_name is '", {"text": {"hf_tokenizer_name": str(cases.home)}}),
        ("path above", "hf_tokenizer_name is '../..'", {"text": {"hf_tokenizer_name": "../.."}}),
    ):  # fmt: skip
        cases.add(name, expected, **settings)
    write_toy_tokenizer(cases.add("beside", "tokenizer_config.json has auto_map"), **AUTO_TOKENIZER)
    folder = cases.add("auto_map in config of tokenizer", "config.json has auto_map", tokenizer={})
    change(folder / "tokenizer" / "config.json", model_type="clip", **AUTO_MAP)


def add_towers(cases):
    for source in ("local-dir:/tmp/x", "hf-hub:a/b", "timm/a", "../a"):
        vision = {**TINY_SIGLIP["vision_cfg"], "timm_model_name": source}
        cases.add(f"timm {source.replace('/', ' ')}", f"timm_model_name is '{source}'", vision_cfg=vision)
    for name, extra, expected in (
        ("tower", {}, "do not fit the architecture"),
        ("tower with auto_map", AUTO_MAP, "config.json has auto_map"),
        ("tower of its own type", {"model_type": "evil"}, "is of model_type 'evil', expected one of roberta"),
        ("tower with nested code", {"backbone_config": AUTO_MAP}, "config.json has auto_map"),
        ("tower with kernels", {"attn_implementation": "a/b"}, "config.json has attn_implementation"),
    ):
        tower = add_code(cases.home / name.replace(" ", "_"), cases.marker)
        change(tower / "config.json", **{**BERT, **extra})
        cases.add(name, expected, text={"hf_model_name": str(tower), "hf_pooler_type": "mean_pooler"}, tokenizer={})


def add_weights(cases):
    for file in ("config.json", "preprocessor_config.json"):
        write_tiny_clip_model(clip := add_code(cases.home / f"good-{file}", cases.marker))
        cases.add(f"transformers before {file}", "loaded", cfg=TINY_CLIP, weights=clip.name)
        write_tiny_clip_model(clip := add_code(cases.home / f"evil-{file}", cases.marker))
        change(clip / file, **AUTO_MAP)
        cases.add(f"transformers {file}", f"{file} has auto_map", cfg=TINY_CLIP, weights=clip.name)
    for file in ("pytorch_model.bin", "vocab.pkl"):
        cases.add(f"pickle {file}", "is not unpickled", cfg=TINY_CLIP, weights=f"code-beside-a-harmless-model/{file}")


def add_hub(cases):
    def repository(name):
        place = cases.home / "hub" / f"models--evil--{name}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("0" * 40)
        return add_code(place / "snapshots" / ("0" * 40), cases.marker)

    write_toy_tokenizer(repository("good"))
    cases.add("hub tokenizer", "loaded", text={"hf_tokenizer_name": "evil/good"})
    write_toy_tokenizer(repository("tokenizer"), **AUTO_TOKENIZER)
    cases.add("hub auto_map", "tokenizer_config.json has auto_map", text={"hf_tokenizer_name": "evil/tokenizer"})
    change(repository("tower") / "config.json", **BERT, **AUTO_MAP)
    cases.add("hub tower with auto_map", "config.json has auto_map", text={"hf_model_name": "evil/tower"}, tokenizer={})
    trusting = {**TINY_SIGLIP["text_cfg"], "tokenizer_kwargs": {"trust_remote_code": True}}
    change(repository("clip") / "open_clip_config.json", model_cfg={**TINY_SIGLIP, "text_cfg": trusting})
    cases["hub model"] = ({"architecture": "hf-hub:evil/clip"}, "tokenizer_kwargs has trust_remote_code")
    change(repository("weights") / "open_clip_config.json", model_cfg=TINY_CLIP)
    cases["hub weights"] = ({"architecture": "hf-hub:evil/weights"}, "is not unpickled")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A home of many models, the marker that the code in their folders would make, and the cases."""
    cases = Cases(tmp_path_factory.mktemp("models"))
    save_file(tiny_model().state_dict(), cases.home / "clip.safetensors")
    save_file(tiny_model(TINY_SIGLIP).state_dict(), cases.home / "siglip.safetensors")
    for add in (add_tokenizers, add_towers, add_weights, add_hub):
        add(cases)
    return cases.home, cases.marker, cases


@pytest.mark.slow
def test_no_file_of_a_model_ever_runs_code_or_asks_for_leave(world):
    home, marker, cases = world
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(home / "hub")}
    environment |= {"HF_MODULES_CACHE": str(home / "modules")}
    settings = json.dumps({name: model for name, (model, _) in cases.items()})
    done = subprocess.run(
        [sys.executable, "-c", RUN, settings],
        input=ANSWER * 50, capture_output=True, text=True, env=environment, cwd=home, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes, left = json.loads(done.stdout.splitlines()[-1])
    wrong = {name: outcomes[name] for name, (_, expected) in cases.items() if expected not in outcomes[name]}
    assert wrong == {}
    assert not any(
        word in text for text in outcomes.values() for word in ("trust_remote_code=True", "weights_only", "\n")
    )
    assert not marker.exists()
    assert not (home / "modules").exists()
    assert left == ANSWER * 50
    assert "[y/N]" not in done.stdout + done.stderr


def test_the_code_in_these_folders_would_run_if_anything_ran_it(world):
    home, marker, _ = world
    subprocess.run([sys.executable, home / "code-beside-a-harmless-model" / "evil.py"], check=True)
    assert marker.is_dir()
    marker.rmdir()
    pickle.loads((home / "code-beside-a-harmless-model" / "pytorch_model.bin").read_bytes())
    assert marker.is_dir()
    marker.rmdir()


def test_inside_the_guard_input_is_at_its_end_and_the_loader_of_code_refuses():
    from transformers import dynamic_module_utils as dynamic

    before = sys.stdin, dynamic.get_class_in_module, os.fstat(0)
    with nothing_runs_or_asks():
        with pytest.raises(EOFError):
            input()
        assert os.read(0, 1) == b""
        with pytest.raises(SpecError, match="brings Python code of its own, which is never run"):
            dynamic.get_class_in_module("Slow", "evil.py")
        with pytest.raises(ValueError, match="requires you to execute"):
            dynamic.resolve_trust_remote_code(None, "evil", has_local_code=False, has_remote_code=True)
    assert (sys.stdin, dynamic.get_class_in_module, os.fstat(0)) == before


@pytest.mark.slow
def test_nothing_in_the_product_unpickles_evaluates_or_decodes_what_a_file_holds():
    found, n_loads = [], 0
    for path in (path for folder in ("tasks", "flows", "data_specs") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name == "torch.load":
                n_loads += 1
                assert "weights_only=True" in ast.unparse(node)
            elif name in FORBIDDEN or name.endswith((".WebDataset", ".decode_sample", "jit.load", "hub.load")):
                found.append((path.name, name))
    # A worker process reads from its parent alone, by a pipe.
    assert found == [("process.py", "pickle.loads")]
    assert n_loads == 1


@pytest.mark.parametrize("part", ["vision_cfg", "text_cfg"])
@pytest.mark.parametrize("value", [None, [], "x"])
def test_a_tower_that_is_no_object_is_refused(part, value):
    with pytest.raises(SpecError, match=rf"{part} is \w+, expected a JSON object"):
        require_data_only({**TINY_CLIP, part: value})
