"""What the pages take from the code when the site is built, so that it cannot differ from it."""

from regard.attention import capabilities


def on_page_markdown(markdown: str, **_: object) -> str:
    return markdown.replace("<!-- capabilities -->", capabilities.table())
