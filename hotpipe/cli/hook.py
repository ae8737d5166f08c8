"""`hotpipe hook`: a git hook that lets only green commits, or pushes, through.

The hook is a few lines for sh in the folder where git looks for it. What was there before is kept beside it under
another name and called first, with the same arguments and standard input.
"""

import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from hotpipe.cli import asking
from hotpipe.errors import HotpipeError, UsageError
from hotpipe.git import Repository

_MARK = b"# hotpipe's hook"
_CALL = re.compile(rb'exec "\$hotpipe" (.*)')
_SUFFIX = ".before-hotpipe"
_CHECKS = {"pre-commit": "check --staged", "pre-push": "check"}
_SCRIPT = """\
#!/bin/sh
{mark}; `hotpipe hook uninstall {name}` removes it.
# What was here before is {name}{suffix}: it comes first.
before="${{0%/*}}/{name}{suffix}"
if [ -x "$before" ]; then
    "$before" "$@" || exit
fi
for hotpipe in {candidates}; do
    if command -v "$hotpipe" >/dev/null 2>&1; then
        exec "$hotpipe" {check}
    fi
done
echo "hotpipe: the {name} hook cannot find hotpipe: neither {shown} nor in PATH" >&2
echo "hint: install it, or remove this hook: rm '$0'; once without it: git {verb} --no-verify" >&2
exit 1
"""


@click.command(short_help="Install or remove a git hook that runs the stages.")
@click.argument("action", type=click.Choice(["install", "uninstall"]))
@click.argument("name", type=click.Choice(list(_CHECKS)), default="pre-commit")
@asking.config_option
def command(config_file: str | None, action: str, name: str) -> None:
    """Install (or remove) a git hook. pre-commit (the default): `hotpipe check --staged`; pre-push: `hotpipe check`.

    A hook that is there already is kept, and called first.
    """
    found = asking.found(config_file)
    if action == "install":
        asking.check(config_file)  # every commit would end with what is wrong with it
    repository = Repository.of(os.path.dirname(found))
    hook = _Hook(Path(_folder(repository)), name)
    is_found = config_file is None and repository.root == repository.top  # from there, where git starts hooks
    named = "" if is_found else os.path.join(repository.prefix, os.path.basename(found))
    try:
        script = _script(name, named)
        click.echo(hook.install(script) if action == "install" else hook.uninstall(script))
    except OSError as error:
        raise HotpipeError(f"cannot write {error.filename or hook.file}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class _Hook:
    folder: Path
    name: str

    @property
    def file(self) -> Path:
        return self.folder / self.name

    @property
    def before(self) -> Path:
        """Where the hook is kept that was here before."""
        return self.folder / f"{self.name}{_SUFFIX}"

    def install(self, script: bytes) -> str:
        """Raises UsageError where an earlier hook is in the way; OSError."""
        if self._is_ours():
            return self._renew(script)
        kept = os.path.lexists(self.file)
        if kept and os.path.lexists(self.before):
            hint = f"look at both, and remove the one that is not needed: {self.file}, {self.before}"
            raise UsageError(f"there is a {self.name} hook, and an earlier one that was kept already", hint=hint)
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self._prepared(script)
        if kept:
            self.file.rename(self.before)
        new.replace(self.file)
        return f"installed {self.file}" + (f"; the hook that was there is called first: {self.before}" if kept else "")

    def uninstall(self, script: bytes) -> str:
        """Raises UsageError where it is another project's; OSError."""
        if not self._is_ours():
            return f"{self.file} is not hotpipe's: nothing to remove"
        if others := self._calls_others(script):
            hint = f"call `hotpipe hook uninstall` for that one (--config); or edit {self.file}"
            raise UsageError(f"the {self.name} hook is another project's: hotpipe {others}", hint=hint)
        if os.path.lexists(self.before):
            self.before.replace(self.file)
            return f"removed hotpipe's hook; {self.file} is again the one that was there before"
        self.file.unlink()
        return f"removed {self.file}"

    def _renew(self, script: bytes) -> str:
        if others := self._calls_others(script):
            hint = f"one hook can call both: edit {self.file}; or remove it first, with `hotpipe hook uninstall` there"
            raise UsageError(f"the {self.name} hook is another project's already: hotpipe {others}", hint=hint)
        if self.file.read_bytes() == script and os.access(self.file, os.X_OK):
            return f"{self.file} is installed already"
        self._prepared(script).replace(self.file)
        return f"renewed {self.file}"

    def _calls_others(self, script: bytes) -> str:
        """What it calls, where that is not what this script would."""
        called = _CALL.findall(self.file.read_bytes())
        return "" if called == _CALL.findall(script) else os.fsdecode(b", ".join(called))

    def _is_ours(self) -> bool:
        return self.file.is_file() and _MARK in self.file.read_bytes()[:200]

    def _prepared(self, script: bytes) -> Path:
        """Beside the hook, to be moved over it: git never starts half a hook."""
        new = self.folder / f".{self.name}.{os.getpid()}.tmp"
        new.write_bytes(script)
        new.chmod(0o755)
        return new


def _folder(repository: Repository) -> str:
    """Where git looks for hooks; raises UsageError where a hook of this project does not belong there."""
    folder = os.path.realpath(repository.hooks())
    inside = [os.path.realpath(place) for place in (repository.common_folder(), repository.top)]
    if not any(os.path.commonpath((folder, place)) == place for place in inside):
        hint = f"call hotpipe from a hook in there, or: git config --local core.hooksPath {inside[0]}/hooks"
        raise UsageError(f"core.hooksPath is {folder}: a hook there is not this repository's alone", hint=hint)
    if ".husky" in folder.split(os.sep):
        hint = "write the line `hotpipe check --staged` into .husky/pre-commit (`hotpipe check` into .husky/pre-push)"
        raise UsageError("the hooks of this repository are husky's, which would overwrite another one", hint=hint)
    return folder


def _script(name: str, config_file: str) -> bytes:
    own = _executable()
    check = _CHECKS[name] + (f" --config {shlex.quote(config_file)}" if config_file else "")
    return os.fsencode(
        _SCRIPT.format(
            mark=_MARK.decode(),
            name=name,
            suffix=_SUFFIX,
            candidates=" ".join(map(shlex.quote, filter(None, (own, "hotpipe")))),
            check=check,
            shown=_plain(own or "beside Python"),
            verb=name.removeprefix("pre-"),
        )
    )


def _executable() -> str | None:
    """This hotpipe, absolute: programs with windows start git with a PATH of their own."""
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "hotpipe")
    started = os.path.abspath(sys.argv[0])
    return next((file for file in (started, beside) if _is_hotpipe(file)), None)


def _is_hotpipe(file: str) -> bool:
    return os.path.basename(file) == "hotpipe" and os.path.isfile(file) and os.access(file, os.X_OK)


def _plain(text: str) -> str:
    """For between double quotes in sh."""
    return "".join(letter if letter.isalnum() or letter in "/._- " else "?" for letter in text)
