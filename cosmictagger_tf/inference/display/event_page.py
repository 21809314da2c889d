"""An event display as a page to zoom in: linked axes, classes to switch on and off, values under the pointer.

The page holds all that it needs, the drawing library included, and opens without a network.
"""

import html
from pathlib import Path

import numpy as np

from cosmictagger_tf.detector import BACKGROUND, N_CLASSES
from cosmictagger_tf.errors import MissingPackageError
from cosmictagger_tf.files import replaced_file
from cosmictagger_tf.geometry import CM_PER_ROW, PITCH, ROWS_PER_TPC
from cosmictagger_tf.inference.event_picture import (
    DRAWN_COLORS,
    NO_CHARGE,
    NO_CHARGE_COLOR,
    PREDICTED_VERTEX,
    SCORE_COLORS,
    TRUE_VERTEX,
    EventPicture,
    PlanePicture,
    charge_label,
    class_label,
    plane_name,
)

# magma_r without its palest part, which would not be seen on white.
CHARGE_SCALE = [[0, "#fdc78d"], [0.25, "#f8765c"], [0.5, "#b63679"], [0.75, "#5f187f"], [1, "#08061c"]]
VERTEX_MARKS = {
    TRUE_VERTEX: {"symbol": "circle-open", "size": 12, "color": "black"},
    PREDICTED_VERTEX: {"symbol": "x-thin-open", "size": 12, "color": "#009e73"},
}
ROW_HEIGHT = 330  # CSS pixels
# Keeps a dot as large as its pixel while the user zooms: between what can be seen and what hides its neighbours.
SCALE_DOTS = """
const graph = document.getElementById('{plot_id}');
function dotSize(trace) {
  const perPixel = axis => axis._length / Math.abs(axis.range[1] - axis.range[0]);
  const axes = graph._fullLayout;
  const x = axes[trace.xaxis.replace('x', 'xaxis')], y = axes[trace.yaxis.replace('y', 'yaxis')];
  return Math.max(1.8, Math.min(24, PIXEL * Math.min(perPixel(x), perPixel(y))));
}
function scaleDots() {
  // Vertices, which have no data, are not pixels.
  const sizes = graph._fullData.map(trace => trace.customdata ? dotSize(trace) : trace.marker.size);
  const shown = sizes.map(size => size.toFixed(1)).join();
  if (shown === graph.shownSizes) return;
  graph.shownSizes = shown;
  Plotly.restyle(graph, {'marker.size': sizes});
}
graph.on('plotly_relayout', scaleDots);
scaleDots();
"""


def write_page(picture: EventPicture, path: Path):
    """Writes the page to a file that is complete or absent.

    Raises:
        MissingPackageError: plotly is not installed.
    """
    try:
        import plotly.io
    except ImportError as error:
        command = "pip install 'cosmictagger_tf[html]'"
        raise MissingPackageError("plotly", "--display_format=html", command, error) from None
    script = SCALE_DOTS.replace("PIXEL", str(2**picture.downsample))
    page = plotly.io.to_html(
        build_figure(picture),
        include_plotlyjs=True,
        full_html=True,
        post_script=script,
        config={"scrollZoom": True, "displaylogo": False, "responsive": True},
    )
    page = page.replace("<head>", f"<head><title>{html.escape(picture.title)}</title>", 1)
    with replaced_file(path) as beside:
        beside.write_text(page, encoding="utf-8")


def build_figure(picture: EventPicture):
    """The plotly figure: a row each for charge, truth, prediction and score; a column a plane.

    All panels share the time axis; the panels of a column share the wires.
    """
    from plotly.subplots import make_subplots

    rows, planes = picture.panels, len(picture.planes)
    figure = make_subplots(
        rows=len(rows),
        cols=planes,
        column_titles=[plane_name(plane) for plane in range(planes)],
        horizontal_spacing=0.025,
        vertical_spacing=0.03,
    )
    for row, name in enumerate(rows, start=1):
        for column, plane in enumerate(picture.planes, start=1):
            for trace in _traces(name, plane, picture, column == planes, 1 - (row - 0.5) / len(rows), len(rows)):
                figure.add_trace(trace, row=row, col=column)
            for trace in _vertices(name, picture, column - 1):
                figure.add_trace(trace, row=row, col=column)
    _link_axes(figure, rows, picture)
    figure.update_layout(
        title={"text": html.escape(picture.heading, quote=False).replace("\n", "<br>"), "x": 0.5},
        height=ROW_HEIGHT * len(rows) + 130,
        template="simple_white",
        dragmode="zoom",
        hovermode="closest",
        legend={"orientation": "h", "x": 0.5, "xanchor": "center", "y": -0.05, "itemsizing": "constant"},
        margin={"l": 90, "r": 90, "t": 90, "b": 60},
    )
    return figure


