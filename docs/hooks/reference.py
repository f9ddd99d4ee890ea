"""The generated pages: the API, one page a package, and the commands with their keys."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from alignsam_gym.experiments.cli import app

_ROOT = Path(__file__).parents[2]
_LIBRARY, _CONF, _EXPERIMENTS = _ROOT / "alignsam_gym", _ROOT / "conf", _ROOT / "experiments"
_COMMANDS, _GROUPS = "<!-- commands -->", "<!-- groups -->"


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add ``api/<package>.md`` for every package of the library."""
    folders = {module.parent for module in _LIBRARY.rglob("*.py")}
    folders -= {_LIBRARY / "conf", _LIBRARY / "experiments"}
    for folder in sorted(folders | {_LIBRARY / "agents"}):  # rglob does not enter the link agents
        name = ".".join(folder.relative_to(_ROOT).parts)
        files.append(File.generated(config, f"api/{name}.md", content=_api_page(name, folder)))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks ``<!-- commands -->`` and ``<!-- groups -->`` by what they name."""
    for mark, make in ((_COMMANDS, commands), (_GROUPS, groups)):
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    return markdown


def _api_page(name: str, folder: Path) -> str:
    modules = [module.stem for module in sorted(folder.glob("*.py")) if _has_docstring(module)]
    sections = [f"::: {name if module == '__init__' else f'{name}.{module}'}" for module in modules]
    if "__init__" in modules:  # a name that it only imports is described on the page of its own module
        sections[0] += f"\n    options:\n      members: {_defined(folder / '__init__.py')}"
    return "\n\n".join([f"# {name}", *sections])


def _has_docstring(module: Path) -> bool:
    return ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) is not None


def _defined(module: Path) -> list[str]:
    """The public names that a module defines itself."""
    names = []
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.append(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.append(name)
    return [name for name in names if not name.startswith("_")]


def commands() -> str:
    """Return a section for every command: its help, and its arguments or keys with their defaults."""
    group: Any = typer.main.get_command(app)
    sections = []
    for name, command in group.commands.items():
        sections.append(f"## alignsam {name}\n\n{_commands_fenced(_page(name, command))}")
        if command.params:
            sections.append(_table(command.params))
        if (keys := _CONF / f"{name}.yaml").exists():
            text = keys.read_text(encoding="utf-8").partition("\nhydra:")[0]
            sections.append(_folded("Keys and defaults", text))
    return "\n\n".join(sections)


def _page(name: str, command: Any) -> str:
    """The docstring of a command's module, which says more than its line of help; else that of its function."""
    for module in (_EXPERIMENTS / f"{name}.py", _EXPERIMENTS / name / "__main__.py"):
        if module.exists() and not command.params:
            page = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
            return page.replace("python -m experiments.", "alignsam ")
    return str(command.help)


def _table(parameters: list[Any]) -> str:
    rows = []
    for parameter in parameters:
        default = "" if parameter.required else f"`{getattr(parameter.default, 'value', parameter.default)}`"
        rows.append(f"| `{parameter.metavar or parameter.opts[0]}` | {default} | {parameter.help} |")
    return "\n".join(["| argument | default | what it is |", "| --- | --- | --- |", *rows])


def groups() -> str:
    """Return every file of every configuration group."""
    sections = []
    for folder in sorted({file.parent for file in _CONF.rglob("*.yaml")} - {_CONF}):
        group = folder.relative_to(_CONF).as_posix()
        sections.append(f"### {group}")
        for file in sorted(folder.glob("*.yaml")):
            sections.append(_folded(f"`{group}={file.stem}`", file.read_text(encoding="utf-8")))
    return "\n\n".join(sections)


def _commands_fenced(page: str) -> str:
    """`page` with its lines of commands as blocks."""
    return re.sub(r"(?m)^(?: *alignsam .*\n?)+", lambda match: _fence("sh", match[0]), page)


def _fence(language: str, text: str) -> str:
    lines = "\n".join(line.strip() if language == "sh" else line for line in text.rstrip().splitlines())
    return f"```{language}\n{lines}\n```\n"


def _folded(title: str, yaml: str) -> str:
    block = "\n".join(f"    {line}" if line else line for line in _fence("yaml", yaml).splitlines())
    return f'??? note "{title}"\n\n{block}'
