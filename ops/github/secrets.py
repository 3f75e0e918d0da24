"""Environment secrets: when they were written, sealed writes, and tokens of a GitHub App.

docs.github.com/rest/actions/secrets; GITHUB_TOKEN can never write a secret.
docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING

from ops.core.client_guards import WriteGuard, uses_one_sandbox
from ops.core.clock import Clock
from ops.core.errors import ConfigError, ProviderError, Reason, Refused, UnclearWrite
from ops.core.redaction import Redactor, Secret
from ops.core.threads import TimeBudget, start_call
from ops.github import actions
from ops.github.client import GitHubApiError, api_url, make_requester, open_repository, provider_errors, write_errors

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from github.Environment import Environment
    from github.Repository import Repository
    from github.Requester import Requester


APP_ID = "GH_SECRETS_APP_ID"
APP_KEY = "GH_SECRETS_APP_KEY"
PERMISSIONS = {"environments": "write"}
"""The permission for environment secrets; the tokens get no other.

docs.github.com/rest/authentication/permissions-required-for-github-apps#repository-permissions-for-environments
"""
PERMISSION = "Environments: write"
JWT_SECONDS = 300
"""GitHub accepts at most 600. The margin covers a difference between the clocks."""
CREATE_WAIT = 10.0
REVOKE_WAIT = 4.0
"""Real seconds for all tokens together. GitHub ends a cancelled job 10 s after its first signal."""
STORE_COMMAND = f"`gh secret set {APP_KEY} --env security < FILE.pem`"
TOKEN = "GH_SECRETS_TOKEN"  # noqa: S105  the name of a variable
NO_TOKEN = f"{TOKEN} is not set (or {APP_ID} and {APP_KEY} of a GitHub App)"
HINT = "Check GH_SECRETS_TOKEN: a fine-grained token with Environments: write on that repository, not expired."


class AppTokens:
    """Installation tokens of one App, created on first use.

    Each token is limited to one repository and to `PERMISSIONS`. The redactor gets the key and each token before use.
    """

    def __init__(self, environ: Mapping[str, str], redactor: Redactor, clock: Clock) -> None:
        self._environ, self._redactor, self._clock = environ, redactor, clock
        self._app_id = environ.get(APP_ID, "").strip()
        key = environ.get(APP_KEY, "").strip().replace("\\n", "\n")
        self._mask_app_token(key)
        self._key = Secret(key)
        self._lock = threading.Lock()
        self._tokens: dict[str, Future[Secret]] = {}

    def check_key(self) -> None:
        """Raise ConfigError if the App id or the private key is malformed."""
        if not re.fullmatch(r"[A-Za-z0-9.]{1,40}", self._app_id):
            hint = "Copy the App ID, a number, from the page of the App (Settings → Developer settings → GitHub Apps)."
            raise ConfigError(f"{APP_ID} is not the id of a GitHub App", hint=hint)
        if self._private_key is None:
            text = f"{APP_KEY} is no private key of a GitHub App (RSA in PEM, without a password)"
            hint = f"Store the whole file that GitHub made, with its first and last line: {STORE_COMMAND}."
            raise ConfigError(text, hint=hint)

    @cached_property
    def _private_key(self) -> "RSAPrivateKey | None":
        """The loaded key, cached because its check takes 50 ms.

        None if it is not an RSA key in PEM without a password.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            loaded = load_pem_private_key(self._key.reveal().encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return None
        return loaded if isinstance(loaded, RSAPrivateKey) else None

    def token(self, repository: str) -> str:
        """Return a token for the repository. Raises ProviderError, after at most `CREATE_WAIT` seconds."""
        with self._lock:
            pending = self._tokens.get(repository)
            if pending is None or (pending.done() and pending.exception() is not None):
                pending = self._tokens[repository] = start_call(partial(self._create_app_token, repository))
        try:
            return pending.result(timeout=CREATE_WAIT).reveal()
        except TimeoutError:
            text = f"GitHub made no token of App {self._app_id} for {repository} within {CREATE_WAIT:.0f} s"
            hint = "Check https://www.githubstatus.com/."
            raise ProviderError(text, reason=Reason.PROVIDER_UNAVAILABLE, hint=hint) from None

    def revoke(self, warn: Callable[[str], object]) -> None:
        """Revoke every token of this run. `warn` gets one sentence for each token that may still be valid."""
        with self._lock:
            made, self._tokens = self._tokens, {}
        budget = TimeBudget(REVOKE_WAIT)
        revoking = [(name, start_call(partial(self._revoke_app_token, making))) for name, making in made.items()]
        for name, future in revoking:
            try:
                future.result(timeout=budget.rest())
            except (ProviderError, TimeoutError) as error:
                cause = error.message if isinstance(error, ProviderError) else "GitHub gave no answer in time"
                warn(
                    f"the token of App {self._app_id} for {name} is not revoked ({cause}): it expires within an hour, "
                    f"and can change nothing but environments of {name}"
                )

    def _create_app_token(self, repository: str) -> Secret:
        app = self._app_requester(self._create_jwt())
        name = repository.partition("/")[2]
        with self._app_refusals(repository):
            _, installation = app.requestJsonAndCheck("GET", f"/repos/{repository}/installation")
            path = f"/app/installations/{installation['id']}/access_tokens"
            scope = {"repositories": [name], "permissions": PERMISSIONS}
            _, answer = app.requestJsonAndCheck("POST", path, input=scope)
        self._mask_app_token(answer["token"])
        return Secret(answer["token"])

    def _revoke_app_token(self, pending: Future[Secret]) -> None:
        """Revoke the token unless GitHub never created it or already rejects it (401). Raises ProviderError."""
        if pending.exception() is not None:
            return
        try:
            with provider_errors():
                self._app_requester(pending.result().reveal()).requestJsonAndCheck("DELETE", "/installation/token")
        except GitHubApiError as error:
            if error.status != 401:
                raise

    def _create_jwt(self) -> str:
        import jwt

        assert self._private_key is not None, "refuse_malformed was called before"
        now = int(self._clock.now().timestamp())
        claims = {"iat": now - 60, "exp": now + JWT_SECONDS, "iss": self._app_id}
        encoded = jwt.encode(claims, self._private_key, algorithm="RS256")
        self._mask_app_token(encoded)
        return encoded

    def _app_requester(self, token: str) -> "Requester":
        from github.Auth import AppAuthToken

        return make_requester(self._environ, AppAuthToken(token))

    def _mask_app_token(self, secret: str) -> None:
        self._redactor.add_secret(secret)
        actions.mask_command(self._environ, secret)

    @contextmanager
    def _app_refusals(self, repository: str) -> Iterator[None]:
        """Translate GitHub's refusals to ProviderError with cause and hint.

        A lost response is no UnclearWrite here: an unused token changes nothing.
        """
        from github import GithubException

        app = f"App {self._app_id}"
        try:
            with provider_errors(f"Check {APP_ID}, {APP_KEY}, and https://www.githubstatus.com/."):
                try:
                    yield
                except GithubException as error:
                    if why := _explain_refusal(error, app, repository):
                        raise ProviderError(why[0], reason=Reason.PROVIDER_REFUSED, hint=why[1]) from None
                    raise
        except UnclearWrite as error:
            raise ProviderError(error.message, reason=error.reason, hint=error.hint) from None


def _explain_refusal(error: Exception, app: str, repository: str) -> tuple[str, str] | None:
    """Return cause and hint of a refusal, or None if GitHub's status and message are not known."""
    status, data = getattr(error, "status", None), getattr(error, "data", None)
    message = str(data.get("message", "")) if isinstance(data, dict) else ""
    if status == 404 and message == "Integration not found":
        return f"GitHub knows no {app}", f"Copy the App ID from the page of the App into the variable {APP_ID}"
    if status == 404:
        return f"{app} is not installed on {repository}", "Install it there: page of the App, Install App"
    if status == 401:
        hint = f"Generate a private key on the page of the App; store it: {STORE_COMMAND}; check this machine's clock"
        return f"GitHub does not take {APP_KEY} as the key of {app}", hint
    if status == 422:
        hint = "Set Repository permissions, Environments to Read and write on the page of the App, and accept it"
        return f"{app} has no permission {PERMISSION} on {repository}", f"{hint} where the App is installed"
    return None


def check_one_credential(environ: Mapping[str, str], token: str) -> None:
    """Raise ConfigError if both the token variable and an App are configured, or only half of an App."""
    is_set = {name: bool(environ.get(name, "").strip()) for name in (token, APP_ID, APP_KEY)}
    if is_set[token] and is_set[APP_KEY]:
        raise ConfigError(
            f"{token} and {APP_KEY} are both set, and only one of them can write the copies on GitHub",
            hint=f"Delete one in the environment `security`: `gh secret delete {token} --env security`.",
        )
    if is_set[APP_ID] != is_set[APP_KEY] and not is_set[token]:
        present, missing = (APP_ID, APP_KEY) if is_set[APP_ID] else (APP_KEY, APP_ID)
        command = STORE_COMMAND if missing == APP_KEY else f"`gh variable set {APP_ID} --env security --body 12345`"
        raise ConfigError(f"{present} is set and {missing} is not: a GitHub App needs both", hint=f"Set it: {command}.")


def write_secret(target: "Repository", environment: str, name: str, value: Secret) -> None:
    """Write a secret of the environment, or of the repository if it is "". Raises ProviderError, UnclearWrite."""
    with write_errors("Use a token with Secrets and Environments: write, or the scope `repo`."):
        if environment:
            target.get_environment(environment).create_secret(name, value.reveal())
        else:
            target.create_secret(name, value.reveal())


class EnvironmentSecrets(WriteGuard):
    """Environment secrets of every repository that the token reaches. Read-only outside `with secrets.writing():`."""

    def __init__(
        self,
        connect: "Callable[[str], Repository] | None",
        *,
        apps: AppTokens | None = None,
        misconfigured: ConfigError | None = None,
        why_missing: str = NO_TOKEN,
    ) -> None:
        """`connect` opens a repository by name. It is None if no token is configured, or none may be sent."""
        self._connect = connect
        self.why_missing = why_missing
        self._apps = apps
        self._misconfigured = misconfigured

    @classmethod
    def of(cls, environ: Mapping[str, str], redactor: Redactor, clock: Clock) -> "EnvironmentSecrets":
        """Return secrets by a token or by an App of the environment; no sandbox run reaches the real GitHub."""
        if not uses_one_sandbox(environ):
            return cls(None)
        try:
            check_one_credential(environ, TOKEN)
        except ConfigError as error:
            return cls(None, misconfigured=error)
        token = environ.get(TOKEN, "")
        if not (token or environ.get(APP_KEY, "").strip()):
            return cls(None)
        try:
            api_url(environ)
        except ConfigError as error:  # a copy by hand, with the printed command, stops no rotation
            return cls(None, why_missing=f"{error.message}. {error.hint.rstrip('.')}")
        if token:
            return cls(lambda name: open_repository(environ, token, name))
        apps = AppTokens(environ, redactor, clock)
        return cls(lambda name: open_repository(environ, apps.token(name), name), apps=apps)

    @property
    def has_token(self) -> bool:
        return self._connect is not None

    def check_configuration(self) -> None:
        """Raise ConfigError if the credentials are incomplete, given twice or malformed. Sends nothing."""
        if self._misconfigured is not None:
            raise self._misconfigured
        if self._apps is not None:
            self._apps.check_key()

    def revoke_tokens(self, warn: Callable[[str], object]) -> None:
        """Revoke the tokens of this run. `warn` gets one sentence for each token that may still be valid."""
        if self._apps is not None:
            self._apps.revoke(warn)

    def updated_at(self, repository: str, environment: str, name: str) -> datetime | None:
        """Return when the secret was written last, or None if it never was.

        It also reads the public key that a write needs. Raises ProviderError.
        """
        from github import UnknownObjectException

        target = self._github_environment(repository, environment)
        with provider_errors(self._secrets_hint):
            target.get_public_key()
            try:
                return target.get_secret(name).updated_at.astimezone(UTC)
            except UnknownObjectException:
                return None

    def put(self, repository: str, environment: str, name: str, value: Secret) -> None:
        """Write the secret. It is sent once. Raises UnclearWrite and ProviderError."""
        if not self._may_write:
            raise Refused("a secret on GitHub may not be written before the plan is confirmed", reason=Reason.READ_ONLY)
        target = self._github_environment(repository, environment)
        with write_errors(self._secrets_hint):
            target.create_secret(name, value.reveal())

    @property
    def _secrets_hint(self) -> str:
        return HINT if self._apps is None else "Check https://www.githubstatus.com/ and `github` in ops.yml."

    def _github_environment(self, repository: str, environment: str) -> "Environment":
        """Return a handle of the environment. Sends no request, but an App may create a token."""
        assert self._connect is not None
        return self._connect(repository).get_environment(environment)
