"""Wrangler configuration of `ops redeploy-pages`: committed bindings, real wrangler."""

import json
import re
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.pages.plan_text import BINDINGS_SECTION
from tests.conftest import SITE, World
from tests.merge.runbooks.test_redeploy_pages import Site, assert_refused, dry_run_plan
from tests.merge.runbooks.test_redeploy_pages_jobs import fetch
from tests.support.commands import ended
from tests.support.site_repository import BUILD, repository

WORKER = 'echo "export default { fetch() { return new Response(1) } }" > dist/_worker.js; '
COMMITTED = """name = "shop"
pages_build_output_dir = "dist"
compatibility_date = "2026-01-01"
upload_source_maps = true
[[kv_namespaces]]
binding = "CART"
id = "0123456789abcdef0123456789abcdef"
"""
EVIL = {
    "pages_build_output_dir": "dist",
    "name": "x",
    "upload_source_maps": True,
    "d1_databases": [{"binding": "STOLEN", "database_id": "1" * 32, "database_name": "customers"}],
}


@pytest.fixture
def site(world: World) -> Site:
    """A site whose Worker needs a binding; the previous commit has the same configuration."""
    world.sandbox.switches.pages_propagation_seconds = 0
    world.edit_config("content-type: text/html\n", "content-type: text/html\n              body: good\n")
    found = repository(world)
    good = found.commit("good", page_html="<h1>good</h1>", build_sh=BUILD + WORKER, wrangler_toml=COMMITTED)
    bad = found.commit("bad", page_html="<h1>bad</h1>")
    return Site(world, found, good, bad, world.site(timedelta(minutes=10), "bad", commit=bad))


def uploaded_bindings(site: Site) -> set[str]:
    """Return the names of the bindings that wrangler uploaded."""
    bundle = site.served.rules["_worker.bundle"].decode(errors="replace")
    metadata = next(line for line in bundle.splitlines() if line.startswith("{") and '"main_module"' in line)
    return {binding["name"] for binding in json.loads(metadata)["bindings"]}


def write_command(path: str, text: str) -> str:
    return f"mkdir -p $(dirname {path}); printf '%s' '{text}' > {path}; "


def test_committed_bindings_are_deployed_without_source_maps(site: Site) -> None:
    secret = site.world.folder / "of-the-machine.json"
    secret.write_text(json.dumps({"version": 3, "sources": ["a"], "mappings": "", "sourcesContent": ["t0p-s3cret"]}))
    mapped = WORKER + f'echo "//# sourceMappingURL={secret}" >> dist/_worker.js; '
    commit = site.repository.commit("mapped", build_sh=BUILD + mapped, page_html="<h1>good</h1>")

    outcome = site.redeploy("--commit", commit)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert uploaded_bindings(site) == {"CART"}
    assert b"t0p-s3cret" not in b"".join(site.served.rules.values())
    plan = outcome.result["plan"]
    assert "+ KV CART → 0123456789abcdef0123456789abcdef" in plan["sections"][BINDINGS_SECTION]
    assert "ignored settings of wrangler.toml: upload_source_maps" in plan["warnings"]


@pytest.mark.parametrize(
    "build",
    [
        write_command("wrangler.json", json.dumps(EVIL)),
        write_command("wrangler.jsonc", json.dumps(EVIL)),
        write_command("wrangler.toml", 'pages_build_output_dir = "dist"'),
        "rm wrangler.toml; ",
        "rm wrangler.toml; ln -s /etc/passwd wrangler.toml; ",
        write_command(".wrangler/deploy/config.json", json.dumps({"configPath": "../../evil.json"})),
    ],
)
def test_build_that_writes_a_configuration_is_refused(site: Site, build: str) -> None:
    commit = site.repository.commit("evil", build_sh=BUILD + build)

    assert_refused(site, site.redeploy("--commit", commit), "build_unusable", "wrangler")


