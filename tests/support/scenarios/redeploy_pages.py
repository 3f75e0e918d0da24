"""A site with a live bad commit, whose good commit was never deployed."""

from datetime import timedelta

from tests.conftest import World
from tests.support.scenarios import Given, Scenario, refuse_bad_page, served_site
from tests.support.site_repository import BUILD, repository


def _prepare(world: World, _given: Given) -> None:
    """Prepare the site. Its build prints the content of the file `shout` next to ops.yml."""
    refuse_bad_page(world)
    shout = world.folder / "shout"
    text = shout.read_text() if shout.exists() else ""
    found = repository(world)
    found.commit("good", page_html="<h1>good</h1>", build_sh=f"{BUILD}cat shout.txt\n", shout_txt=text)
    world.site(timedelta(minutes=10), "bad", commit=found.commit("bad", page_html="<h1>bad</h1>"))


def _reached(world: World) -> bool:
    live = served_site(world)
    return live is not None and b"good" in live.files["/index.html"].content


def _hotfix(world: World) -> None:
    world.site(timedelta(0), "hotfix", commit="c" * 40)


SCENARIOS = {
    "": Scenario(_prepare, _reached, (_hotfix,), is_slow=True, counts=lambda each: each.path.endswith("/deployments"))
}
