"""A Prefect block that sends e-mail through any SMTP server; `prefect block register -m flows.nightly.telling.smtp_block`."""

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Literal

from prefect.blocks.abstract import NotificationBlock, NotificationError
from pydantic import Field, SecretStr

_TIMEOUT_SECONDS = 20


class SmtpEmail(NotificationBlock):
    """An SMTP server, and from whom to whom it sends."""

    _block_type_name = "SMTP E-mail"
    _block_type_slug = "smtp-email"
    _description = "Sends notifications as e-mail through an SMTP server."

    host: str = Field(min_length=1, description="name or address of the SMTP server")
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="starttls on a plain port such as 587, tls from the first byte such as 465"
    )
    username: str | None = None
    password: SecretStr | None = None
    sender: str = Field(min_length=3, description="address that the messages come from")
    to: list[str] = Field(min_length=1, description="addresses that they go to")

    async def notify(self, body: str, subject: str | None = None) -> None:
        """See Prefect's `NotificationBlock`.

        Raises:
            NotificationError: the server did not take it for all addresses, and that was asked to raise.
        """
        try:
            await asyncio.to_thread(self.send, body, subject)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            if self._raise_on_failure:
                raise NotificationError(str(error)) from error

    def send(self, body: str, subject: str | None = None) -> None:
        """Send one message to all addresses.

        Raises:
            OSError: the server cannot be reached, or its certificate is not trusted.
            SMTPException: it refuses the user, the message or one of the addresses.
            ValueError: a header would hold a line's end.
        """
        message = EmailMessage()
        message["Subject"] = subject or "Prefect notification"
        message["From"] = self.sender
        message["To"] = ", ".join(self.to)
        message["Date"] = formatdate(localtime=True)
        message["Message-ID"] = make_msgid(domain=self.sender.rpartition("@")[2].rstrip(">") or None)
        message.set_content(body)
        with self._connected() as server:
            if self.username is not None:
                server.login(self.username, self.password.get_secret_value() if self.password else "")
            if refused := server.send_message(message):
                raise smtplib.SMTPRecipientsRefused(refused)

    def _connected(self) -> smtplib.SMTP:
        if self.security == "tls":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(self.host, self.port, timeout=_TIMEOUT_SECONDS, context=context)
        server = smtplib.SMTP(self.host, self.port, timeout=_TIMEOUT_SECONDS)
        if self.security == "starttls":
            try:
                server.starttls(context=ssl.create_default_context())
            except BaseException:
                server.close()
                raise
        return server
