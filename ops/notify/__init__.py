"""The chats that can be told: each has its file here, and its key under `notify` of ops.yml."""

from ops.notify.discord import DISCORD
from ops.notify.sender import Service
from ops.notify.slack import SLACK

CHATS: dict[str, Service] = {"slack": SLACK, "discord": DISCORD}
