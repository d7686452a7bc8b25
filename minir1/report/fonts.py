"""Fonts for plots: text in any script is drawn, or escaped; never a row of boxes."""

import contextlib
import re
from functools import lru_cache

# Families with Chinese characters, as Linux, Windows and macOS name them.
CHINESE = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC",
    "Source Han Sans CN", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback",
    "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans GB", "Heiti TC", "STHeiti",
    "Arial Unicode MS",
)
FILES = re.compile(
    "(cjk|han|hei|wqy|pingfang|hiragino|droidsansfallback|arial ?unicode)[^/]*$", re.IGNORECASE
)


@lru_cache
def families() -> tuple[str, ...]:
    """matplotlib's own font, and behind it one with Chinese characters, if there is one."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    if {font.name for font in manager.ttflist}.isdisjoint(CHINESE):
        # matplotlib's list may be older than a font
        for path in filter(FILES.search, font_manager.findSystemFonts()):
            with contextlib.suppress(Exception):  # a file that is no font
                manager.addfont(path)
    names = {font.name for font in manager.ttflist}
    return ("DejaVu Sans", *[name for name in CHINESE if name in names][:1])


@lru_cache(4096)
def _drawable(character: str) -> bool:
    from matplotlib import font_manager

    paths = [font_manager.findfont(name) for name in families()]
    fonts = [font_manager.get_font(path) for path in paths]
    known = any(font.get_char_index(ord(character)) for font in fonts)
    return character.isprintable() and known


def readable(text: str) -> str:
    """Text that these fonts can draw; any other character as its number.

    For `fontfamily=families()`.

    >>> readable("a\\0"), readable("3 + 5")
    ('a\\\\x00', '3 + 5')
    """
    return "".join(c if _drawable(c) else c.encode("unicode_escape").decode() for c in text)
