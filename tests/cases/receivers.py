"""Who is told: a webhook's HTTP server and an SMTP server, each a process of its own on loopback that keeps what it gets."""

import datetime
import ipaddress
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_WEBHOOK = """
import http.server, json, sys, threading

statuses, lock = [int(status) for status in sys.argv[2].split(",")], threading.Lock()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with lock:
            status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
            with open(sys.argv[1], "ab") as file:
                kept = {"path": self.path, "authorization": self.headers["Authorization"], "status": status,
                        "body": json.loads(body)}
                file.write(json.dumps(kept).encode() + b"\\n")
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
_SMTP = """
import asyncio, email, email.policy, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult

path, certificate, user, password = sys.argv[1:]

class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        kept = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "subject": message["Subject"],
                "text": message.get_content().replace("\\r\\n", "\\n"), "encrypted": session.ssl is not None}
        with open(path, "a") as file:
            file.write(json.dumps(kept) + "\\n")
        return "250 OK"

def known(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (user.encode(), password.encode()), handled=False)

def new():
    more = {}
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        more = {"tls_context": context, "require_starttls": True, "auth_required": True, "authenticator": known}
    return SMTP(Handler(), hostname="localhost", **more)

async def serve():
    server = await asyncio.get_running_loop().create_server(new, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(serve())
"""


@dataclass
class Receiver:
    """A running server, and what it has received."""

    port: int
    path: Path

    @property
    def url(self) -> str:
        """Of a webhook; its path is a secret."""
        return f"http://127.0.0.1:{self.port}/services/SECRET"

    def got(self) -> list[dict[str, Any]]:
        """Everything, in its order."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []


@contextmanager
def webhook(folder: Path, statuses: Sequence[int] = (200,)) -> Iterator[Receiver]:
    """An HTTP server that answers with one status after the other, the last one from then on."""
    with _process(_WEBHOOK, folder / "webhook.jsonl", ",".join(map(str, statuses))) as receiver:
        yield receiver


@contextmanager
def smtp_server(folder: Path, certificate: Path | None = None, login: tuple[str, str] = ("", "")) -> Iterator[Receiver]:
    """An SMTP server that knows no address that begins with nobody; with a certificate it asks for TLS and a login."""
    with _process(_SMTP, folder / "mail.jsonl", str(certificate or ""), *login) as receiver:
        yield receiver


def own_certificate(folder: Path) -> Path:
    """A file with a new key and a certificate of 127.0.0.1 that trusts itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@contextmanager
def _process(script: str, path: Path, *arguments: str) -> Iterator[Receiver]:
    process = subprocess.Popen([sys.executable, "-c", script, str(path), *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Receiver(int(process.stdout.readline()), path)
    finally:
        process.kill()
        process.communicate()
