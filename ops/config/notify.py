"""Chats and other services that get messages: models of `notify` in `ops.yml`, its secrets."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from ops.config.strict_yaml import KeyPath, as_items, as_mapping, get_nested
from ops.config.types import HEADER, SLACK_CHANNEL, ConfigModel, SecretName, Text
from ops.core.names import quote_name

BODY_PLACEHOLDERS = ("text", "state", "action", "link", "key", "secret")
"""Names in braces that the body of a webhook may hold."""


def _require_json_body(value: str) -> str:
    """Reject a text that is no JSON object, and unknown placeholders in it."""
    try:
        body = json.loads(value)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ValueError('not a JSON object; write {"text": "{text}"}')  # noqa: TRY004 - pydantic collects these
    return _require_placeholders(value)


def _require_placeholders(value: str) -> str:
    """Reject unknown placeholders, and a text that may be a key: ops.yml is committed."""
    if re.search("[A-Za-z0-9_-]{30}", value):
        raise ValueError("perhaps a key; store it as a secret, name it in `secret`, and write {secret} here")
    for name in re.findall(r"\{([A-Za-z_]+)\}", value):
        if name not in BODY_PLACEHOLDERS:
            known = ", ".join(f"{{{each}}}" for each in BODY_PLACEHOLDERS)
            raise ValueError(f"has the unknown placeholder {{{quote_name(name)}}}; use {known}")
    return value


class Webhook(ConfigModel):
    """A chat webhook, by the name of its secret."""

    webhook: SecretName = Field(description="NAME of the secret that holds the webhook's URL. Never the URL.")


class SlackBot(ConfigModel):
    """A Slack bot, whose messages of an incident share a thread (docs/how-to/chat.md)."""

    token: SecretName = Field(description="NAME of the secret that holds the bot's token. Never the token.")
    channel: str = Field(pattern=SLACK_CHANNEL, description="Id of the channel, as Slack shows it at its end.")


class GenericWebhook(ConfigModel):
    """Another service that takes JSON, such as Teams, PagerDuty or ntfy (docs/how-to/chat.md)."""

    name: Text = Field(description="Name of the service in messages, such as Teams.")
    url: SecretName = Field(description="NAME of the secret that holds the URL. Never the URL.")
    secret: SecretName | None = Field(
        default=None, description="NAME of the secret that `{secret}` stands for in `body` and `headers`."
    )
    body: Annotated[str, Field(min_length=2, max_length=4000), AfterValidator(_require_json_body)] = Field(
        description="JSON to send. Its texts may hold `{text}`, `{state}`, `{action}`, `{link}`, `{key}`, `{secret}`."
    )
    headers: Mapping[Annotated[str, Field(pattern=HEADER)], Annotated[Text, AfterValidator(_require_placeholders)]] = (
        Field(default_factory=dict, description="More headers and their values, with the same placeholders.")
    )


class NotifyConfig(ConfigModel):
    """Chats that get notices."""

    slack: Webhook | None = Field(default=None, description="A Slack channel.")
    discord: Webhook | None = Field(default=None, description="A Discord channel.")
    slack_bot: SlackBot | None = Field(default=None, description="A Slack channel, with a thread for each incident.")
    webhooks: tuple[GenericWebhook, ...] = Field(default=(), max_length=10, description="Other services.")

    @property
    def webhook_names(self) -> dict[str, str]:
        """Return chat → name of the secret with its webhook's URL, for the configured chats with such webhooks."""
        given = {"slack": self.slack, "discord": self.discord}
        return {chat: hook.webhook for chat, hook in given.items() if hook is not None}

    @property
    def secrets(self) -> dict[str, str]:
        """Return the name of each secret of a chat → its content, for people."""
        urls = [*self.webhook_names.values(), *(each.url for each in self.webhooks)]
        keys = {each.secret: f"key of {each.name}" for each in self.webhooks if each.secret}
        bot = {self.slack_bot.token: "token of the Slack bot"} if self.slack_bot else {}
        return {**dict.fromkeys(urls, "URL of the chat's webhook"), **bot, **keys}

    @property
    def secret_names(self) -> tuple[str, ...]:
        return tuple(self.secrets)


def list_chat_secrets(data: Any) -> Iterator[tuple[KeyPath, Any]]:
    """Yield path and name of each secret of a chat."""
    notify = as_mapping(get_nested(data, "notify"))
    for chat, key in (("slack", "webhook"), ("discord", "webhook"), ("slack_bot", "token")):
        yield ("notify", chat, key), get_nested(notify, chat, key)
    for index, each in enumerate(as_items(notify.get("webhooks"))):
        for key in ("url", "secret"):
            yield ("notify", "webhooks", index, key), get_nested(each, key)
