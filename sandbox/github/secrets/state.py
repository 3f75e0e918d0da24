"""Secrets, variables and the key that seals secrets."""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nacl.public import PrivateKey

MAX_VALUE_BYTES = 48 * 1024
"""In bytes. docs.github.com/actions/reference/security/secrets#limits-for-secrets"""


class SealError(ValueError):
    """The value was not sealed with this key."""


@dataclass(eq=False, kw_only=True)
class VaultEntry:
    name: str
    value: str
    created_at: datetime
    updated_at: datetime


@dataclass(eq=False, kw_only=True)
class Vault:
    secrets: dict[str, VaultEntry] = field(default_factory=dict)
    variables: dict[str, VaultEntry] = field(default_factory=dict)

    @cached_property
    def _private_key(self) -> "PrivateKey":
        from nacl.public import PrivateKey

        return PrivateKey.generate()

    @property
    def public_key(self) -> str:
        return base64.b64encode(bytes(self._private_key.public_key)).decode()

    @property
    def key_id(self) -> str:
        return str(int(hashlib.sha256(self.public_key.encode()).hexdigest()[:14], 16))

    def unseal(self, encrypted_value: str) -> str:
        """Return the decrypted value. Raises SealError if it was not sealed with this key."""
        from nacl.exceptions import CryptoError
        from nacl.public import SealedBox

        try:
            return SealedBox(self._private_key).decrypt(base64.b64decode(encrypted_value, validate=True)).decode()
        except (CryptoError, ValueError) as error:
            raise SealError(str(error)) from error


def is_valid_name(name: str) -> bool:
    # docs.github.com/actions/reference/security/secrets#naming-your-secrets
    return bool(re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name)) and not name.upper().startswith("GITHUB_")