def test_other_build_files_do_not_change_the_deployment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files next to the output are ignored; configuration above wrangler's folder has lower priority."""
    evil = "".join(
        [
            write_command(".env", "CLOUDFLARE_API_BASE_URL=http://127.0.0.1:9/"),
            write_command(".dev.vars", "STOLEN=1"),
            write_command("package.json", '{"scripts": {"deploy": "false"}}'),
            write_command("node_modules/wrangler/package.json", "{}"),
            'printf "%s" "$EVIL" > "$ABOVE/wrangler.json"; ',
        ]
    )
    above = site.world.folder
    env = f"          output: dist\n          env: {{ABOVE: '{above}', EVIL: '{json.dumps(EVIL)}'}}\n"
    site.world.edit_config("          output: dist\n", env)
    commit = site.repository.commit("evil", build_sh=BUILD + WORKER + evil, page_html="<h1>good</h1>")

    monkeypatch.setattr(tempfile, "tempdir", str(above))  # so that the folder of the deployment is below it

    outcome = site.redeploy("--commit", commit)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert uploaded_bindings(site) == {"CART"}
    assert (above / "wrangler.json").exists()
    assert b"STOLEN" not in b"".join(site.served.rules.values())


@pytest.mark.parametrize(
    ("added", "named"),
    [
        ('[build]\ncommand = "curl evil.example"', "build"),
        ('main = "../../secret.js"', "main"),
        ('[[containers]]\nimage = "./Dockerfile"', "containers"),
        ('[env.production]\nbase_dir = "/"', "base_dir"),
        ("not toml", "wrangler.toml"),
        ("[[env]]\nname = 1", "`env`"),
    ],
)
def test_dangerous_committed_setting_is_refused(site: Site, added: str, named: str) -> None:
    commit = site.repository.commit(
        "risky", wrangler_toml=f"{COMMITTED}{added}\n" if "main" not in added else added + "\n" + COMMITTED
    )

    assert_refused(site, site.redeploy("--commit", commit, "--dry-run"), "build_unusable", named)


def test_symlinked_configuration_is_refused(site: Site) -> None:
    (site.repository.folder / "wrangler.toml").unlink()
    (site.repository.folder / "wrangler.toml").symlink_to("page.html")
    commit = site.repository.commit("link")

    assert_refused(site, site.redeploy("--commit", commit), "build_unusable", "wrangler.toml")


def test_plan_lists_project_bindings_without_configuration(site: Site) -> None:
    site.world.sandbox.pages.projects[SITE].configs["production"]["kv_namespaces"] = {
        "CART": {"namespace_id": "a" * 32}
    }
    (site.repository.folder / "wrangler.toml").unlink()
    commit = site.repository.commit("none")

    plan = dry_run_plan(site, "--commit", commit)

    assert plan["sections"][BINDINGS_SECTION][1:] == [f"= KV CART → {'a' * 32}"]


def fetch_and_deploy(site: Site, tmp_path: Path, change: Callable[[Path], None] = lambda _: None) -> Any:
    """Run the jobs fetch and deploy; `change` edits the artifact between them, as a build could."""
    outcome = fetch(site, tmp_path / "outputs", "--commit", site.good)
    assert outcome.code == 0, outcome.err
    digest = re.findall(r"^configuration<<.*\n([0-9a-f]{64})$", (tmp_path / "outputs").read_text(), re.MULTILINE)
    output = tmp_path / "built" / "output"
    output.mkdir(parents=True)
    (output / "index.html").write_text("<h1>good</h1>")
    (output / "_worker.js").write_text("export default { fetch() { return new Response(1) } }")
    change(tmp_path)
    return site.redeploy(
        "--commit",
        site.good,
        OPS_BUILT=str(tmp_path / "built"),
        OPS_SOURCE="nowhere",
        OPS_CONFIGURATION=str(tmp_path / "configuration.json"),
        OPS_CONFIGURATION_SHA256=digest[0],
    )


