"""Job set-up under act: recovery without a package index and without a cache."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import REFERENCE, ROOT
from tests.support.actions import LABEL, stage
from tests.support.wheels import index
from tests.support.workflows import operations_repository

NOWHERE = "http://127.0.0.1:9/simple"
"""Address without a server."""


def pack_wheels(folder: Path, wheels: Path) -> bytes:
    locks = [word for name in ("runtime", "crypto") for word in ("--lock", ROOT / "locks" / f"{name}.txt")]
    program = ROOT / ".github/actions/setup/install.py"
    subprocess.run(
        [sys.executable, "-I", program, "pack", *locks, "--archive", folder / "wheels.zip"],
        env={**os.environ, "OPS_WHEELS": str(wheels)},
        check=True,
    )
    return (folder / "wheels.zip").read_bytes()


def test_label_recovers_from_the_archive_while_the_index_is_down(pip_cache: Path, tmp_path: Path) -> None:
    with index() as offered, stage(tmp_path / "cold") as world:
        name = f"/wheels-cp3{sys.version_info.minor}-{os.uname().machine}.zip"
        offered.other[name] = pack_wheels(tmp_path, pip_cache / "ops-wheels")
        shutil.copy(REFERENCE / "limits.yml", tmp_path)
        address = f"{offered.url}/wheels-{{python}}-{{machine}}.zip"
        text = (REFERENCE / "ops.yml").read_text()
        (tmp_path / "ops.yml").write_text(f"{text}\ngithub: {{wheels_archive: '{address}'}}\n")
        world.github.add_commit("Wheels", "alice", files=operations_repository(tmp_path / "ops.yml"))
        number = world.incident()

        with world.runner({"PIP_INDEX_URL": NOWHERE}) as runner:
            world.github.label(number, LABEL, "alice")
            runner.wait()
            log = "\n".join(runner.log(world.github.runs[-1].id))

        assert world.live == {world.good: 100}, log
        assert "recovered" in log
        assert f"wheels from {address}" in log
        assert set(offered.asked) == {name}
