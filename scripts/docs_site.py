"""What the documentation's site has beside docs/: pages made of the code and of results/, typed nowhere.

A hook of MkDocs (mkdocs.yml). It adds the reference of commands (from their own help), a page a network (from the
registry, the recipes, the papers' published figures and our kept runs), the decisions of ARCHITECTURE.md, one each,
and the Markdown files that lie outside of docs/ because people look for them there. Links to what is no page (code,
scripts) become plain names.

    python scripts/docs_site.py FOLDER     writes these pages there, to look at them
"""

import json
import logging
import os
import posixpath
import re
import sys
from enum import Enum
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: Markdown files outside of docs/ → their page.
ELSEWHERE = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changes.md",
    "results/README.md": "results.md",
    "src/mien/weights/compact.md": "cards/compact.md",
    "src/mien/weights/nano.md": "cards/nano.md",
    "src/mien/weights/orientation.md": "cards/orientation.md",
}
#: Networks that do another task than reading expressions → their model card.
CARDS = {"pico": "orientation"}
_LINK = re.compile(r"(!?)\[([^\]]+)\]\(([^)\s]+)\)")
_ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
_DECISION = re.compile(r"- \*\*(.+?)\*\*(.*)", re.DOTALL)
_COLOUR = re.compile(r"\[/?cyan\]")
_ROLE = re.compile(r":(?:class|func|meth|data|mod|attr):<code>~?([^<]+)</code>")


# --- commands ---------------------------------------------------------------------------------------------------------


def commands() -> str:
    """The reference of commands: what ``--help`` says, as Markdown."""
    import typer

    from mien.cli.app import app

    lines = [
        "# Commands\n",
        "From the `--help` of each command. Exit status: 0 done, 1 some inputs failed, 2 wrong usage, 130 and 143 "
        "interrupted. Results go to stdout, messages to stderr. `--debug` anywhere shows the traceback of an error.\n",
    ]
    root: Any = typer.main.get_command(app)
    for name, command in sorted(root.commands.items()):
        if command.hidden:
            continue
        children = getattr(command, "commands", None)
        if children is None:
            lines += _command(f"mien {name}", command, root)
            continue
        for child, one in sorted(children.items()):
            lines += _command(f"mien {name} {child}", one, root)
    return "\n".join(lines)


def _command(title: str, command: Any, parent: Any) -> list[str]:
    import typer

    context = typer.Context(command, info_name=title, parent=None)
    usage = re.sub(r"\{(.+?)\}", r"\1", " ".join(command.collect_usage_pieces(context))).replace("......", "...")
    text, several, examples = (command.help or "").partition("[bold]Examples[/bold]")
    if not several:
        text, _, example = text.partition("Example:")
        examples = "".join(
            f"[cyan]{_COLOUR.sub('', part)}[/cyan]" for part in example.split("Example:") if part.strip()
        )
    lines = [f"## {title}\n", f"```text\n{title} {usage}\n```\n", f"{_plain(text).strip()}\n"]
    if shown := _examples(examples):
        lines.append("```console\n" + "\n".join(shown) + "\n```\n")
    rows = []
    for parameter in command.params:
        if parameter.name == "help" or getattr(parameter, "hidden", False):
            continue
        is_option = parameter.param_type_name == "option"
        flag = getattr(parameter, "is_flag", False)
        metavar = parameter.metavar or ("" if flag else "|".join(_choices(parameter)) or "VALUE")
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts)) if is_option else ""
        shown = f"{names} `{metavar}`" if names and metavar else names or f"`{metavar}`"
        default = getattr(parameter.default, "value", parameter.default)
        default = ", ".join(map(str, default)) or None if isinstance(default, list | tuple) else default
        told = "" if default is None or isinstance(default, bool) or callable(default) else f" Default: `{default}`."
        if parameter.required:
            told += " Required."
        rows.append(f"| {_cell(shown)} | {_cell(_plain(getattr(parameter, 'help', '') or ''))}{told} |")
    return [*lines, "| | |", "|---|---|", *rows, ""] if rows else lines


def _examples(text: str) -> list[str]:
    """Lines for a shell: commands (in cyan), and what stands between them as comments."""
    lines = []
    for words, command in re.findall(r"([^\[]*)(?:\[cyan\](.+?)\[/cyan\])?", text, re.DOTALL):
        lines += [f"# {' '.join(words.split()).removesuffix(':')}"] if words.strip() else []
        lines += [" ".join(command.split())] if command else []
    return lines


def _choices(parameter: Any) -> list[str]:
    """The values of an enumeration, from its default."""
    kind = type(parameter.default)
    return [str(member.value) for member in kind] if isinstance(kind, type(Enum)) else []


def _plain(text: str) -> str:
    """A help text without rich's marks and Click's."""
    return re.sub(r"\[bold\](.+?)\[/bold\]", r"`\1`", text).replace("\b", "").replace("\\[", "[")


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


