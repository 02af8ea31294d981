"""Reads a page as a browser's parser would, and complains where it would have to guess."""

import html.parser
import re

WITHOUT_END = {"br", "col", "input", "link", "meta"}


class PageParser(html.parser.HTMLParser):
    """Attributes: `problems`, `texts` of all elements, `tags`, `ids`, and `attributes` by name."""

    def __init__(self, text):
        super().__init__()
        self.problems, self.tags, self.ids, self.texts = [], [], [], []
        self.attributes = {}
        self._open = []
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> is not closed" for tag in self._open]
        repeated = {name for name in self.ids if self.ids.count(name) > 1}
        self.problems += [f"the id {name} is there twice" for name in sorted(repeated)]

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in WITHOUT_END:
            self._open.append(tag)

    def handle_endtag(self, tag):
        if not self._open or self._open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self._open[-1:]}")
        else:
            self._open.pop()

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def outside(self):
        """What would be fetched from somewhere."""
        addresses = [
            value
            for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href")
            for value in self.attributes.get(name, ())
        ]
        return [value for value in addresses if not re.match(r"#|data:image/jpeg;base64,", value)]

    @property
    def broken(self):
        """Links and uses within the page that lead nowhere."""
        return [
            value
            for value in self.attributes.get("href", ())
            if value.startswith("#") and value[1:] not in self.ids
        ]
