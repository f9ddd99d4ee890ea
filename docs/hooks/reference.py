"""Pages that list what there is: the API, a page for each package, and the commands."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("alignsam_gym", "agents")
_COMMANDS, _GROUPS = "<!-- commands -->", "<!-- groups -->"


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add ``api/<package>.md`` for each package with modules of its own."""
    for package in _PACKAGES:
        for folder in sorted({module.parent for module in (_ROOT / package).rglob("*.py")}):
            name = ".".join(folder.relative_to(_ROOT).parts)
            files.append(File.generated(config, f"api/{name}.md", content=_api(name, folder)))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the commands and the configuration groups where a Markdown file has their marks."""
    for mark, make in ((_COMMANDS, commands), (_GROUPS, groups)):
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    return markdown


def _api(name: str, folder: Path) -> str:
    modules = [module.stem for module in sorted(folder.glob("*.py")) if _public(module)]
    names = [name if module == "__init__" else f"{name}.{module}" for module in modules]
    sections = [f"::: {module}" for module in names]
    if "__init__" in modules:  # what it only passes on stands where it is from
        sections[0] += f"\n    options:\n      members: {_defined(folder / '__init__.py')}"
    return "\n\n".join([f"# {name}", *sections])


def _defined(module: Path) -> list[str]:
    names = []
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.append(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.append(name)
    return [name for name in names if not name.startswith("_")]


def _public(module: Path) -> bool:
    return ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) is not None


def commands() -> str:
    """What each module that is a command says of itself, and its keys."""
    sections: list[str] = []
    for module in sorted((_ROOT / "experiments").glob("*.py")):
        source = module.read_text(encoding="utf-8")
        if "\nif __name__ ==" not in source:
            continue
        page = _fenced(ast.get_docstring(ast.parse(source)) or "")
        if "\napp = typer.Typer(" in source:
            sections.insert(0, "\n\n".join([f"## alignsam\n\n{page}", *_subcommands(module.stem)]))
            continue
        sections.append(f"## {module.stem}\n\n{page}")
        if (keys := _ROOT / "conf" / f"{module.stem}.yaml").exists():
            text = keys.read_text(encoding="utf-8").partition("\nhydra:")[0]
            sections.append(f'??? note "Keys and defaults"\n\n{_indented(_fence("yaml", text))}')
    return "\n\n".join(sections)


def _subcommands(module: str) -> Iterator[str]:
    """A section for each command of a module's Typer ``app``: what it does, its arguments and options."""
    import typer

    group: Any = typer.main.get_command(importlib.import_module(f"alignsam_gym.experiments.{module}").app)
    for name, command in group.commands.items():
        rows = [
            f"| `{parameter.metavar or parameter.opts[0]}` | {'' if parameter.required else f'`{parameter.default}`'} "
            f"| {parameter.help} |"
            for parameter in command.params
        ]
        table = ["| argument | default | what it is |", "| --- | --- | --- |", *rows] if rows else []
        yield "\n".join([f"### alignsam {name}", "", _fenced(command.help), "", *table])


def groups() -> str:
    """Every file of every configuration group."""
    sections = []
    conf = _ROOT / "conf"
    for folder in sorted({file.parent for file in conf.rglob("*.yaml")} - {conf}):
        group = folder.relative_to(conf).as_posix()
        sections.append(f"### {group}")
        for file in sorted(folder.glob("*.yaml")):
            text = _indented(_fence("yaml", file.read_text(encoding="utf-8")))
            sections.append(f'??? note "`{group}={file.stem}`"\n\n{text}')
    return "\n\n".join(sections)


def _fenced(page: str) -> str:
    """`page` with its lines of commands as blocks."""
    return re.sub(r"(?m)^(?: *(?:python -m|alignsam) .*\n?)+", lambda match: _fence("sh", match[0]), page)


def _fence(language: str, text: str) -> str:
    lines = "\n".join(line.strip() if language == "sh" else line for line in text.rstrip().splitlines())
    return f"```{language}\n{lines}\n```\n"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else line for line in text.splitlines())