# --- networks ---------------------------------------------------------------------------------------------------------


def networks() -> dict[str, str]:
    """A page a network, and their list."""
    import inspect

    from mien.models.registry import all_specs, measure
    from mien.pages.format import magnitude
    from mien.reproduce.papers import STUDIES
    from mien.training.recipe import recipes_by_network, shipped_recipes

    recipes, files, runs = recipes_by_network(), shipped_recipes(), _runs()
    published: dict[str, list[str]] = {}
    for study in STUDIES.values():
        for arm in study.arms:
            if arm.published and (network := arm.changes.get("model.name", arm.recipes)) in recipes:
                figures = ", ".join(f"{key.replace('_', ' ')} {value:.2%}" for key, value in arm.published.items())
                caveat = f" ({arm.caveat})" if arm.caveat else ""
                published.setdefault(network, []).append(
                    f"{arm.title}: {figures}{caveat}. {study.source}, {study.table}, whose claim is: {study.claim}"
                )
    pages, rows = {}, []
    for spec in all_specs():
        parameters, macs = measure(spec)
        side = spec.input_sizes[0]
        mine = runs.get(spec.name, [])
        best = f"{100 * mine[0][1]['value']:.2f} % ({mine[0][0]})" if mine else "–" if spec.name in CARDS else "not run"
        rows.append(
            f"| [`{spec.name}`]({spec.name}.md) | {magnitude(parameters)} | {magnitude(macs)} | {side}×{side} "
            f"{spec.color} | {_arxiv(spec.source)} | {best} |"
        )
        module = inspect.getmodule(getattr(spec.build, "func", spec.build))
        lines = [
            f"# {spec.name}\n",
            f"{spec.summary[0].upper()}{spec.summary[1:]}.\n",
            "| | |\n|---|---|",
            f"| source | {_arxiv(spec.source)} |",
            f"| parameters | {parameters:,} |",
            f"| multiply-accumulates | {macs:,} a picture |",
            f"| input | {side}×{side} pixels, {spec.color} |",
            f"| arguments (`model.args`) | {', '.join(f'`{name}`' for name in spec.arguments)} |\n",
            "## What it is\n",
            f"{_rst((module.__doc__ or '').strip())}\n",
            "## Published figures\n",
        ]
        told = published.get(spec.name) or _expected(recipes.get(spec.name, []), files)
        if spec.source == "ours":
            lines += ["None: the network is our own."]
        else:
            lines += [f"- {text}" for text in told] or ["None for facial expressions that we know of."]
        lines += ["\n## Our figures\n"]
        if mine:
            lines += ["FER2013 PublicTest, which also selected the epoch; one crop; 95 % intervals.\n"]
            lines += ["| run | accuracy | leak-free | command, as it was given |", "|---|---|---|---|"]
            lines += [
                f"| {name} | {_percent(all_)} | {_percent(clean)} | `{command}` |"
                for name, all_, clean, command in mine
            ]
        elif spec.name in CARDS:
            lines += [f"In [the model card](../cards/{CARDS[spec.name]}.md)."]
        else:
            lines += ["Not run by us on the whole data set. [Results](../results.md) says what each run would take."]
        lines += ["\n## Recipes\n"]
        for name in recipes.get(spec.name, []):
            head = [line[1:] for line in files[name].read_text("utf-8").splitlines() if line.startswith("#")]
            text = "\n".join(line.removeprefix(" ") for line in head)
            lines += [f"### {name}\n", f"```text\n{text}\n```\n"]
        pages[f"networks/{spec.name}.md"] = "\n".join(lines) + "\n"
    pages["networks/index.md"] = "\n".join(
        [
            "# Networks\n",
            "Every network that a recipe can name, and any of timm's as `timm/NAME`. Parameters and "
            "multiply-accumulates are of one picture at the default size. Our figure: the best kept run on FER2013's "
            "PublicTest, one crop ([all runs](../results.md)).\n",
            "| network | parameters | MACs | input | source | our figure |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
    )
    return pages


def _expected(recipes: list[str], files: dict[str, Path]) -> list[str]:
    """What the heads of recipes say about the figures of others, beside whether the recipe was run."""
    found = []
    for name in recipes:
        head = re.findall(r"^#(.*)$", files[name].read_text("utf-8"), re.MULTILINE)
        text = re.search(r"^ Expected((?: .*\n?)(?: {5,}.*\n?)*)", "\n".join(head), re.MULTILINE)
        rest = re.sub(r"^not (yet )?run[^.;]*[.;]?", "", " ".join(text[1].split())) if text else ""
        if rest and "see results/LOG.md" not in rest:
            found.append(f"`{name}`: {rest.strip()}")
    return found


def _runs() -> dict[str, list[tuple[str, Any, Any, str]]]:
    """Network → our runs, the best first: name, accuracy on all and on leak-free images, command."""
    home = ROOT / "results" / "fer2013"
    found: dict[str, list[tuple[str, Any, Any, str]]] = {}
    for run in json.loads((home / "runs.json").read_text("utf-8")):
        if run["recipe"]:
            crop = run["single_crop"]
            row = (run["name"], crop["all"]["accuracy"], crop["leak_free"]["accuracy"], run["command"])
            found.setdefault(run["recipe"]["model"]["name"], []).append(row)
    for file in sorted(home.glob("*/public_test/report.json")) + sorted(home.glob("*/report.json")):
        report = json.loads(file.read_text("utf-8"))
        recipe = report["model"].get("provenance", {}).get("recipe")
        if recipe and report["views"] == 1:
            parts = report["figures"]
            row = (f"{report['model']['name']} (shipped)", parts["all"]["accuracy"], parts["leak_free"]["accuracy"],
                   report["command"])  # fmt: skip
            found.setdefault(recipe["model"]["name"], []).append(row)
    return {name: sorted(rows, key=lambda row: -row[1]["value"]) for name, rows in found.items()}


def _percent(figure: Any) -> str:
    return f"{100 * figure['value']:.2f} % [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


def _arxiv(text: str) -> str:
    return _ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def _rst(text: str) -> str:
    return _arxiv(re.sub(r":\w+:(`)", r"\1", text).replace("``", "`").replace("`~", "`"))


# --- the rest ---------------------------------------------------------------------------------------------------------


def decisions() -> str:
    """The decisions of ARCHITECTURE.md as records with a number, in its order."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    section = text.partition("## Decisions")[2].partition("\n## ")[0]
    found = [_DECISION.match(part) for part in re.split(r"\n+(?=- \*\*)", section.strip())]
    lines = ["# Decisions\n", "Why the code is as it is: a record each, from [ARCHITECTURE.md](architecture.md).\n"]
    for number, one in enumerate((each for each in found if each), 1):
        title, body = one[1].rstrip("."), " ".join(one[2].split()).lstrip(".: ")
        lines += [f"## {number}. {title}\n", f"{body[:1].upper()}{body[1:]}\n" if body else ""]
    return "\n".join(lines)


def led(markdown: str, home: str) -> str:
    """The links of a page, led to pages; what is none becomes its name. home: the file's folder in the repository."""

    def lead(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        if target.startswith(("http:", "https:", "#", "mailto:", "data:")):
            return link[0]
        path, hash_, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(home, path))
        page = ELSEWHERE.get(place)
        if page is None and place.startswith("docs/") and (ROOT / place).is_file():
            page = place.removeprefix("docs/")
        if page is None:
            return text if picture else (text if text.startswith("`") else f"{text} (`{place}`)")
        here = _page_folder(home)
        return f"{picture}[{text}]({posixpath.relpath(page, here or '.')}{hash_}{anchor})"

    return _LINK.sub(lead, markdown)


def _page_folder(home: str) -> str:
    """Where the pages of a repository's folder stand in the site."""
    for file, page in ELSEWHERE.items():
        if posixpath.dirname(file) == home:
            return posixpath.dirname(page)
    return home.removeprefix("docs").strip("/")


def pages() -> dict[str, str]:
    """Every generated page: its place in the site → Markdown."""
    if str(ROOT / "src") not in sys.path:  # MkDocs puts sys.path back once it has loaded a hook
        sys.path.insert(0, str(ROOT / "src"))
    found = {"commands.md": commands(), "decisions.md": decisions(), **networks()}
    for file, page in ELSEWHERE.items():
        found[page] = led((ROOT / file).read_text("utf-8"), posixpath.dirname(file))
    return found


# --- MkDocs' hooks ----------------------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Pages of networks are not in the navigation, one by one; their list is, and links to them."""
    logging.getLogger("mkdocs.structure.nav").addFilter(lambda record: "networks/" not in record.getMessage())
    return config


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File, InclusionLevel

    listed = json.dumps(config.nav)
    for uri, content in pages().items():
        file = File.generated(config, uri, content=content)
        if f'"{uri}"' not in listed:
            file.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(file)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    if page.file.generated_by:
        return markdown
    return led(markdown, posixpath.join("docs", posixpath.dirname(page.file.src_uri)).rstrip("/"))


def on_post_page(output: str, **_: Any) -> str:
    """The theme hides its switch of colours from screen readers, and so it has to from the keyboard."""
    return output.replace('<input class="md-option"', '<input class="md-option" tabindex="-1"')


def on_page_content(html: str, **_: Any) -> str:
    return _ROLE.sub(r"<code>\1</code>", html)


def main() -> None:
    out = Path(sys.argv[1])
    for uri, text in pages().items():
        file = out / uri
        os.makedirs(file.parent, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