def _traces(name, plane: PlanePicture, picture, last, middle, rows):
    bar = {"x": 1.01, "xanchor": "left", "y": middle, "len": 0.9 / rows, "thickness": 12} if last else None
    if name == "charge":
        if picture.has_no_charge:
            yield _dots(picture, plane, plane.no_charge, color=NO_CHARGE_COLOR, legend=NO_CHARGE, show_legend=last)
        stored = plane.charge > 0
        yield _dots(
            picture,
            plane,
            stored,
            color=np.log10(plane.charge[stored]),
            scale=CHARGE_SCALE,
            bar=bar,
            label=f"log10({charge_label(picture)})",
        )
    elif name == "neutrino score":
        scale = [list(pair) for pair in zip((0, 0.33, 0.66, 1), SCORE_COLORS, strict=True)]
        everything = np.ones(len(plane), bool)
        yield _dots(
            picture, plane, everything, color=plane.scores, scale=scale, bar=bar, label="neutrino score", limits=(0, 1)
        )
    else:
        classes = plane.truth if name == "truth" else plane.prediction
        for index in range(N_CLASSES):
            chosen = classes == index
            if index == BACKGROUND:
                chosen &= plane.stored
            # One entry of the legend a class switches it on and off in every panel.
            first = last and name == ("truth" if picture.has_truth else "prediction")
            yield _dots(picture, plane, chosen, color=DRAWN_COLORS[index], legend=class_label(index), show_legend=first)


def _vertices(name, picture: EventPicture, plane):
    import plotly.graph_objects as go

    for title, places in picture.vertices(name, plane).items():
        earlier = any(title in picture.vertices(name, other) for other in range(plane))
        yield go.Scattergl(
            x=places[:, 1],
            y=places[:, 0],
            mode="markers",
            marker=VERTEX_MARKS[title],
            name=title,
            legendgroup=title,
            showlegend=name == "charge" and not earlier,
            hovertemplate=f"{title}: wire %{{x:.1f}}, tick %{{y:.1f}}<extra></extra>",
        )


def _dots(picture, plane, chosen, color, scale=None, bar=None, label="", limits=None, legend=None, show_legend=False):
    import plotly.graph_objects as go

    marker = {"color": color, "symbol": "square", "size": 2}
    if scale is not None:
        marker |= {"colorscale": scale, "showscale": bar is not None}
        marker |= {"colorbar": {**bar, "title": {"text": label, "side": "right"}}} if bar else {}
        marker |= {"cmin": limits[0], "cmax": limits[1]} if limits else {}
    return go.Scattergl(
        x=plane.columns[chosen],
        y=plane.rows[chosen],
        mode="markers",
        marker=marker,
        name=legend or label,
        legendgroup=legend,
        showlegend=show_legend,
        customdata=_values(plane, chosen),
        hovertemplate=_hover_text(plane, picture),
    )


def _values(plane, chosen):
    values = [plane.charge[chosen]]
    values += [plane.scores[chosen]] if plane.scores is not None else []
    x = (plane.rows[chosen] + 0.5 - ROWS_PER_TPC) * CM_PER_ROW
    return np.stack([*values, x, plane.columns[chosen] * PITCH], axis=-1).astype(np.float32)


def _hover_text(plane, picture):
    lines = ["wire %{x:.0f}, tick %{y:.0f}", "charge %{customdata[0]:.1f} ADC"]
    lines += ["neutrino score %{customdata[1]:.3f}"] if plane.scores is not None else []
    at = len(lines) - 1
    if picture.has_geometry:
        lines.append(f"apparent x %{{customdata[{at}]:.1f}} cm, %{{customdata[{at + 1}]:.1f}} cm along the pitch")
    return "<br>".join(lines) + "<extra></extra>"


def _link_axes(figure, rows, picture):
    shape, planes = picture.shape, len(picture.planes)
    for row, name in enumerate(rows, start=1):
        for column in range(1, planes + 1):
            last = row == len(rows)
            frame = {"mirror": True, "showline": True, "ticks": "outside"}
            figure.update_yaxes(
                matches="y", range=[shape.height - 0.5, -0.5], showticklabels=column == 1, row=row, col=column, **frame
            )
            figure.update_xaxes(
                matches="x" if column == 1 else f"x{column}",
                range=[-0.5, shape.width - 0.5],
                showticklabels=last,
                row=row,
                col=column,
                **frame,
            )
            if last:
                figure.update_xaxes(title="wire", row=row, col=column)
        figure.update_yaxes(title=f"<b>{name}</b><br>drift time (ticks)", row=row, col=1)
    if picture.has_geometry:
        figure.add_hline(ROWS_PER_TPC - 0.5, line={"color": "#888888", "width": 1, "dash": "dash"})
