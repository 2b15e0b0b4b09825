"""
Draw README's picture, docs/digits.png: a run's curves, and the page that asks its model.

    python docs/draw_picture.py [runs/digits]

It needs Chromium, and what the tests need.
"""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageOps
from playwright.sync_api import sync_playwright


HEIGHT = 620  # pixels, of the picture


def photograph(address: str) -> Image.Image:
    """The page, once it has answered about its fourth example: a three."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 820})
        page.goto(address)
        page.locator("button.gallery-item").nth(3).click()
        page.get_by_text("sees: ").first.wait_for()
        page.wait_for_load_state("networkidle")
        page.evaluate("scrollTo(0, 0)")
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        browser.close()
    return picture


def main(run: Path) -> None:
    with subprocess.Popen(["resnet50", "demo", run], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        page = photograph(re.search(r"http://\S+", demo.stdout.readline())[0])
        demo.terminate()
    curves = Image.open(run / "training_curves.png").convert("RGB")
    parts = [ImageOps.contain(part, (part.width, HEIGHT), Image.Resampling.LANCZOS) for part in (curves, page)]
    picture = Image.new("RGB", (sum(part.width for part in parts), HEIGHT), "white")
    picture.paste(parts[0], (0, 0))
    picture.paste(parts[1], (parts[0].width, 0))
    picture.quantize(256).save(Path(__file__).with_name("digits.png"), optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/digits"))
