"""A profile and its plan as one page of HTML that loads nothing: a timeline, a graph coloured by device, and tables."""

from __future__ import annotations

import importlib.resources
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from string import Template

from moka.models.graph_layout import HEIGHT, WIDTH, Drawing, layout
from moka.models.profile import OperationProfile, Profile, SegmentProfile
from moka.models.profile_view import headlines, operation_section, sections
from moka.models.timeline import Bar, measured, planned
from moka.planning import render
from moka.planning.render import Section, bytes_text, place_text, time_text

__all__ = ["page"]

_COLOURS = {
    "cpu": ("#2563b8", "#0e93a8", "#6a55d6"),
    "gpu": ("#2e8b57", "#84a91d", "#1c5c39"),
    "npu": ("#c2681b", "#c79a12", "#a34216"),
}
"""Shades of each kind of device, one for each engine on it."""

_OTHER = ("#7a5aa6", "#9a80bf", "#553b7a")
_KINDS = {"cuda": "gpu", "mps": "gpu", "neural_engine": "npu"}
_LETTERS = 26
"""Of a name that fit into a node of the graph."""

Palette = Mapping[tuple[str, str], str]


def page(profile: Profile) -> str:
    """The page. Names from the model are data in it, whatever they hold."""
    template = Template(importlib.resources.files("moka.models").joinpath("report.html").read_text(encoding="utf-8"))
    data = json.dumps(profile.to_dict(), ensure_ascii=True).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    body = "\n".join(_part(name, item) for name, item in profile.walk())
    return template.substitute(title=escape(f"{profile.model}: profile"), body=body, data=data)


def _part(name: str, profile: Profile) -> str:
    """One profile: the model's, or that of a stage of a pipeline."""
    title = f"Stage {name}: {profile.model}" if name else profile.model
    lines = headlines(profile)
    shown = [lines[0], *(lines[-1:] if profile.error is not None else [])]  # the tiles say the rest
    parts = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(line)}</p>" for line in shown), _tiles(profile)]
    if profile.segments:
        palette = _palette(profile.segments)
        parts += [_timeline(profile, palette), _graph(profile, palette), _operations(profile)]
        summary, kinds, _ = sections(profile)
        parts += [f"<h2>{escape(section.title)}</h2>{_table(section)}" for section in (summary, kinds)]
    parts.append(_plan(profile))
    return f'<section class="profile">{"".join(parts)}</section>'


def _tiles(profile: Profile) -> str:
    timing, memory = profile.predict, profile.memory
    times = {"median": timing.p50, "p90": timing.p90, "p99": timing.p99, "fastest": timing.min, "mean": timing.mean}
    times |= {"first prediction": profile.first, "first load": profile.load, "load again": profile.reload}  # type: ignore[dict-item]
    sizes = {"memory loaded": memory.loaded, "memory predicted": memory.predicted, "memory at its peak": memory.peak}
    shown = [(name, time_text(value)) for name, value in times.items() if value is not None]
    shown += [(name, bytes_text(value)) for name, value in sizes.items() if value is not None]
    return '<div class="tiles">' + "".join(f'<div class="tile"><b>{text}</b><span>{name}</span></div>' for name, text in shown) + "</div>"


def _palette(segments: Sequence[SegmentProfile]) -> Palette:
    """A colour for each engine on each device: the device's, in a shade of the engine's own."""
    found: dict[tuple[str, str], str] = {}
    for segment in segments:
        shades = _COLOURS.get(_KINDS.get(segment.device, segment.device), _OTHER)
        used = sum(device == segment.device for _, device in found)
        found.setdefault((segment.engine, segment.device), shades[used % len(shades)])
    return found


def _legend(palette: Palette) -> str:
    items = (f'<span><i style="background:{colour}"></i>{escape(place_text(*place))}</span>' for place, colour in palette.items())
    return f'<div class="legend">{"".join(items)}</div>'


def _timeline(profile: Profile, palette: Palette) -> str:
    lanes = {"measured": measured(profile), "planned": planned(profile)}
    end = max((bar.end for bars in lanes.values() for bar in bars), default=0.0) or 1.0
    rows = "".join(
        f'<div class="lane"><em>{name}</em>{"".join(_bar(bar, end, palette) for bar in bars)}</div>' for name, bars in lanes.items() if bars
    )
    ticks = "".join(f'<span class="tick" style="left:{100 * at / end:.4f}%">{time_text(at)}</span>' for at in _ticks(end))
    zoom = '<label>zoom <input type="range" min="0" max="6" step="0.25" value="0"></label>'
    note = "One prediction: times of operations laid end to end in the program's order. Click one to find it in the graph and the table."
    return (
        f"<h2>Timeline</h2><p>{note}</p>{_legend(palette)}"
        f'<div class="controls">{zoom}</div><div class="scroll"><div class="timeline">{rows}{ticks}</div></div>'
    )


def _bar(bar: Bar, end: float, palette: Palette) -> str:
    style = f"left:{100 * bar.start / end:.4f}%;width:{100 * bar.seconds / end:.4f}%"
    text = escape(f"{bar.name} ({bar.type}): {time_text(bar.seconds)}" if bar.type else f"{bar.name}: {time_text(bar.seconds)}")
    if bar.index is None:
        return f'<div class="bar rest" style="{style}" title="{text}">{escape(bar.name)}</div>'
    colour = palette[bar.engine, bar.device]
    return f'<div class="bar" data-op="{bar.index}" style="{style};background:{colour}" title="{text}">{escape(bar.type)}</div>'


