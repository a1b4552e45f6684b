"""The HTML of a mail, as a program reads it that trusts nothing."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """The rows of a page's tables, cell by cell, and every tag that asks for something from elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.foreign: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        assert not [tag for tag in self._open if tag not in {"meta", "br"}]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self._open.append(tag)
        self.foreign += [f"{tag} {name}" for name, _ in attributes if name in {"src", "href", "background"}]
        self.foreign += [tag] if tag in {"script", "link", "img", "iframe", "object", "form"} else []
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in {"td", "th"}:
            self.rows[-1][-1] += data
