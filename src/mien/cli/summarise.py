"""``mien summarise``: seconds, proportions and episodes of each expression in a table that ``mien read`` wrote."""

import sys

import typer


def summarise(
    table: str = typer.Argument(
        metavar="TABLE", help="What mien read wrote for videos: .csv, .parquet or .jsonl.", show_default=False
    ),
    output: str | None = typer.Option(
        None, "-o", "--output", metavar="FILE", help="Write .csv, .parquet or .json here instead of CSV to stdout."
    ),
    figure: str | None = typer.Option(
        None, "--figure", metavar="FILE", help="Also draw a bar for each person: .png or .svg."
    ),
    min_episode: float = typer.Option(
        0.0, "--min-episode", metavar="SECONDS", help="Do not count episodes that are shorter."
    ),
) -> None:
    """Summarise a video by person: seconds and proportion of each expression, number and length of its episodes.

    Example: [cyan]mien read clip.mp4 -o clip.csv && mien summarise clip.csv --figure clip.png[/cyan]
    """
    from mien.atomic import keep_input, write_bytes
    from mien.errors import UsageError
    from mien.timeline.export import encode, suffix_of
    from mien.timeline.summary import summarise as run

    if not 0 <= min_episode < float("inf"):
        raise UsageError(f"expected min_episode in seconds, 0 or more, got {min_episode}")
    kind = "csv" if output is None else suffix_of(output, ("csv", "parquet", "json"))
    drawn = None if figure is None else suffix_of(figure, ("png", "svg"))
    if output is not None:
        keep_input(output, [table])
    result = run(table, min_episode=min_episode)
    if result.left_out:
        print(f"note: {result.left_out:,} rows without a time (pictures, errors) are left out", file=sys.stderr)
    if not result.rows:
        print(f"note: no face in {table}", file=sys.stderr)
    if figure is not None:
        from mien import drawing
        from mien.timeline.summary_figure import draw_summary

        picture = draw_summary(result)
        write_bytes(figure, drawing.svg(picture) if drawn == "svg" else drawing.png(picture))
    data = encode(result, kind)
    if output is None:
        sys.stdout.buffer.write(data)
        return
    write_bytes(output, data)
