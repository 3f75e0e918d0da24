"""The chats that can be told: each has its file here, and its key under `notify` of ops.yml."""

from ops.publish.chat_sender import Service
from ops.publish.discord import DISCORD
from ops.publish.slack import SLACK

CHATS: dict[str, Service] = {"slack": SLACK, "discord": DISCORD}
