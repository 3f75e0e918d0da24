"""`ops setup github` with more labels than GitHub takes in a minute, as forty services have."""

from tests.setup.test_github_setup import Shop, kinds, shop

__all__ = ["shop"]


def test_second_press_creates_the_labels_beyond_the_limit(shop: Shop) -> None:
    shop.github.switches.content_writes_per_minute = 3

    first = shop.setup("--yes", "--json")
    created = [write for write in shop.writes() if write.endswith("/labels")]
    shop.github.clock.advance(61)
    shop.github.switches.content_writes_per_minute = 80
    second = shop.result()

    assert first.code == 4, first.err
    problems = {each["problem"] for each in first.result["changes"] if each["kind"] == "label" and not each["done"]}
    assert len(problems) == 1, problems
    assert "minute" in problems.pop()
    assert len(created) == 4, "the fourth is refused, and the others are not tried"
    assert second["exit_code"] == 0
    assert kinds(second).count("label") > 0