def add_evil_configuration(folder: Path) -> None:
    (folder / "built" / "wrangler.json").write_text(json.dumps(EVIL))


def replace_configuration(folder: Path) -> None:
    (folder / "configuration.json").write_text("{}")


def test_deploy_job_uses_the_fetched_configuration(site: Site, tmp_path: Path) -> None:
    outcome = fetch_and_deploy(site, tmp_path)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert uploaded_bindings(site) == {"CART"}


def test_configuration_written_by_the_build_is_refused(site: Site, tmp_path: Path) -> None:
    outcome = fetch_and_deploy(site, tmp_path, add_evil_configuration)

    assert_refused(site, outcome, "build_unusable", "wrangler.json")


def test_configuration_replaced_by_another_job_is_refused(site: Site, tmp_path: Path) -> None:
    outcome = fetch_and_deploy(site, tmp_path, replace_configuration)

    assert ended(outcome) == (2, "refused", "config_invalid"), outcome.err
    assert re.search("OPS_CONFIGURATION .*`fetch`", outcome.result["message"])
    site.assert_nothing_sent()


# Submodules and Git LFS


def test_commit_with_a_submodule_is_refused(site: Site) -> None:
    (site.repository.folder / ".gitmodules").write_text(
        '[submodule "t"]\n\tpath = themes/dark\n\turl = https://example.com/x\n'
    )
    site.repository.git("add", ".gitmodules")
    site.repository.git("update-index", "--add", "--cacheinfo", f"160000,{site.good},themes/dark")
    site.repository.git("commit", "-q", "-m", "theme")
    commit = site.repository.git("rev-parse", "HEAD")

    assert_refused(
        site,
        site.redeploy("--commit", commit, "--dry-run"),
        "build_unusable",
        "has submodules, which are not fetched: themes/dark",
    )


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"


def test_commit_with_git_lfs_files_is_refused(site: Site) -> None:
    commit = site.repository.commit("picture", assets__logo_png=POINTER)

    assert_refused(
        site,
        site.redeploy("--commit", commit, "--dry-run"),
        "build_unusable",
        "has files in Git LFS, which are not fetched: assets/logo.png",
    )


def test_only_a_real_lfs_pointer_is_refused(site: Site) -> None:
    commit = site.repository.commit("manual", lfs_md=POINTER + "what a pointer matches\n" * 100)
    assert dry_run_plan(site, "--commit", commit)

    commit = site.repository.commit(
        "fetched", build_sh=BUILD + f"printf '{POINTER}' > dist/logo.png; ".replace("\n", "\\n")
    )
    assert_refused(site, site.redeploy("--commit", commit), "build_unusable", "logo.png ")


# The source of an application is not published


@pytest.mark.parametrize(
    ("application", "private", "code"),
    [("acme/shop", False, 3), ("acme/shop", True, 0), ("", False, 0), ("Demo/Operations", False, 0)],
)
def test_source_is_not_published_by_a_public_repository(
    site: Site, tmp_path: Path, application: str, private: bool, code: int
) -> None:
    hub = site.world.sandbox.github
    hub.switches.private = private
    application = hub.repository.upper() if application.startswith("Demo") else application
    before = "url: https://fortunet.example\n"
    stated = f"        repository: {application}\n" if application else ""
    site.world.edit_config(f"{before}        repository: fortunet/fortunet\n", before + stated)

    outcome = fetch(site, tmp_path / "outputs", "--commit", site.good, **hub.environ())

    assert outcome.code == code, outcome.out + outcome.err
    assert (tmp_path / "tree.tar").exists() == (code == 0)
    assert ("`repository`" in outcome.out) == (code == 3)


def test_committed_redirect_is_refused(site: Site) -> None:
    commit = site.repository.commit("redirect", _wrangler__deploy__config_json="{}")

    assert_refused(site, site.redeploy("--commit", commit), "build_unusable", ".wrangler/deploy/config.json")
