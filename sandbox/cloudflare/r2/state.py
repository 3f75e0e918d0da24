"""R2 buckets: their objects, and the domains at which everybody can read them."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class R2Object:
    content: bytes
    uploaded: datetime

    @property
    def etag(self) -> str:
        """Return the MD5 of the content, as of an object that was uploaded in one part."""
        return hashlib.md5(self.content, usedforsecurity=False).hexdigest()


@dataclass(kw_only=True)
class R2Bucket:
    name: str
    jurisdiction: str = "default"
    is_public: bool = False
    """Whether everybody can read it at its r2.dev domain."""
    domains: dict[str, bool] = field(default_factory=dict)
    """Custom domain → whether it is enabled."""
    objects: dict[str, R2Object] = field(default_factory=dict)


class R2Buckets:
    def __init__(self) -> None:
        self.all: dict[str, R2Bucket] = {}
        self.is_enabled = True
        """Whether the account has an R2 subscription. Without one, R2 rejects each request."""

    def add(self, name: str, *, jurisdiction: str = "default") -> R2Bucket:
        self.all[name] = R2Bucket(name=name, jurisdiction=jurisdiction)
        return self.all[name]
