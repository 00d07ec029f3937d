"""Digests that tell a cache what changed: the code that a step reaches, and the source that it reads."""

import ast
import functools
import hashlib
import os
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from serving.contract.errors import SluiceError

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("components", "serving", "load_tests", "feature_repo", "pipelines")
FINDERS = {"components.tasks.find": "components.tasks.{}", "serving.contract.task.find_task": "serving.{}"}
"""Functions that find a task's package by its name; what that package's methods import counts if they are called."""
SOURCE_SUFFIXES = {".py", ".pyi", ".md", ".mdx", ".markdown", ".jsonl"}


class Names(NamedTuple):
    """What a file imports when it is loaded, what each of its functions imports, and the methods that it calls.

    ``task``: it holds a task, whose methods import what they give.
    """

    loaded: frozenset[str]
    later: dict[str, frozenset[str]]
    calls: frozenset[str]
    task: bool

    @classmethod
    @functools.cache
    def of(cls, text: str) -> "Names":
        """Read off a file's text; what stands under ``if TYPE_CHECKING`` never runs."""
        nodes = list(_running(ast.parse(text)))
        later: dict[str, frozenset[str]] = {}
        inner: set[int] = set()
        for function in (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            own = list(_running(function))
            inner |= set(map(id, own))
            later[function.name] = later.get(function.name, frozenset()) | _imports(own)
        called = (node.func for node in nodes if isinstance(node, ast.Call))
        methods = frozenset(function.attr for function in called if isinstance(function, ast.Attribute))
        loaded = _imports(node for node in nodes if id(node) not in inner)
        return cls(loaded, later, methods, any(isinstance(node, ast.Name) and node.id == "TASK" for node in nodes))


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield node
            yield from _running(node)


def _imports(nodes: Iterable[ast.AST]) -> frozenset[str]:
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return frozenset(name for name in names if name.split(".")[0] in ROOMS)


class Code:
    """The project's modules below ``roots``, and what a step reaches of them, with a digest."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)
        self._file = functools.cache(self._find)

    def digest(self, module: str, task: str) -> str:
        """SHA-256 (16 hex digits) over what `reached` names, and the interpreter's version. Errors: as `reached`."""
        sha = hashlib.sha256(sys.version.encode())
        for name, file in sorted((self._relative(file), file) for file in self.reached(module, task)):
            sha.update(name.encode() + file.read_bytes())
        return sha.hexdigest()[:16]

    def reached(self, module: str, task: str) -> set[Path]:
        """Files that running ``module`` for ``task`` loads by imports, in functions too, and the data beside them.

        Errors: `SluiceError` where the module finds its work by the task, and ``task`` is "".
        """
        own = {form.format(task) for form in FINDERS.values()}
        files: dict[str, Path] = {}
        queue = [module]
        while queue:
            name = queue.pop()
            if name in FINDERS:
                if not task:
                    raise SluiceError(f"{module} finds its work by a task: name the task, or its cache key misses code")
                queue.append(FINDERS[name].format(task))
            elif name not in files and (file := self._file(name)):
                files[name] = file
                queue += self._follow(name, file)
            if not queue:
                given = self._given(own & set(files), files)
                queue = [name for name in given if name not in files and self._file(name)]
        return set(files.values()) | {
            data for folder in {file.parent for file in files.values()} for data in _data(folder)
        }

    def _follow(self, name: str, file: Path) -> Iterator[str]:
        """What loading a module loads; a package of a task keeps what its methods import for `_given`."""
        names = Names.of(file.read_text())
        yield from names.loaded
        if not names.task:
            yield from frozenset().union(*names.later.values())
        if parent := name.rpartition(".")[0]:
            yield parent

    def _given(self, packages: Iterable[str], files: dict[str, Path]) -> Iterator[str]:
        """What those methods of the task's packages import that anything else reached calls."""
        calls = frozenset().union(
            *(Names.of(file.read_text()).calls for name, file in files.items() if name not in packages)
        )
        for package in packages:
            for method, names in Names.of(files[package].read_text()).later.items():
                if method in calls:
                    yield from names

    def _find(self, module: str) -> Path | None:
        for root in self._roots:
            path = root.joinpath(*module.split("."))
            for candidate in (path.with_suffix(".py"), path / "__init__.py"):
                if candidate.is_file():
                    return candidate
        return None

    def _relative(self, file: Path) -> str:
        return next(str(file.relative_to(root)) for root in self._roots if file.is_relative_to(root))


@functools.cache
def _data(folder: Path) -> tuple[Path, ...]:
    """The data beside modules: YAML, and everything in the folders there that hold no modules."""
    folders = [f for f in folder.iterdir() if f.is_dir() and f.name != "__pycache__" and not any(f.glob("*.py"))]
    return (*folder.glob("*.yaml"), *(file for f in folders for file in f.rglob("*") if file.is_file()))


@functools.cache
def _here() -> Code:
    """The project, and folders of the same layout on the path, whose modules a pipeline may reach."""
    others = [Path(place).resolve() for place in sys.path if any(Path(place, room).is_dir() for room in ROOMS)]
    return Code(dict.fromkeys([ROOT, *others]))


@functools.cache
def code_digest(module: str, task: str) -> str:
    """SHA-256 (16 hex digits) over a module, every project module that it reaches, and the data beside them.

    KFP's cache sees a step's signature and arguments but not the code that its body imports; this digest, handed to the
    step as an environment variable, closes that gap. ``task`` is the kind of model that the step works on, "" where it
    works on none. Errors: `SluiceError` where it is "" and the step finds its work by the task.
    """
    return _here().digest(module, task)


def source_digest(source: Path, *extra: str, suffixes: Collection[str] = SOURCE_SUFFIXES) -> str:
    """SHA-256 (16 hex digits) over the files below ``source`` (Python, Markdown, JSON lines), and over ``extra``.

    Other ``suffixes`` may be asked for; none means every file.
    """
    sha = hashlib.sha256("\0".join(extra).encode())
    for file in [source] if source.is_file() else sorted(_regular(source)):
        if suffixes and file.suffix.lower() not in suffixes:
            continue
        sha.update(os.fsencode(file.relative_to(source)))
        try:
            with file.open("rb") as stream:
                sha.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            sha.update(str(error.errno).encode())  # the step names it among what was skipped
    history = source / ".git" / "logs" / "HEAD"
    if history.is_file():
        sha.update(history.read_bytes())
    return sha.hexdigest()[:16]


def _regular(source: Path) -> Iterator[Path]:
    """Every file below ``source``. Links inside it lead to what is listed anyway, others to what no step reads."""
    left = [source]
    while left:  # not rglob, which recurses: a thousand nested directories would end it
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        yield Path(entry.path)
        except OSError:
            continue
