"""A real S3 server: moto's, in a process of its own on loopback."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

BUCKET = "bucket"
_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class S3Server:
    """Its process, its address, and the environment of who is to use it."""

    process: "subprocess.Popen[str]"
    url: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """A client of AWS's own library."""
        import boto3

        own = self.environment
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=own["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=own["AWS_SECRET_ACCESS_KEY"],
            region_name=own["AWS_DEFAULT_REGION"],
        )

    def put(self, **bodies: bytes) -> None:
        """Put NAME.tar for each."""
        client = self.client()
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=BUCKET)
        for name, body in bodies.items():
            client.put_object(Bucket=BUCKET, Key=f"{name}.tar", Body=body)


@contextlib.contextmanager
def s3_served(*, checked_from: int | None = None) -> Iterator[S3Server]:
    """The server, until the block ends; it ends with this process, too.

    Args:
        checked_from: after so many requests, only keys that it knows are let in, which are none.
    """
    checks = {} if checked_from is None else {"INITIAL_NO_AUTH_ACTION_COUNT": str(checked_from)}
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **checks, "OMP_NUM_THREADS": "1"},
    )
    try:
        port = process.stdout.readline().strip() if process.stdout else ""
        yield S3Server(process, f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.communicate()
