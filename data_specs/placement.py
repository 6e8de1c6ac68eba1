"""Where the parts of a run are made."""

from typing import Literal

from pydantic import Field, model_validator

from data_specs.spec import Spec

RunnerName = Literal["local", "dask", "ray"]
SameEnvironment = Literal["warn", "refuse", "ignore"]


class Placement(Spec):
    """Devices, and who starts the processes that use them."""

    devices: str = Field(
        default="auto",
        min_length=1,
        max_length=1000,
        description="auto, cpu, cuda, cuda:N, cuda:0,cuda:1 (a process each), all (every CUDA device) or cpu:N (N processes)",
    )
    runner: RunnerName = Field(default="local", description="processes of this machine, or workers of Dask or Ray")
    address: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="of a Dask scheduler or Ray cluster; null starts one here",
    )
    same_environment: SameEnvironment = Field(
        default="warn",
        description="of artifacts that other libraries, another machine, kind of device or precision made: told, refused, or used",
    )

    @model_validator(mode="after")
    def _address_of_an_engine(self) -> "Placement":
        if self.address is not None and self.runner == "local":
            raise ValueError("an address is of a runner that has one: dask or ray")
        return self


# A text stands for its devices.
Device = str | Placement


def placement_of(device: Device) -> Placement:
    """The placement that a flow was given."""
    return device if isinstance(device, Placement) else Placement(devices=device)
