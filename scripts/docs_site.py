"""The documentation as a site (`make docs`): a hook of MkDocs that shows the repository's pages where they lie.

Pages keep the paths that they have in the repository, so every link that works in a checkout works on the site, and one
that does not stops a strict build. Files that a page links to (examples, notebooks, scripts) are published beside them.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("*.md", "docs/**/*.md", "benchmarks/*.md", "examples/**/*.md", "charts/*/README.md", "terraform/README.md")
_LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Files of the theme stay; those of the folder `docs` are taken with their paths in the repository."""
    pages = sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})
    linked = sorted({path for page in pages for path in _linked(page)} - set(pages))
    themes = [file for file in files if file.src_dir != config.docs_dir]
    return Files([*themes, *(_file(path, config) for path in (*pages, *linked))])


def _linked(page: Path) -> Iterator[Path]:
    """Files of the repository that a page links to; MkDocs itself reports what is not there."""
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        if path.is_file() and path.is_relative_to(ROOT):
            yield path


def _file(path: Path, config: MkDocsConfig) -> File:
    return File(path.relative_to(ROOT).as_posix(), str(ROOT), config.site_dir, config.use_directory_urls)
