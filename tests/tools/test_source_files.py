"""Files of the default branch: from a checkout on a laptop, and from an earlier job."""

import json
import os
from pathlib import Path

import pytest

from ops.core.errors import ConfigError, Refused
from ops.core.redaction import Redactor
from ops.tools.source_files import SAVED, SourceFiles, load_source_files, read_source_files, save_source_files
from tests.support.site_repository import SiteRepository

FOLDERS = ["db/migrations", "db/down"]


@pytest.fixture
def repository(tmp_path: Path) -> SiteRepository:
    (tmp_path / "app").mkdir()
    found = SiteRepository(tmp_path / "app")
    found.git("init", "-q", "-b", "main")
    found.commit("first", db__migrations__0001_sql="CREATE TABLE a (b);", db__down__0001_sql="DROP TABLE a;", other="x")
    return found


def read(folder: Path, repository: str | None = None, *, is_checked_out: bool = False) -> SourceFiles:
    environ = {"PATH": os.environ["PATH"], "OPS_SOURCE": "app"}
    return read_source_files(folder, environ, Redactor(), repository, FOLDERS, is_checked_out=is_checked_out)


@pytest.mark.slow
def test_files_are_those_of_the_default_branch(repository: SiteRepository, tmp_path: Path) -> None:
    """Neither the work tree nor another branch counts; links are left out."""
    repository.git("checkout", "-q", "-b", "feature")
    later = repository.commit("later", db__down__0002_sql="DROP TABLE b;")
    (repository.folder / "db" / "down" / "0003.sql").write_text("DROP TABLE c;")

    found = read(tmp_path)
    checked_out = read(tmp_path, is_checked_out=True)

    assert found.branch == "main"
    assert found.files == {"db/migrations/0001.sql": b"CREATE TABLE a (b);", "db/down/0001.sql": b"DROP TABLE a;"}
    assert (checked_out.branch, checked_out.commit) == ("feature", later)
    assert "db/down/0002.sql" in checked_out.files


@pytest.mark.slow
def test_links_and_missing_folders_are_left_out(repository: SiteRepository, tmp_path: Path) -> None:
    (repository.folder / "db" / "down" / "0002.sql").symlink_to("/etc/passwd")
    repository.git("rm", "-q", "-r", "db/migrations")
    repository.commit("link")
    assert read(tmp_path).files == {"db/down/0001.sql": b"DROP TABLE a;"}


@pytest.mark.slow
def test_attributes_of_the_commit_change_no_content(repository: SiteRepository, tmp_path: Path) -> None:
    """`git archive` would put the body of the commit into the file, and leave the other one out."""
    attributes = "*.sql export-subst ident text eol=crlf working-tree-encoding=UTF-16\ndb/down/0002.sql export-ignore\n"
    content = b"-- $Format:%b$ $Id$\nDROP TABLE c;\n"
    repository.git("config", "core.autocrlf", "true")
    blob = repository.blob(content)
    repository.add(
        {"db/down/0002.sql": blob, "db/down/0003.sql": blob, ".gitattributes": repository.blob(attributes.encode())}
    )
    repository.git("commit", "-q", "-m", "subject", "-m", "DELETE FROM a;")

    found = read(tmp_path).files

    assert (found["db/down/0002.sql"], found["db/down/0003.sql"]) == (content, content)


@pytest.mark.slow
def test_names_with_signs_are_names(repository: SiteRepository, tmp_path: Path) -> None:
    names = ["-x.sql", "a b\n.sql", ":(top)", "*.sql", "\u00e9\U0001f4a5.sql", "\udcff.sql", 'q"\\t.sql']
    for name in names:
        (repository.folder / "db" / "down" / name).write_bytes(name.encode(errors="surrogateescape"))
    repository.git("add", "--all")
    repository.git("commit", "-q", "-m", "names")

    found = read(tmp_path).files

    assert {path: content for path, content in found.items() if "0001" not in path} == {
        f"db/down/{name}": name.encode(errors="surrogateescape") for name in names
    }


@pytest.mark.slow
def test_submodule_is_left_out_and_many_files_are_read(repository: SiteRepository, tmp_path: Path) -> None:
    for number in range(2, 300):
        (repository.folder / f"db/migrations/{number:04}_a_long_name_{'of_a_migration' * 4}.sql").touch()
    head = repository.commit("many")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{head},db/down/module")
    repository.git("commit", "-q", "-m", "submodule")

    assert len(read(tmp_path).files) == 300


@pytest.mark.slow
def test_large_files_are_refused_before_they_are_read(repository: SiteRepository, tmp_path: Path) -> None:
    repository.commit("large", db__down__0002_sql="x" * 5_000_001)

    with pytest.raises(Refused, match=r"db/migrations, db/down of commit [0-9a-f]{12} have more than 5000000 bytes"):
        read(tmp_path)


@pytest.mark.slow
def test_page_of_a_file_is_that_of_the_commit(repository: SiteRepository, tmp_path: Path) -> None:
    repository.git("remote", "add", "origin", "git@github.com:shop/web.git")
    found = read(tmp_path)
    repository.git("remote", "set-url", "origin", "https://git.shop.example/shop/web.git")

    page = found.find_page("db/down/0001 a.sql")
    assert page == f"https://github.com/shop/web/blob/{found.commit}/db/down/0001%20a.sql"
    assert read(tmp_path).find_page("db/down/0001.sql") == ""


def test_folder_of_ops_yml_may_be_below_the_root(repository: SiteRepository, tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"]}
    found = read_source_files(repository.folder / "db", environ, Redactor(), None, FOLDERS)
    assert found.files.keys() == {"db/migrations/0001.sql", "db/down/0001.sql"}


def test_checkout_of_another_repository_is_refused(repository: SiteRepository, tmp_path: Path) -> None:
    repository.git("remote", "add", "origin", "https://github.com/Shop/Web.git")
    assert read(tmp_path, "shop/web").files
    with pytest.raises(Refused, match=r"/app .*Shop/Web.*shop/other") as refused:
        read(tmp_path, "shop/other")
    assert "Set OPS_SOURCE" in refused.value.hint


def test_folder_without_repository_or_branch_is_refused(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    with pytest.raises(Refused, match=r"/app "):
        read(tmp_path)
    SiteRepository(tmp_path / "app").git("init", "-q", "-b", "trunk")
    with pytest.raises(Refused, match=r"/app .*main"):
        read(tmp_path)


def test_saved_files_are_loaded_unless_they_were_replaced(repository: SiteRepository, tmp_path: Path) -> None:
    found, file = read(tmp_path), tmp_path / "files.json"
    environ = {SAVED: str(file), f"{SAVED}_SHA256": save_source_files(found, file)}
    assert load_source_files(environ) == found

    file.write_text(json.dumps({"branch": "main", "commit": found.commit, "files": {}}))
    with pytest.raises(ConfigError, match=f"{SAVED} .*`fetch`"):
        load_source_files(environ)
    file.unlink()
    with pytest.raises(ConfigError, match=SAVED):
        load_source_files(environ)
    with pytest.raises(ConfigError, match=f"{SAVED}_SHA256 "):
        load_source_files({SAVED: str(file), f"{SAVED}_SHA256": ""})
