"""A GitHub App that can write copies of secrets: its keys and its registration."""

from collections.abc import Mapping
from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.github import GitHub

APP_ID = 271828
PERMISSIONS = {"environments": "write", "secrets": "write", "actions": "read"}
"""Includes a permission that a run must not request."""


@cache
def private_key(number: int) -> rsa.RSAPrivateKey:
    """Return the key with that number, cached. To parse one from PEM takes 50 ms."""
    assert number >= 0
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def key_pair(number: int) -> tuple[str, str]:
    """Return the private and the public key in PEM, in GitHub's format."""
    key = private_key(number)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def add_app(hub: GitHub, *, permissions: Mapping[str, str] = PERMISSIONS, installed: bool = True) -> dict[str, str]:
    """Add the App and an environment, and return the variables of a run that uses the App."""
    hub.add_environment("production")
    hub.add_app(APP_ID, key_pair(0)[1], permissions, slug="copies", installed=installed)
    return {
        **hub.environ(),
        "GITHUB_TOKEN": "",
        "GH_SECRETS_APP_ID": str(APP_ID),
        "GH_SECRETS_APP_KEY": key_pair(0)[0],
    }


def valid_tokens(hub: GitHub) -> list[str]:
    """Return the tokens of the App that are not revoked."""
    return [one["token"] for one in hub.describe()["tokens"] if one["login"] == "copies[bot]"]