def _ticks(end: float) -> Iterator[float]:
    """Round times from 0 on, about eight of them."""
    rough = end / 8
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return (index * step for index in range(int(end / step) + 1) if index * step < 0.97 * end)


def _graph(profile: Profile, palette: Palette) -> str:
    """The operations that predictions run, or that are part of others, and what passes between them."""
    items = [(index, segment, item) for index, segment, item in _indexed(profile) if item.how != "folded"]
    takes = {item.operation: item.takes for _, _, item in items}
    drawing = layout(_in_order(takes))
    longest = max((item.seconds or 0.0 for _, _, item in items), default=0.0)
    nodes = "".join(
        _node(index, item, palette[segment.engine, segment.device], drawing.nodes[item.operation], longest)
        for index, segment, item in items
    )
    size = f'width="{drawing.width:.0f}" height="{drawing.height:.0f}" viewBox="0 0 {drawing.width:.0f} {drawing.height:.0f}"'
    note = "Coloured by device and engine; the bar in a node is its time beside the longest; dashed ones are computed as part of others."
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{_edges(drawing)}{nodes}</svg>'
    return f'<h2>Graph</h2><p>{note}</p>{_legend(palette)}<div class="scroll graph">{svg}</div>'


def _in_order(takes: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The same, each name after those that it takes from: segments need not be in the program's order."""
    ordered: dict[str, Sequence[str]] = {}
    stack = [iter(takes)]
    path: list[str] = []
    entered: set[str] = set()
    while stack:
        name = next(stack[-1], None)
        if name is None:
            stack.pop()
            if path:
                done = path.pop()
                ordered[done] = takes[done]
        elif name in takes and name not in entered:
            entered.add(name)
            path.append(name)
            stack.append(iter(takes[name]))
    return ordered


def _edges(drawing: Drawing) -> str:
    return "".join(f'<path d="{_curve(points)}"/>' for points in drawing.edges.values())


def _curve(points: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = points
    path = [f"M{x:.0f} {y:.0f}"]
    for to_x, to_y in rest:
        middle = (y + to_y) / 2
        path.append(f"C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {to_y:.0f}")
        x, y = to_x, to_y
    return "".join(path)


def _node(index: int, item: OperationProfile, colour: str, corner: tuple[float, float], longest: float) -> str:
    x, y = corner
    share = (item.seconds or 0.0) / longest if longest else 0.0
    how = time_text(item.seconds) if item.seconds is not None else f"in {item.within}" if item.within else item.how
    name = item.operation if len(item.operation) <= _LETTERS else f"{item.operation[: _LETTERS // 2]}…{item.operation[1 - _LETTERS // 2 :]}"
    kind = f"{how} · {item.type}"
    return (
        f'<g class="node {item.how}" data-op="{index}"><title>{escape(f"{item.operation} ({item.type}): {how}")}</title>'
        f'<rect class="box" x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="6" stroke="{colour}" fill="{colour}"/>'
        f'<rect x="{x:.0f}" y="{y:.0f}" width="6" height="{HEIGHT}" rx="3" fill="{colour}"/>'
        f'<rect x="{x + 12:.0f}" y="{y + HEIGHT - 5:.0f}" width="{share * (WIDTH - 20):.1f}" height="3" fill="{colour}"/>'
        f'<text x="{x + 12:.0f}" y="{y + 14:.0f}">{escape(name)}</text>'
        f'<text class="kind" x="{x + 12:.0f}" y="{y + 27:.0f}">{escape(kind[: _LETTERS + 6])}</text></g>'
    )


def _operations(profile: Profile) -> str:
    section = operation_section(profile)
    values = {"time": [item.seconds for item in profile.operations], "planned": [item.estimate for item in profile.operations]}
    values["share"] = values["time"]
    search = '<input type="search" placeholder="find operations">'
    hint = "a click on a column's name sorts"
    return (
        f'<h2>{section.title}</h2><div class="controls">{search}<span>{hint}</span></div>'
        f'<div class="scroll operations">{_table(section, values, indexed=True)}</div>'
    )


def _indexed(profile: Profile) -> Iterator[tuple[int, SegmentProfile, OperationProfile]]:
    pairs = [(segment, item) for segment in profile.segments for item in segment.operations]
    return ((index, *pair) for index, pair in enumerate(pairs))


def _table(section: Section, values: Mapping[str, Sequence[float | None]] | None = None, indexed: bool = False) -> str:
    """A table; ``values`` are numbers behind the texts of columns, for sorting."""
    kinds = [' class="right"' if name in section.right else "" for name in section.columns]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(section.columns, kinds, strict=True))
    rows = []
    for index, row in enumerate(section.rows):
        cells = ""
        for name, kind, text in zip(section.columns, kinds, row, strict=True):
            number = f' data-value="{values[name][index] or 0.0:.9g}"' if values and name in values else ""
            cells += f"<td{kind}{number}>{escape(text)}</td>"
        rows.append(f'<tr data-op="{index}">{cells}</tr>' if indexed else f"<tr>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _plan(profile: Profile) -> str:
    if profile.plan is None:
        return ""
    lines = "".join(f"<p>{escape(line)}</p>" for line in render.headlines(profile.plan))
    tables = "".join(f"<h3>{escape(section.title)}</h3>{_table(section)}" for section in render.sections(profile.plan))
    return f"<h2>Plan</h2>{lines}{tables}"
