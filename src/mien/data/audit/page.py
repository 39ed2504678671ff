"""``audit.html``: one file that opens offline, with every picture and chart inside and nothing fetched from elsewhere.

Made of ``audit.json``'s figures and the chosen examples; it computes nothing. All text from the store is escaped.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from PIL import Image

from mien.data.audit import charts
from mien.data.audit.examples import Sheet, Tile
from mien.data.audit.page_style import STYLE
from mien.data.audit.sheets import SIDE, enlarged, shown

PRIVACY = (
    "This report contains images of the data set. Treat it as the data set itself: its licence decides who may see it, "
    "and it was written only where you asked for it."
)
_MARKS = {"problem": "■ problem", "notice": "▲ notice", "good": "● good"}
_DEGREES = {
    "identical": "the same pixels",
    "within": "mean absolute difference of at most {tolerance:g} (of 255), or the same pixels",
    "near": "correlation above {threshold:g} of contrast-normalised 12×12 block averages, mirror images included; "
    "a blank image has none",
    "strict": "the same, above {strict:g}; “closest has other label”: the image's closest one, above that limit, is "
    "labelled otherwise",
}


def page(result: dict[str, Any], sheets: Sequence[Sheet], images: Mapping[int, Image.Image]) -> str:
    """The whole page. images: number → thumbnail of every tile of every sheet."""
    shown_sheets = {sheet.name: _sheet(sheet, images) for sheet in sheets}

    def show(*names: str) -> str:
        return "".join(shown_sheets.get(name, "") for name in names)

    sections = [
        ("findings", "Findings", _findings(result)),
        ("copies", "Copies", _copies(result) + show("leaks", "mirrored", "large-groups")),
        ("conflicts", "Contradicting labels", _conflicts(result) + show("conflicts")),
        ("votes", "Votes on the labels", _votes(result) + show("votes-against", "not-a-face")),
        ("pictures", "Pictures", _pictures(result) + show("blank", "flat", "no-face", "extremes")),
        ("classes", "Classes", _classes(result)),
        ("subjects", "Subjects", _groups(result) + show("subjects")),
        ("method", "How this was made", _method(result)),
    ]
    sections = [(name, title, body) for name, title, body in sections if body]
    links = "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title, _ in sections)
    body = "".join(f'<section id="{name}"><h2>{escape(title)}</h2>{text}</section>' for name, title, text in sections)
    store, counts = result["store"], result["images"]
    facts = [
        f"{counts['all']:,} images",
        f"{_count(counts['by_split'], 'split')}: {', '.join(counts['by_split'])}",
        f"{_count(counts['by_source'], 'source')}: {', '.join(counts['by_source'])}",
        f"fingerprint {store['fingerprint']}",
        f"mien {result['mien']}",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Audit of {escape(store['name'])}</title><style>{STYLE}</style></head><body><header>"
        f"<h1>Audit of {escape(store['name'])}</h1><p>{' · '.join(escape(fact) for fact in facts)}</p>"
        f'<p class="privacy">{PRIVACY}</p><nav>{links}</nav></header><main>{body}</main></body></html>\n'
    )


def _findings(result: dict[str, Any]) -> str:
    items = "".join(
        f'<li class="{item["level"]}"><b>{_MARKS[item["level"]]}</b> <span>{escape(item["text"])}</span></li>'
        for item in result["findings"]
    )
    return f'<ul class="findings">{items}</ul>'


def _copies(result: dict[str, Any]) -> str:
    copies = result["copies"]
    text = "".join(_overlaps(rows) for rows in (copies["between_splits"], copies["between_sources"]) if rows)
    settings = result["settings"]
    meaning = "".join(f"<dt>{name}</dt><dd>{what.format(**settings)}</dd>" for name, what in _DEGREES.items())
    facts = (
        f"{copies['pairs']:,} pairs of different pictures are near-duplicates, {copies['mirrored_pairs']:,} of them as "
        f"mirror images. With the identical ones they make {copies['groups']:,} groups of "
        f"{copies['images_in_groups']:,} images, the largest of {copies['largest_group']:,}; "
        f"{copies['groups_across_splits']:,} groups lie in several splits."
    )
    if not text:
        return f"<p>No copies were found among {result['images']['searched']:,} images.</p><dl>{meaning}</dl>"
    return f"{text}<p>{facts}</p><dl>{meaning}</dl>"


def _overlaps(rows: list[dict[str, Any]]) -> str:
    key = "split" if "split" in rows[0] else "source"
    head = [f"images of {key}", "with a copy in", *_DEGREES, "near, other label", "strict, other label"]
    if key == "split":
        head.append("closest has other label")
    cells = []
    for row in rows:
        whole = row["images"]
        numbers = [_share(row[degree], whole) for degree in _DEGREES]
        clashes = [row.get("near_with_other_label"), row.get("strict_with_other_label")]
        if key == "split":
            clashes.append(row["strict_with_nearest_of_other_label"])
        name = f"{row[key]} ({whole:,})"
        cells.append([name, row["in"], *numbers, *(_number(n) for n in clashes)])
    return _table(head, cells, left=2)


def _conflicts(result: dict[str, Any]) -> str:
    copies = result["copies"]
    if not copies["label_clashes"]:
        return ""
    n = copies["groups_of_several_labels"]
    text = (
        f"<p>{copies['images_in_groups_of_several_labels']:,} images lie in {n:,} groups of copies (near-duplicates "
        f"and identical images, directly or through others) that carry more than one label. These met:</p>"
    )
    rows = [[" / ".join(row["labels"]), f"{row['groups']:,}"] for row in copies["label_clashes"]]
    columns = [rows[k : k + 7] for k in range(0, len(rows), 7)]
    tables = "".join(_table(["labels", "groups"], part, left=1) for part in columns)
    return f'{text}<div class="side">{tables}</div>'


def _votes(result: dict[str, Any]) -> str:
    votes = result["votes"]
    if votes is None:
        return ""
    text = (
        f"<p>{votes['images']:,} images have FER+ votes. {votes['agreement_of_8_in_10']:,} "
        f"({votes['agreement_of_8_in_10_share']:.1%}) reach an agreement of 8 in 10; {votes['ties']:,} end in a tie."
    )
    if votes["labelled"]:
        text += (
            f" The label is the voters' commonest answer for {votes['label_is_majority']:,} images "
            f"({votes['label_is_majority_share']:.1%}); {votes['label_without_a_vote']:,} labels got no vote at all."
        )
    drawn = _chart(charts.votes_svg(votes), "Bar charts: votes for the commonest answer and for the image's own label")
    table = charts.votes_against_labels_svg(votes["label_against_majority"])
    heat = _chart(table, "Heat map: the label of the image against the voters' commonest answer") if table else ""
    note = "<p>In the cells: % of the label, and images. FER+ asked ten others about each picture.</p>"
    return f"{text}</p>{drawn}{heat}{note if heat else ''}"


def _pictures(result: dict[str, Any]) -> str:
    pictures = result["pictures"]
    facts = [
        ["blank (one grey level)", pictures["blank"]],
        ["near-blank (nine tenths of the pixels within 8 levels)", pictures["near_blank"]],
        ["flat (half of the pixels within 5 levels)", pictures["flat"]],
        ["cannot be read", result["images"]["unreadable"]],
        ["below 12 pixels", pictures["below_12_pixels"]],
    ]
    if result["faces"]:
        facts.append([f"no face found (of {result['faces']['searched']:,} searched)", result["faces"]["none"]])
    counts = _table(["pictures", "images"], [[name, f"{n:,}"] for name, n in facts], left=1)
    sizes = [[f"{row['width']}×{row['height']} {row['mode']}", f"{row['images']:,}"] for row in pictures["sizes"][:8]]
    if pictures["different_sizes"] > 8:
        sizes.append([f"and {pictures['different_sizes'] - 8:,} more sizes", ""])
    chart = charts.light_svg(pictures["brightness"], pictures["contrast"])
    drawn = _chart(
        chart, "Brightness and contrast by split and label: median, middle half, and 98 in 100 of the images"
    )
    note = "<p>Dot: median. Thick: the middle half of the images. Thin: 98 in 100 of them.</p>"
    return f'<div class="side">{counts}{_table(["size", "images"], sizes, left=1)}</div>{drawn}{note}'


def _classes(result: dict[str, Any]) -> str:
    labels = result["labels"]
    drawn = charts.classes_svg(labels["by_split"])
    text = _chart(drawn, "Bar chart: share of each label in each split") if drawn else ""
    text += _class_table("split", labels["by_split"])
    if labels["originals_by_split"]:
        text += "<p>Without the images that were generated by augmentation:</p>"
        text += _class_table("split", labels["originals_by_split"])
    if len(labels["by_source"]) > 1:
        text += _class_table("source", labels["by_source"])
    far = [f"{' and '.join(row['splits'])} {row['total_variation']:.1%}" for row in labels["distance_between_splits"]]
    if far:
        what = "Share of images whose class would have to change to make two splits alike"
        text += f"<p>{what}: {escape(', '.join(far))}.</p>"
    return text


def _class_table(key: str, rows: list[dict[str, Any]]) -> str:
    head = [key, *rows[0]["counts"], "no label", "images", "largest ÷ smallest"]
    cells = [
        [
            row[key],
            *(_number(n) for n in row["counts"].values()),
            _number(row["unlabelled"]),
            _number(row["images"]),
            "–" if row["largest_over_smallest"] is None else f"{row['largest_over_smallest']:.1f}",
        ]
        for row in rows
    ]
    return _table(head, cells, left=1)


def _groups(result: dict[str, Any]) -> str:
    groups = result["groups"]
    if groups is None:
        return ""
    text = (
        f"<p>{groups['images']:,} images belong to {groups['groups']:,} subjects or other groups; "
        f"{groups['across_splits']:,} of these lie in more than one split, with "
        f"{groups['images_across_splits']:,} images.</p>"
    )
    rows = [
        [row["group"], ", ".join(f"{name} {n:,}" for name, n in row["images"].items())] for row in groups["listed"][:12]
    ]
    return text + (_table(["group", "images by split"], rows, left=2) if rows else "")


def _method(result: dict[str, Any]) -> str:
    counts, settings = result["images"], result["settings"]
    sources = "".join(
        f"<li>{escape(row['name'])}, layout {escape(row['layout'])}. {escape(row['licence'])}</li>"
        for row in result["store"]["sources"]
    )
    faces = f"Faces were searched with {escape(settings['faces'])}." if settings["faces"] else ""
    return (
        f"<p>{counts['searched']:,} images were searched for copies ({counts['distinct']:,} different pictures); "
        f"{counts['generated']:,} generated and {counts['unreadable']:,} unreadable ones were left out. The search is "
        f"exact: it finds every pair that comparing each image with each other would find. {faces}</p>"
        f"<p>Beside this page: <code>audit.json</code> (all figures), <code>images.parquet</code> (a row an image: its "
        f"group of copies, what was found, its figures), <code>pairs.parquet</code> (near-duplicate pairs of different "
        f"pictures, by image number), <code>sheets/</code> (the examples as PNG).</p><ul>{sources}</ul>"
    )


def _sheet(sheet: Sheet, images: Mapping[int, Image.Image]) -> str:
    rows = "".join(_row(row, images) for row in sheet.rows)
    return (
        f'<h3 id="{sheet.name}">{escape(sheet.title)}</h3><p>{escape(sheet.text)} {escape(shown(sheet))}</p>'
        f'<div class="sheet">{rows}</div>'
    )


def _row(row: tuple[Tile, ...], images: Mapping[int, Image.Image]) -> str:
    tiles = "".join(_tile(tile, images[tile.number]) for tile in row)
    return f'<div class="row">{tiles}</div>' if len(row) > 1 else tiles


def _tile(tile: Tile, image: Image.Image) -> str:
    first, *more = (escape(line) for line in tile.caption)
    mark = "≠ " if tile.warn else ""
    style = ' class="odd"' if tile.warn else ""
    large = enlarged(image)
    return (
        f'<figure{style}><span><img src="{_data_uri(image)}" width="{large.width}" height="{large.height}" '
        f'alt="image {tile.number}, {first}" title="image {tile.number}"></span>'
        f"<figcaption><b>{mark}{first}</b>{''.join(f'<br>{line}' for line in more)}</figcaption></figure>"
    )


def _data_uri(image: Image.Image) -> str:
    """PNG for grey and for small pictures, which must be exact; JPEG for coloured thumbnails, to weigh less."""
    buffer = io.BytesIO()
    exact = image.mode == "L" or max(image.size) < SIDE
    image.save(buffer, "PNG" if exact else "JPEG", **({"optimize": True} if exact else {"quality": 88}))
    kind = "png" if exact else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _chart(svg: str, alt: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    return f'<p><img class="chart" src="data:image/svg+xml;base64,{data}" alt="{escape(alt)}"></p>'


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], *, left: int) -> str:
    """left: how many of the columns hold words; the others hold numbers and are set to the right."""

    def line(cells: Iterable[str], tag: str) -> str:
        side = ("", ' class="n"')
        return "".join(f"<{tag}{side[n >= left]}>{escape(cell)}</{tag}>" for n, cell in enumerate(cells))

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<div class='wide'><table><thead><tr>{line(head, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"


def _share(count: int, whole: int) -> str:
    return f"{count:,} ({count / whole:.1%})" if count and whole else _number(count)


def _number(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


def _count(items: Mapping[str, Any], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"
