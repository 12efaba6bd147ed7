"""The page of a finished run."""

from debft.console import say
from debft.errors import DebftError
from debft.runs.directory import RunDirectory
from debft.runs.holding import hold


def write_page(run: RunDirectory) -> None:
    """Write report.html where it is not there or older than the result. One that cannot be written is said, and loses nothing.

    The run is held meanwhile, so that what an earlier try has left half-written is removed.
    """
    page, result = run.path / "report.html", run.path / "result.json"
    if page.exists() and page.stat().st_mtime_ns >= result.stat().st_mtime_ns:
        return
    from debft.output.pages.run_page import write_run_page

    try:
        with hold(run):
            write_run_page(run)
    except DebftError as error:
        say(f"report.html: not written: {error.problems[0]}")
