"""What `ops.yml` says of whom to tell: people by their contacts, chats by their webhooks."""

from pydantic import Field

from ops.config.types import ContactText, Model, SecretName


class Contact(Model):
    """Whom to call. A text in brackets, such as [TBD], is a placeholder."""

    role: ContactText = Field(description="What the contact is called for.")
    contact: ContactText = Field(description="A name, a number or a link.")
    availability: ContactText = Field(description="When the contact answers, such as 24/7.")


class Webhook(Model):
    webhook: SecretName = Field(description="NAME of the secret that holds the webhook's URL. Never the URL.")


class Notify(Model):
    """Where notices go."""

    slack: Webhook | None = Field(default=None, description="A Slack channel.")
    discord: Webhook | None = Field(default=None, description="A Discord channel.")

    @property
    def webhooks(self) -> dict[str, str]:
        """Chat → the name of the secret that holds its webhook's URL, where one is given."""
        given = {chat: getattr(self, chat) for chat in type(self).model_fields}
        return {chat: hook.webhook for chat, hook in given.items() if hook is not None}
