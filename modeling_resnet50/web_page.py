"""What the project's HTML reports share: one self-contained file, its style, and the pictures in it."""

import base64
import io
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment
from PIL import Image

from .files import replaced_file


def write_page(path: Path, template: Traversable, **values: Any) -> None:
    """
    Fill in a template that extends `web_page.html`. Every value is text there, never markup.

    Args:
        path: the file; one that is there is replaced.
        template: Jinja's.
        values: what it asks for.
    """
    base = files(__package__).joinpath("web_page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, loader=DictLoader({"web_page.html": base}))
    html = environment.from_string(template.read_text(encoding="utf-8")).render(values)
    with replaced_file(path) as unfinished:
        unfinished.write_text(html, encoding="utf-8")


def thumbnail(picture: Image.Image, side: int) -> str:
    """The central square, `side` pixels wide, as a `data:` address (JPEG)."""
    short = min(picture.size)
    left, top = (picture.width - short) // 2, (picture.height - short) // 2
    buffer = io.BytesIO()
    square = picture.convert("RGB").resize((side, side), box=(left, top, left + short, top + short))
    square.save(buffer, "JPEG", quality=80)
    return data_address(buffer.getvalue(), "image/jpeg")


def data_address(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
