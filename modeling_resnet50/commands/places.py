"""Where commands put their pages and pictures."""

import tempfile
from pathlib import Path

from resnet50_recipe.errors import UserError

from ..files import require_writable


REPORTS = Path("reports")


def place_for(name: str, wanted: Path | None, option: str) -> Path:
    """
    As the user says; else `reports/NAME`, here; else, where nothing can be written here, with the temporary files.

    Args:
        name: of the page, the picture, or a folder of them.
        wanted: what the command's `option` says.

    Raises:
        UserError: what is wanted cannot be written to.
    """
    if wanted is not None:
        require_writable(wanted.parent, option)
        return wanted
    try:
        require_writable(REPORTS, option)
    except UserError:
        return Path(tempfile.mkdtemp(prefix="resnet50-")) / name
    return REPORTS / name
