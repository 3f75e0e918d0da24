"""Configurations of other applications than FortuneT, as teams write them.

Each folder holds an ops.yml.
"""

from pathlib import Path

ONE_WORKER, PAGES_ONLY, TEN_SERVICES, ONE_URL, SMALL_REPOSITORY = CONFIGURATIONS = tuple(
    Path(__file__).parent / name / "ops.yml"
    for name in ("one_worker", "pages_only", "ten_services", "one_url", "small_repository")
)
SHOPDESK = Path(__file__).parent / "shopdesk" / "ops.yml"
"""A database with a table of migrations, tables and checks of its own."""
STAGED_SHOP = Path(__file__).parent / "staged_shop" / "ops.yml"
"""Production, and a staging account with a monthly drill."""
BAKERY = Path(__file__).parent / "bakery" / "ops.yml"
"""A status page with two components, and one text of its own."""


def with_banner(bakery: str, namespace: str = "c" * 32) -> str:
    """Return the ops.yml of the bakery with a banner in its shop."""
    switch = 'banner: {states: ["off", identified]}'
    runtime = f"    runtime: {{service: shop, namespace: {namespace}, switches: {{{switch}}}}}\n    services:\n"
    return bakery.replace("    services:\n", runtime, 1)
