"""This module lists the figures of a report."""

from debft.output.pages.drawing import Drawing
from debft.output.pages.records import Report
from debft.output.pages.run_figures import curves_figure, speed_figure
from debft.output.pages.score_figures import cells_figure, languages_figure


def drawings(report: Report) -> list[Drawing]:
    """Draw the figures that have something to show, in the order of the page."""
    figures = (cells_figure(report), languages_figure(report), curves_figure(report), speed_figure(report))
    return [drawing for drawing in figures if drawing.panels]
