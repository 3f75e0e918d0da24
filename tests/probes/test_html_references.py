"""References found in an HTML page, resolved as a browser resolves them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.probes.html_references import ReferenceKind, find_references

PAGE = "https://fortunet.example/charts/"

NAMES: dict[str, tuple[str, list[tuple[str, ReferenceKind]]]] = {
    "a script": ('<script src="/a.js"></script>', [("/a.js", ReferenceKind.SCRIPT)]),
    "a module": ('<script type=module src="../a.js"></script>', [("/a.js", ReferenceKind.SCRIPT)]),
    "a script that is data": ('<script type="application/ld+json" src="/a.json"></script>', []),
    "markup within a script": ("<script>'<img src=/no.png>'</script>", []),
    "markup within a comment": ("<!-- <img src=/no.png> -->", []),
    "a style": ('<link rel="StyleSheet" href="a.css?v=2#x">', [("/charts/a.css?v=2", ReferenceKind.STYLE)]),
    "a preload": ('<link rel=preload as=font href="/a.woff2">', [("/a.woff2", ReferenceKind.FONT)]),
    "a preload of anything": ('<link rel=preload as=fetch href="/a.json">', [("/a.json", ReferenceKind.OTHER)]),
    "a module preload": ('<link rel=modulepreload href="/a.js">', [("/a.js", ReferenceKind.SCRIPT)]),
    "an icon": ('<link rel="shortcut icon" href="/favicon.ico">', [("/favicon.ico", ReferenceKind.IMAGE)]),
    "the manifest": ('<link rel=manifest href="/site.webmanifest">', [("/site.webmanifest", ReferenceKind.MANIFEST)]),
    "preconnect and canonical": ('<link rel=preconnect href="/no"><link rel=canonical href="/no">', []),
    "an image": ("<img src='a b.png'/>", [("/charts/a%20b.png", ReferenceKind.IMAGE)]),
    "an image in sizes": (
        '<img srcset="/1.png 1x, /2.png 2x,/3,x.png 3x">',
        [("/1.png", ReferenceKind.IMAGE), ("/2.png", ReferenceKind.IMAGE), ("/3,x.png", ReferenceKind.IMAGE)],
    ),
    "sizes without any": (
        '<source srcset="/1.png, /2.png">',
        [("/1.png", ReferenceKind.IMAGE), ("/2.png", ReferenceKind.IMAGE)],
    ),
    "sizes with commas in data": (
        '<img srcset="data:image/png;base64,AA 1x, /2.png 2x">',
        [("/2.png", ReferenceKind.IMAGE)],
    ),
    "a film": ("<video poster=/a.png src=/a.mp4>", [("/a.mp4", ReferenceKind.OTHER), ("/a.png", ReferenceKind.IMAGE)]),
    "a link": ('<a href="../login?next=%2F#form">', [("/login?next=%2F", ReferenceKind.LINK)]),
    "a link to itself": ('<a href="#top">', [("/charts/", ReferenceKind.LINK)]),
    "links that are no pages": ('<a href="mailto:a@b.example"><a href="tel:1"><a href="javascript:x()"><a name=x>', []),
    "an image in itself": ('<img src="data:image/png;base64,AA">', []),
    "a name twice": ("<img src=/a.png><img src=/a.png#b>", [("/a.png", ReferenceKind.IMAGE)]),
    "an attribute twice": ("<img src=/a.png src=/b.png>", [("/a.png", ReferenceKind.IMAGE)]),
    "entities": ("<img src='/a.png?a=1&amp;b=2'>", [("/a.png?a=1&b=2", ReferenceKind.IMAGE)]),
    "a template": ("<template><img src=/no.png></template><img src=/a.png>", [("/a.png", ReferenceKind.IMAGE)]),
    "a base": ("<base href=/app/><base href=/no/><img src=a.png>", [("/app/a.png", ReferenceKind.IMAGE)]),
    "a line break within a name": ("<img src='/a\n.png'>", [("/a.png", ReferenceKind.IMAGE)]),
}


@pytest.mark.parametrize(("html", "named"), NAMES.values(), ids=NAMES)
def test_find_references(html: str, named: list[tuple[str, ReferenceKind]]) -> None:
    found = [(found.url.removeprefix("https://fortunet.example"), found.kind) for found in find_references(html, PAGE)]

    assert found == named


def test_other_host_and_scheme_are_kept() -> None:
    html = "<script src=//cdn.example/a.js></script><img src=http://fortunet.example/a.png>"

    assert [found.url for found in find_references(html, PAGE)] == [
        "https://cdn.example/a.js",
        "http://fortunet.example/a.png",
    ]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=st.sampled_from("<>/='\" ,[]:?#\n\\aimgscrehtpl"), max_size=60), st.text(max_size=30))
def test_any_html_is_parsed(html: str, text: str) -> None:
    for found in find_references(f"{html}<img src='{text}' srcset=\"{html}\"><base href='{text}'>", PAGE):
        assert found.url
