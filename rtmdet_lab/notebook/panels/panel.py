"""What all explorers share: controls, a message, a table and a picture that follow one another.

Pictures travel as PNG into an Image widget, which swaps them without flicker. Where no front end answers, as in a
notebook run by papermill, the panel shows its picture and table as plain outputs instead.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rtmdet_lab.config.describe import meaning_of
from rtmdet_lab.core.errors import SettingError, UnknownNameError, UserError, did_you_mean
from rtmdet_lab.core.escaping import for_html

DPI = 88
SHOW = ("auto", "controls", "figure")


@dataclass(frozen=True)
class View:
    """What a panel shows: a figure, and HTML under the controls."""

    figure: Figure
    table: str = ""


class Panel:
    """Widgets by name, and ``draw``, which is called with their values and returns a :class:`View`.

    A mistake of the user (``UserError``) becomes a sentence above the picture, which stays as it was.
    """

    def __init__(
        self,
        controls: Mapping[str, widgets.Widget],
        rows: Sequence[Sequence[str]],
        draw: Callable[..., View],
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """``rows`` are the names of the controls as they are laid out, a string that is no name is a heading.

        ``settings`` are the dotted names of the settings that controls stand for: their meaning becomes a tooltip.
        """
        self.controls = dict(controls)
        self.draw = draw
        self.message = widgets.HTML()
        self.table = widgets.HTML()
        self.picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%", object_fit="contain"))
        self.seconds = 0.0  # from the change of a control to the picture
        self._held = False
        for name, setting in (settings or {}).items():
            self.controls[name].tooltip = meaning_of(setting)
        lines = [widgets.HBox([self._part(name) for name in row], layout=_WRAPPED) for row in rows]
        self.box = _PictureBox(self.picture, [*lines, self.message, self.table, self.picture])
        self.box.add_class("rtmdet-panel")  # how a page tells it from other boxes, such as the bars of a training
        for one in self.controls.values():
            if not isinstance(one, widgets.Button):
                one.observe(self._changed, "value")

    def _part(self, name: str) -> widgets.Widget:
        if name in self.controls:
            return self.controls[name]
        return widgets.HTML(f"<b>{for_html(name)}</b>", layout=widgets.Layout(width="40px"))

    @property
    def values(self) -> dict[str, Any]:
        return {name: one.value for name, one in self.controls.items() if not isinstance(one, widgets.Button)}

    def set(self, **values: Any) -> Panel:
        """Sets controls by name, then draws once; raises as :meth:`assign` does."""
        self.assign(**values)
        self.refresh()
        return self

    def assign(self, **values: Any) -> None:
        """Sets controls by name and draws nothing yet.

        Raises:
            UnknownNameError: no such control.
            SettingError: a value that the control does not offer.
        """
        with self.held():
            for name, value in values.items():
                if name not in self.controls:
                    known = ", ".join(self.controls)
                    raise UnknownNameError(f"no control {name!r}: {did_you_mean(name, self.controls)} there are {known}")
                self._assign(name, value)

    def _assign(self, name: str, value: Any) -> None:
        control = self.controls[name]
        try:
            control.value = value
        except Exception as error:  # traitlets' own complaint names no choices
            offered = [one[0] if isinstance(one, tuple) else one for one in getattr(control, "options", ())]
            choices = f"choose one of {', '.join(map(str, offered))}" if offered else "it takes another kind of value"
            raise SettingError(f"{name} cannot be {value!r}: {choices}") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Draws nothing while controls are set inside."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    def before(self, name: str, change: Callable[[Any], None]) -> None:
        """Calls ``change`` when a control changes, before the picture is drawn: for controls that depend on others."""
        control = self.controls[name]
        control.unobserve(self._changed, "value")
        control.observe(lambda event: self._guarded(change, event), "value")
        control.observe(self._changed, "value")

    def _guarded(self, change: Callable[[Any], None], event: Any) -> None:
        with self.telling(), self.held():
            change(event)

    def _changed(self, _: Any) -> None:
        if not self._held:
            self.refresh()

    def refresh(self) -> None:
        """Draws what the controls say; a mistake is told and leaves the picture."""
        begin = time.perf_counter()
        with self.telling():
            view = self.draw(**self.values)
            self.picture.value = to_png(view.figure)
            self.table.value = view.table
            self.seconds = time.perf_counter() - begin
            self.message.value = f'<span style="color:#777">drawn in {self.seconds:.2f} s</span>'

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Turns a mistake of the user inside into a sentence above the picture."""
        try:
            yield
        except UserError as error:
            self.message.value = f'<span style="color:#b00020"><b>{for_html(error)}</b></span>'

    def show(self, show: str = "auto") -> None:
        """Displays the panel: its controls in JupyterLab, its picture and table elsewhere.

        Args:
            show: "auto", "controls" or "figure".

        Raises:
            SettingError: another word; or, without controls, a choice that cannot be drawn.
        """
        from IPython.display import HTML, Image, display

        if show not in SHOW:
            raise SettingError(f"show is {show!r}, but must be {', '.join(SHOW[:-1])} or {SHOW[-1]}")
        if show == "controls" or (show == "auto" and has_front_end()):
            if not self.picture.value:
                self.refresh()
            display(self.box)
            return
        view = self.draw(**self.values)
        if view.table:
            display(HTML(view.table))
        display(Image(to_png(view.figure), format="png"))


class _PictureBox(widgets.VBox):
    """Its saved output also holds the picture, for viewers that know no widgets."""

    def __init__(self, picture: widgets.Image, children: Sequence[widgets.Widget]) -> None:
        super().__init__(children)
        self._picture = picture

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        import base64

        bundle = super()._repr_mimebundle_(**options)
        return bundle | {"image/png": base64.b64encode(self._picture.value).decode()}


_WRAPPED = widgets.Layout(flex_flow="row wrap", align_items="center")


def has_front_end() -> bool:
    """Whether a Jupyter server started this kernel, so that somebody may be looking; papermill starts its own."""
    return "JPY_SESSION_NAME" in os.environ


def to_png(figure: Figure, dpi: int = DPI) -> bytes:
    """Returns the figure as PNG bytes."""
    if not isinstance(figure.canvas, FigureCanvasAgg):
        FigureCanvasAgg(figure)
    file = io.BytesIO()
    # Little compression: it takes longer than the bytes saved take to travel on one machine.
    figure.savefig(file, format="png", dpi=dpi, facecolor="white", pil_kwargs={"compress_level": 1})
    return file.getvalue()


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]], strong: Sequence[int] = ()) -> str:
    """Returns a small HTML table, first column left, others right; rows numbered in ``strong`` are bold."""

    def line(cells: Sequence[str], tag: str, style: str = "") -> str:
        sides = ("left", *("right" for _ in cells[1:]))
        inner = "".join(
            f'<{tag} style="text-align:{side};padding:1px 10px">{for_html(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr{style}>{inner}</tr>"

    body = "".join(
        line(row, "td", ' style="font-weight:bold"' if number in strong else "") for number, row in enumerate(rows)
    )
    return f'<table style="line-height:1.3;font-size:12px">{line(header, "th")}{body}</table>'
