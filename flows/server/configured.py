"""The Prefect server that the user has configured: which it is, and whether it answers."""

import os
import ssl
import sys
from typing import TYPE_CHECKING, Any

import httpx

from data_specs.errors import SpecError
from flows.server.surroundings import bare

if TYPE_CHECKING:
    from prefect.settings import Settings

_TIMEOUT = httpx.Timeout(15, connect=5)


def configured_url() -> str | None:
    """The address of the user's server, from PREFECT_API_URL or wherever else Prefect looks for it.

    Raises:
        SpecError: an address is given among settings that Prefect cannot read.
    """
    imported_before = "prefect.context" in sys.modules
    if not imported_before:
        # On import Prefect reads all settings, ends on any that is wrong, and makes a folder in the user's home.
        with bare():
            import prefect.main  # noqa: F401
    from prefect.context import refresh_global_settings_context
    from prefect.settings import Settings, get_current_settings

    try:
        url = (get_current_settings() if imported_before else Settings()).api.url
    except Exception as error:
        # Settings that cannot be read name no server, and a run on a temporary one has no need of them.
        if os.environ.get("PREFECT_API_URL"):
            raise SpecError(
                f"PREFECT_API_URL is set, but Prefect cannot read its settings: {' '.join(str(error).split())[:300]};"
                " mend them, or unset PREFECT_API_URL to run on a temporary server"
            ) from error
        return None
    if url and not imported_before:
        refresh_global_settings_context()
    return url or None


def require_answer(url: str) -> None:
    """Make sure within seconds that a server answers; Prefect itself would try for minutes.

    Raises:
        SpecError: it does not, or refuses this user.
    """
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    cloud = url.startswith(settings.cloud.api_url)
    try:
        answer = httpx.get(
            f"{url.rstrip('/')}/{'health' if cloud else 'admin/version'}",
            timeout=_TIMEOUT,
            follow_redirects=True,
            headers=dict(settings.client.custom_headers),
            **_identity(settings),
        )
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise SpecError(f"no Prefect server answers at {_shown(url)}: {said}; start it, or {_way_out()}") from error
    if answer.status_code in (401, 403):
        raise SpecError(
            f"the Prefect server at {_shown(url)} refuses this user with status {answer.status_code}; set"
            f" PREFECT_API_KEY or PREFECT_API_AUTH_STRING as it expects, or {_way_out()}"
        )
    if answer.status_code != 200 and not cloud:
        raise SpecError(
            f"what answers at {_shown(url)} is no Prefect server, or one that fails: status {answer.status_code}, expected"
            f" 200 and a version; see that PREFECT_API_URL ends in /api, or {_way_out()}"
        )


def _identity(settings: "Settings") -> dict[str, Any]:
    verify: bool | ssl.SSLContext = False
    if not settings.api.tls_insecure_skip_verify:
        verify = ssl.create_default_context(cafile=settings.api.ssl_cert_file)
    if settings.api.auth_string is not None:
        user, _, password = settings.api.auth_string.get_secret_value().partition(":")
        return {"verify": verify, "auth": (user, password)}
    if settings.api.key is not None:
        key = settings.api.key.get_secret_value()

        def bear(request: httpx.Request) -> httpx.Request:
            request.headers["Authorization"] = f"Bearer {key}"
            return request

        return {"verify": verify, "auth": bear}
    return {"verify": verify}


def _shown(url: str) -> str:
    try:
        return str(httpx.URL(url).copy_with(username=None, password=None))
    except httpx.InvalidURL:
        return repr(url[:80])


def _way_out() -> str:
    if os.environ.get("PREFECT_API_URL"):
        return "unset PREFECT_API_URL to run on a temporary server"
    return (
        "set PREFECT_API_URL= (empty) to run on a temporary server; the address comes from Prefect's profile or a file of"
        " this folder, as `prefect config view --show-sources` tells"
    )
