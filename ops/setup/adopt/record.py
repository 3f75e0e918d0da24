"""Record what `ops adopt` makes, each before it is made, in one file of the folder."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from ops.core.errors import ConfigError
from ops.setup import team_file
from ops.tools.process import make_private_folder, open_private_file

Kind = Literal["repository", "environment", "label", "ruleset", "secret", "drill"]
PLACE = Path(".ops", "adopt.json")


@dataclass(frozen=True)
class OwnThing:
    """Something on GitHub that `ops adopt` made, or was about to make when it was killed."""

    kind: Kind
    name: str
    github_environment: str = ""
    """That of a secret; "" for a secret of the repository."""


@dataclass
class AdoptRecord:
    """The record of one folder. Each change is on disk before the method returns."""

    path: Path
    id: str = field(default_factory=lambda: secrets.token_hex(4))
    """Part of the repository's description: it tells the own repository from another one with that name."""
    repository: str = ""
    """OWNER/NAME; empty before it is chosen."""
    things: list[OwnThing] = field(default_factory=list)
    is_set_up: bool = False
    """Whether files and settings are complete. From then on the team changes them by pull requests."""
    drilled: str = ""
    """Digest of the ops.yml that the last drill recovered, and its account after a drill on GitHub."""
    drill: str = ""
    """Name of all that a drill on GitHub makes, from before its first write until everything is taken back."""
    drill_account: str = ""

    @property
    def description(self) -> str:
        return f"Recovery operations with Backout (ops adopt {self.id})"

    @property
    def was_created(self) -> bool:
        """Whether the repository certainly existed: something in it is recorded too."""
        return any(each.kind != "repository" for each in self.things)

    def choose(self, repository: str) -> None:
        """Record the repository right before it is created."""
        self.repository = repository
        self.add(OwnThing("repository", repository))

    def forget(self) -> None:
        """Forget the repository, which belongs to somebody else."""
        self.repository, self.things = "", []
        self.save()

    def forget_things(self) -> None:
        """Forget what was made, and its state; the repository stays known."""
        self.things, self.is_set_up, self.drilled = [], False, ""
        self.save()

    def add(self, *things: OwnThing) -> None:
        """Record things right before they are made."""
        self.things += [each for each in dict.fromkeys(things) if each not in self.things]
        self.save()

    def begin_drill(self, name: str, account: str) -> None:
        """Record a drill right before its first write."""
        self.drill, self.drill_account = name, account
        self.save()

    def end_drill(self) -> None:
        self.drill, self.drill_account = "", ""
        self.save()

    def remove(self, thing: OwnThing) -> None:
        """Forget a thing that no longer exists, or that is not own."""
        self.things.remove(thing)
        self.save()

    def save(self) -> None:
        """Write the file as a whole, also if the program is killed meanwhile. Raises ConfigError."""
        values = {name: value for name, value in asdict(self).items() if name != "path"}
        new = self.path.with_suffix(".new")
        try:
            make_private_folder(self.path.parent)
            with open_private_file(new) as file:
                file.write(json.dumps(values, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            text = f"{self.path} cannot be written ({error.strerror})"
            raise ConfigError(text, hint="Make room, or choose another folder: `ops adopt FOLDER`.") from None


def read_adopt_record(folder: Path) -> AdoptRecord:
    """Return the record of the folder; a new one, not yet on disk, if there is none. Raises ConfigError."""
    path = folder / PLACE
    if (text := team_file.find_text(path)) is None:
        return AdoptRecord(path)
    try:
        values = json.loads(text)
        things = [OwnThing(**each) for each in values.pop("things")]
        return AdoptRecord(path, things=things, **{**values, "id": str(values["id"])})
    except (ValueError, LookupError, TypeError, AttributeError):
        hint = "Restore it from a backup. Without it, `ops adopt` knows none of what it made."
        raise ConfigError(f"{path} cannot be read as a record of `ops adopt`", hint=hint) from None
