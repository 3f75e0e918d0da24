"""Pack the files of a commit as they were committed."""

import os
from pathlib import Path

import pytest

from ops.core.redaction import Redactor
from ops.tools.git import GitError, GitRepository, unpack_archive
from tests.support.site_repository import SiteRepository


@pytest.fixture
def site(tmp_path: Path) -> SiteRepository:
    (tmp_path / "site").mkdir()
    found = SiteRepository(tmp_path / "site")
    found.git("init", "-q", "-b", "main")
    return found


def pack(site: SiteRepository, into: Path) -> Path:
    repository = GitRepository(site.folder, {"PATH": os.environ["PATH"]}, Redactor())
    archive = into / "tree.tar"
    repository.archive_commit(repository.head() or "", archive)
    unpack_archive(archive, into / "tree")
    return into / "tree"


def test_packed_files_are_the_committed_ones(site: SiteRepository, tmp_path: Path) -> None:
    """No attribute changes them, neither of that commit nor of the files that are checked out now."""
    content = b"$Id$ $Format:%b$\nx\n"
    attributes = b"* text eol=crlf ident export-subst working-tree-encoding=UTF-16\npage.html export-ignore\n"
    site.add({"page.html": site.blob(content), "a/-b c\n.js": site.blob(b""), ".gitattributes": site.blob(attributes)})
    site.git("update-index", "--add", "--cacheinfo", f"100755,{site.blob(content)},build.sh")
    site.git("update-index", "--add", "--cacheinfo", f"120000,{site.blob(b'page.html')},link")
    site.git("commit", "-q", "-m", "first", "-m", "body")

    tree = pack(site, tmp_path)

    names = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if not path.is_dir()}
    assert names == {".gitattributes", "a/-b c\n.js", "build.sh", "link", "page.html"}
    assert (tree / "page.html").read_bytes() == (tree / "build.sh").read_bytes() == content
    assert (os.access(tree / "build.sh", os.X_OK), os.access(tree / "page.html", os.X_OK)) == (True, False)
    assert (tree / "link").readlink() == Path("page.html")


@pytest.mark.sampled
@pytest.mark.parametrize("name", [".git", ".GIT", ".."])
def test_path_that_git_does_not_check_out_is_refused(site: SiteRepository, tmp_path: Path, name: str) -> None:
    folder = site.tree([("100644", "config", site.blob(b"x"))])
    root = site.tree([("40000", name, folder)])
    site.git("update-ref", "refs/heads/main", site.git("commit-tree", "-m", "hostile", root))

    with pytest.raises(GitError, match="has the unsafe path"):
        pack(site, tmp_path)
    assert not (tmp_path / "tree").exists()
