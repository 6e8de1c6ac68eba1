"""What an artifact's bytes may depend on beside its recipe: libraries, machine, kind of device, precision."""

import hashlib
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from data_specs.manifest import Circumstances
from tasks.lineage.digest import canonical_json, text_sha256

_LIBRARIES = (
    "torch",
    "open_clip_torch",
    "torchvision",
    "timm",
    "transformers",
    "numpy",
    "pillow",
    "pyarrow",
    "duckdb",
    "scipy",
    "webdataset",
    "safetensors",
    "prefect",
)
_PRODUCT = "unsafe-weights"
_PYTHON = "python"
# Lines of a RECORD that the same release has otherwise in another folder, or after it ran.
_OF_THE_INSTALLATION = re.compile(r"^\"?(\.\./|[^,]*\.dist-info/|[^,]*\.pyc,)")
_MODEL_NAME = re.compile(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", re.MULTILINE)
_ARM = re.compile(r"^CPU (?:implementer|part)\s*:\s*(\S+)$", re.MULTILINE)


@cache
def library_versions() -> Mapping[str, str]:
    """Versions of Python and of the libraries that numbers go through, by name."""
    found = {_PYTHON: platform.python_version()}
    found |= {name: installed.version for name, installed in _installed()}
    return found


@cache
def library_records() -> Mapping[str, str]:
    """Digests of what each library's RECORD says of its files, by name; none where it has no RECORD."""
    found = {}
    for name, installed in _installed():
        text = installed.read_text("RECORD")
        if text is not None:
            found[name] = record_digest(text)
    return found


def record_digest(text: str) -> str:
    """SHA-256 of the lines of a RECORD, sorted, but for scripts, compiled files and the library's own metadata."""
    lines = sorted(line for line in text.splitlines() if line and not _OF_THE_INSTALLATION.match(line))
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


@cache
def product_version() -> str | None:
    """The version of this program, where it is installed."""
    try:
        return distribution(_PRODUCT).version
    except PackageNotFoundError:
        return None


def hardware_of(device: str) -> Mapping[str, str]:
    """The machine's architecture and processor, the instructions that torch uses, and the GPU of a CUDA device."""
    found = {"machine": platform.machine(), "cpu": _processor()}
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        found["instructions"] = str(torch.backends.cpu.get_cpu_capability())
        if device.startswith("cuda") and torch.cuda.is_available():
            found["gpu"] = str(torch.cuda.get_device_name(device))
    return found


@dataclass(frozen=True)
class Environment:
    """On what bytes may depend beside a recipe, as far as it is known."""

    libraries: Mapping[str, str]
    records: Mapping[str, str]
    hardware: Mapping[str, str]
    device: str
    precision: str

    @property
    def digest(self) -> str:
        """One digest of all of it; of a device its kind counts."""
        parts = {"libraries": dict(self.libraries), "records": dict(self.records), "hardware": dict(self.hardware)}
        return text_sha256(canonical_json({**parts, "device": device_kind(self.device), "precision": self.precision}))


def environment_here(device: str, precision: str) -> Environment:
    """That of this process."""
    return Environment(library_versions(), library_records(), hardware_of(device), device, precision)


def environment_when_made(made: Circumstances) -> Environment:
    """That in which an artifact was made."""
    return Environment(made.libraries, made.records, made.hardware, made.device, made.precision)


def device_kind(device: str) -> str:
    """A device without its number."""
    return device.partition(":")[0]


def environment_changes(made: Environment, now: Environment) -> dict[str, tuple[str, str]]:
    """In what two environments differ, as far as both are recorded.

    Returns:
        By what differs, such as `torch` or `device`: the value of each. Empty where nothing does.
    """
    found = dict(_unequal(made.libraries, now.libraries))
    for name, _ in _unequal(made.records, now.records):
        if name not in found:
            version = made.libraries.get(name, "")
            found[name] = tuple(f"{version} ({item.records[name][:8]})" for item in (made, now))  # type: ignore[assignment]
    found |= dict(_unequal(made.hardware, now.hardware))
    devices = device_kind(made.device), device_kind(now.device)
    if devices[0] != devices[1]:
        found["device"] = devices
    if made.precision != now.precision:
        found["precision"] = (made.precision, now.precision)
    return found


def _unequal(made: Mapping[str, str], now: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, str]]]:
    for name in made:
        if name in now and made[name] != now[name]:
            yield name, (made[name], now[name])


def _installed() -> Iterator[tuple[str, Distribution]]:
    for name in _LIBRARIES:
        try:
            yield name, distribution(name)
        except PackageNotFoundError:
            continue


@cache
def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    named = _MODEL_NAME.search(text)
    if named:
        return " ".join(named.group(1).split())
    return " ".join(_ARM.findall(text)[:2]) or platform.processor() or "unknown"
